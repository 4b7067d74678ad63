"""`r1.render.bars`: bars of a chart."""

from __future__ import annotations

import pytest

from r1.render.bars import bar, can_show


class TestBar:
    """A bar of blocks, or of `#` where the encoding has no blocks."""

    @pytest.mark.parametrize(
        ("share", "expected"), [(0, ""), (1, "████"), (0.5, "██"), (1 / 32, "▏"), (0.99, "████"), (17 / 32, "██▏")]
    )
    def test_is_exact_to_an_eighth_of_a_column(self, share: float, expected: str) -> None:
        assert bar(share, 4, is_ascii=False) == expected

    def test_in_ascii_is_exact_to_a_column(self) -> None:
        assert [bar(share, 4, is_ascii=True) for share in (0, 0.4, 1)] == ["", "##", "####"]


@pytest.mark.parametrize(
    ("encoding", "can"), [("utf-8", True), (None, True), ("ascii", False), ("iso-8859-1", False), ("no such", False)]
)
def test_an_encoding_without_blocks_is_known(encoding: str | None, can: bool) -> None:
    assert can_show(encoding) is can
