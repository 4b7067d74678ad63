"""`r1.evaluate.words`: what is words and what a formula, and which words are equal in any case."""

from __future__ import annotations

import pytest

from r1.evaluate.words import is_word, without_case, words_of


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("no solution", "no solution"),
        ("The North-East", "north-east"),
        ("a square", "square"),
        ("X-axis", "x-axis"),
        ("NO SOLUTION", "no solution"),
        ("Type I error", "type I error"),
        ("one-way", "one-way"),
        ("New York - Boston", "new york-boston"),
        ("log-normal", "log-normal"),
        ("sin-cos", None),
        ("max - min", None),
        ("a bcde", "a bcde"),
        ("ABCD", "ABCD"),
        ("ad-bc", None),
        ("ad - bc", None),
        ("a-b-c", None),
        ("mgh-W", None),
        ("abcd-e", None),
        ("wxyz - abcd", None),
        ("tea-b", None),
        ("cat", None),
        ("x + word", None),
    ],
)
def test_words_of_an_answer(text: str, words: str | None) -> None:
    assert words_of(text) == words


@pytest.mark.parametrize(("text", "expected"), [("east", True), ("no", True), ("rhythm", True), ("can't", True)])
def test_what_can_be_spoken_is_a_word(text: str, expected: bool) -> None:
    assert is_word(text) is expected


@pytest.mark.parametrize("text", ["x", "mgh", "abcd", "WXYZ", "AABB", "aabb", "aarr", "pq", "DEF"])
def test_variables_points_and_genotypes_are_none(text: str) -> None:
    assert not is_word(text)


@pytest.mark.parametrize(
    ("text", "lower"),
    [
        ("Odd", "odd"),
        ("ODD", "odd"),
        ("House Of Cards", "house of cards"),
        ("Ab", "Ab"),
        ("AaBb", "AaBb"),
        ("X - 1", "X - 1"),
        ("\\Delta x", "\\Delta x"),
        ("3 Apples", "3 apples"),
    ],
)
def test_only_words_lose_their_case(text: str, lower: str) -> None:
    assert without_case(text) == lower
