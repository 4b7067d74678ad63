"""`r1.chat.columns`: long texts stay in their column."""

from __future__ import annotations

import pytest

from r1.chat.columns import beside
from r1.render.style import Style


@pytest.mark.parametrize(
    ("width", "lines"),
    [
        (40, "label  one two three\n"),
        (18, "label  one two\n       three\n"),
        (3, "label  one two\n       three\n"),
    ],
)
def test_the_rest_of_a_text_stands_below_its_beginning(width: int, lines: str) -> None:
    assert beside("label  ", "one two three", Style(width, colour=False)) == lines


def test_no_control_character_is_printed() -> None:
    assert beside("", "a\x1b[2Jb", Style(40, colour=False)) == "a[2Jb\n"
