r"""`r1.evaluate.choices`: letters, texts, both, and answers that name no choice or several."""

from __future__ import annotations

import pytest

from r1.evaluate.choices import letter_of
from r1.evaluate.equivalence import Equivalence, Same

SAME = Equivalence(None).same
PALMS = ("dry palms", "wet palms", "palms covered with oil", "palms covered with lotion")
NUMBERS = (r"$\frac12$", "0.25", r"\(\sqrt{2}\)", "12 cm", "12 m")
LETTERS = ("B", "A", "AB", "O")
ARTICLES = ("A dog", "a cat", "The cow")


@pytest.mark.parametrize("final", ["A", "a", "(A)", "(a)", "A.", "A)", "A:", r"\text{A}", r"\text{(A)}", "Option A"])
def test_a_letter(final: str) -> None:
    assert letter_of(final, PALMS, SAME) == "A"


@pytest.mark.parametrize(
    "final",
    ["B) wet palms", "B. wet palms", r"B \text{ wet palms}", r"\text{(B) wet palms}", "B: Wet palms", "B, wet palms"],
)
def test_a_letter_with_the_text_of_the_choice(final: str) -> None:
    assert letter_of(final, PALMS, SAME) == "B"


@pytest.mark.parametrize("final", ["B) as I said", "(B), because they are wet", "B. It is a guess"])
def test_a_letter_with_something_else(final: str) -> None:
    assert letter_of(final, PALMS, SAME) == "B"


@pytest.mark.parametrize("final", ["dry palms", "Dry Palms", r"\text{dry palms}", r"\text{ dry palms}.", "dry  palms"])
def test_a_text(final: str) -> None:
    assert letter_of(final, PALMS, SAME) == "A"


@pytest.mark.parametrize(
    ("final", "letter"),
    [
        (r"\frac{1}{2}", "A"),
        ("0.5", "A"),
        ("1/4", "B"),
        (r"\sqrt{2}", "C"),
        ("12 cm", "D"),
        ("12", None),  # it could be both
        ("3", None),
        ("1", None),
    ],
)
def test_a_text_is_compared_as_answers_are(final: str, letter: str | None) -> None:
    assert letter_of(final, NUMBERS, SAME) == letter


@pytest.mark.parametrize(
    "final",
    [
        *("A and C", "(A) or (C)", "A, C", "A/C", "A) and C)", "A. C", "A) C", "A) or C)", "a) or c)", "(A)(C)"),
        *(r"\text{A or B}", r"A \text{ and } C", "A & B", "A) no, C", "A: is wrong, C", "(A) or maybe (B)"),
        *("A) wet palms", "A wet palms", "A. oil, or C"),
    ],
)
def test_several(final: str) -> None:
    assert letter_of(final, PALMS, SAME) is None


@pytest.mark.parametrize(
    "final", ["E", "not A", r"\neg A", "-A", "A is wrong", "palms", "1", "0", "AB", "", "A?", "x" * 5000, "A_1", "A^2"]
)
def test_none(final: str) -> None:
    assert letter_of(final, PALMS, SAME) is None


@pytest.mark.parametrize(
    ("final", "letter"), [("A", "A"), ("(a)", "A"), ("B", "B"), ("AB", "C"), ("O", "D"), ("A. B", "A"), ("A. A", None)]
)
def test_a_capital_letter_is_a_label_even_where_the_texts_are_letters(final: str, letter: str | None) -> None:
    assert letter_of(final, LETTERS, SAME) == letter


def test_a_small_letter_that_is_a_text_is_that_choice() -> None:
    assert letter_of("a", ("x", "a"), SAME) == "B"
    assert letter_of("b", ("x", "a"), SAME) == "B"


@pytest.mark.parametrize(
    ("final", "letter"),
    [("A dog", "A"), ("a dog", "A"), ("A cat", "B"), ("C) The cow", "C"), ("B) A cat", "B"), ("C) A big cow", "C")],
)
def test_an_article_is_no_label(final: str, letter: str) -> None:
    assert letter_of(final, ARTICLES, SAME) == letter


def test_a_small_article_before_the_text_of_a_choice() -> None:
    assert letter_of("a white cow", ("grey dog", "white cow"), SAME) == "B"


def test_prose_is_not_compared_as_a_formula() -> None:
    """So math-verify is not asked about words, and nothing is counted as compared literally."""
    asked: list[str] = []

    def same(one: str, other: str) -> Same:
        asked.append(one)
        return SAME(one, other)

    assert letter_of("0", ("dry", "The wet one.", "don't know", r"\(x^2\)", "7"), same) is None
    assert set(asked) == {r"\(x^2\)", "7"}


def test_of_equal_texts_the_first_counts() -> None:
    assert letter_of("red", ("red", "red"), SAME) == "A"


@pytest.mark.parametrize(
    ("final", "letter"), [("ad-bc", "A"), ("ad - bc", "A"), ("AD-BC", "C"), ("C) AD - BC", "C"), ("A) AD-BC", None)]
)
def test_in_formulas_case_counts(final: str, letter: str | None) -> None:
    assert letter_of(final, ("ad - bc", "ad + bc", "AD - BC"), SAME) == letter
    assert letter_of("MGH", ("mgh", "MGH"), SAME) == "B"
