"""Texts that end an answer, while it comes in pieces."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from r1.serve.stop_texts import StopTexts

TEXTS = st.text("ab ", max_size=30)


def shown(stops: list[str], pieces: list[str]) -> tuple[list[str], str | None]:
    """What is shown after each piece and at the end, and the text that was found."""
    watching = StopTexts(stops)
    parts = [watching.feed(piece) for piece in pieces]
    return [*parts, watching.rest()], watching.found


@pytest.mark.parametrize(
    ("stops", "pieces", "parts", "found"),
    [
        (["END"], ["one E", "N", "D two", "three"], ["one ", "", "", "", ""], "END"),
        (["END"], ["one EN", "x"], ["one ", "ENx", ""], None),
        (["END"], ["one E", "N"], ["one ", "", "EN"], None),
        (["aab"], ["aaab"], ["a", ""], "aab"),
        (["aab"], ["a", "a", "a", "b"], ["", "", "a", "", ""], "aab"),
        (["b", "ab"], ["ab"], ["", ""], "ab"),
        (["\n\n"], ["x\n", "\ny"], ["x", "", ""], "\n\n"),
        (["", "x"], ["yxz"], ["y", ""], "x"),
        ([], ["a", "b"], ["a", "b", ""], None),
    ],
)
def test_what_is_shown(stops: list[str], pieces: list[str], parts: list[str], found: str | None) -> None:
    assert shown(stops, pieces) == (parts, found)


@given(TEXTS, st.lists(st.text("ab ", min_size=1, max_size=3), max_size=3), st.lists(st.integers(0, 30)))
def test_however_it_is_cut_it_ends_before_a_stop_text(text: str, stops: list[str], cuts: list[int]) -> None:
    places = sorted({0, len(text), *(min(cut, len(text)) for cut in cuts)})
    parts, found = shown(stops, [text[start:end] for start, end in pairwise(places)])
    told = "".join(parts)
    assert not any(stop in told for stop in stops)
    if found is None:
        assert told == text
    else:
        assert found in stops
        assert text.startswith(told + found)


def test_no_more_is_held_back_than_could_be_a_stop_text() -> None:
    watching = StopTexts(["</answer>"])
    assert watching.feed("a < b </ans") == "a < b "
    assert watching.is_holding
    assert watching.feed("x") == "</ansx"
    assert not watching.is_holding
