"""`r1.evaluate.classes`: which answers are counted together."""

from __future__ import annotations

from collections import Counter
from itertools import permutations

import pytest

from r1.evaluate.classes import AnswerClasses


def measures(one: str, other: str) -> bool:
    """Whether two measures are the same; one without a unit may have any."""
    (number, *unit), (other_number, *other_unit) = one.split(), other.split()
    return number == other_number and (not unit or not other_unit or unit == other_unit)


def classes_of(*texts: str) -> list[int]:
    classes = AnswerClasses(measures)
    return [classes.add(text) for text in texts]


@pytest.mark.parametrize(
    ("texts", "numbers"),
    [
        (["12", "13", "12", "13", "14"], [0, 1, 0, 1, 2]),
        (["12 cm", "12", "12 cm", "12"], [0, 0, 0, 0]),
        (["12", "12 cm", "12 m"], [0, 0, 1]),
        (["12 cm", "12 m", "12", "12 m"], [0, 1, 0, 1]),
        (["12 cm", "12 m", "12 m", "12"], [0, 1, 1, 1]),
        ([], []),
    ],
)
def test_answers_that_agree_with_all_of_a_class_are_of_it(texts: list[str], numbers: list[int]) -> None:
    assert classes_of(*texts) == numbers


def test_two_that_differ_are_never_counted_together() -> None:
    """In any order, although a bare number agrees with both."""
    for texts in permutations(["12", "12 cm", "12 m"]):
        assert sorted(Counter(classes_of(*texts)).values()) == [1, 2]


def test_an_equal_text_is_found_without_a_comparison() -> None:
    compared: list[tuple[str, str]] = []

    def differ(one: str, other: str) -> bool:
        compared.append((one, other))
        return False

    classes = AnswerClasses(differ)
    assert [classes.add(text) for text in ("a", "b", "a", "b", "c")] == [0, 1, 0, 1, 2]
    assert compared == [("a", "b"), ("a", "c"), ("b", "c")]


def test_the_largest_class_is_looked_at_first() -> None:
    """A comparison may take seconds, and most answers are in that class."""
    compared: list[tuple[str, str]] = []

    def same(one: str, other: str) -> bool:
        compared.append((one, other))
        return one.strip("+") == other.strip("+")

    classes = AnswerClasses(same)
    assert [classes.add(text) for text in ("a", "b", "c", "c", "c+")] == [0, 1, 2, 2, 2]
    assert compared[-1] == ("c", "c+")
    assert len(compared) == 4
