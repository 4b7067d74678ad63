r"""Which choice of a question an answer names: by its letter, by its text, or by both.

B · (b) · \text{B.}                  the letter
B) green · B \text{ green}           the letter, with the text of that choice
B) as I said                         the letter, with something that names no other choice
green · \text{Green}                 the text, compared as answers are
A and C · A) or C) · A) green        several, so none
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, Self

from r1.evaluate.formula import LONGEST, formula
from r1.evaluate.words import without_case, words_of

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


class Comparison(Protocol):
    """Whether two answers say the same, and how that was found."""

    @property
    def value(self) -> bool: ...
    @property
    def how(self) -> str: ...


Compare = Callable[[str, str], Comparison]

_LABEL = re.compile(
    r"(?:(?:option|choice|answer)\s+)?(?:\((?P<inside>[a-z])\)|(?P<bare>[a-z])(?![a-z0-9'_^]))"
    r"(?P<mark>\s*[).:])?[\s,;=-]*(?P<rest>.*)",
    re.IGNORECASE | re.DOTALL,
)
_ARTICLE = re.compile(r"(?:[Tt]he|an?)\s+(?=\w)")
_CAPITAL_ARTICLE = re.compile(r"^(?:The|An?)\s+(?=[A-Za-z]{2})")
_FORMULA = re.compile(r"[\d\\^_=<>+*/|]")  # prose has no numbers and signs
_DIFFERENCE = re.compile(r"-?\s*[A-Za-z]+(?:\s*-\s*[A-Za-z]+)+|-\s*[A-Za-z]+")  # ad - bc


@dataclass(frozen=True, slots=True)
class _Label:
    """A letter and what stands behind it. `is_sure`: it has brackets or a mark, so it is no article or variable."""

    letter: str
    rest: str
    is_sure: bool

    @classmethod
    def of(cls, said: str, letters: str) -> Self | None:
        match = _LABEL.fullmatch(said)
        if match is None:
            return None
        letter, rest = match["inside"] or match["bare"], match["rest"]
        is_sure = bool(match["inside"] or match["mark"] or not rest)
        if letter.upper() not in letters or (letter.islower() and not is_sure):
            return None
        return cls(letter.upper(), rest, is_sure)


def letter_of(final: str, choices: Sequence[str], same: Compare) -> str | None:
    """The letter of the choice that a final answer names; None: of none, or of several.

    `same` compares the text of a choice with an answer. A capital letter is a label even where texts are letters.
    """
    said = _cleaned(final)
    letters = LETTERS[: len(choices)]
    label = _Label.of(said, letters)
    if label is not None and not label.rest and not (said.islower() and said in choices):
        return label.letter
    if equal := _equal(said, choices):
        return equal[0]
    if label is not None and (matching := _equal(label.rest, choices) or _matching(label.rest, choices, same)):
        return label.letter if label.letter in matching else None
    if label is not None and label.is_sure:
        return None if _names_another(label.rest, letters) else label.letter
    matching = _matching(final, choices, same)
    return matching[0] if len(matching) == 1 else None


def _names_another(rest: str, letters: str) -> bool:
    """Whether what stands behind a letter begins with one, as in `or c)`, or has a capital one that is no article."""
    first = rf"(?:and\b|or\b|[/&\\\s])*\(?[{letters}]\s*(?:[).,:;/&]|and\b|or\b|$)"
    capital = rf"(?<![\w\\'])(?:[{letters[1:]}]|A(?! [a-z]))(?![\w'])"
    return bool(re.match(first, rest, re.IGNORECASE) or re.search(capital, rest))


def _equal(said: str, choices: Sequence[str]) -> list[str]:
    """The letters of the choices with these words."""
    return [letter for letter, text in zip(LETTERS, choices, strict=False) if _are_equal(_cleaned(text), said)]


def _are_equal(text: str, said: str) -> bool:
    """Words in any case, and whether or not there is an article before. A capital A in an answer may be a label."""
    bare = _ARTICLE.sub("", _lowered(text))
    return _lowered(said) == _lowered(text) or without_case(_ARTICLE.sub("", said)) == bare


def _lowered(text: str) -> str:
    """Its words without case, and an article at the beginning, too."""
    return without_case(_CAPITAL_ARTICLE.sub(lambda article: article.group().lower(), text))


def _matching(final: str, choices: Sequence[str], same: Compare) -> list[str]:
    """The letters of the formulas among the choices that say the same. Prose is not compared as a formula."""
    formulas = [(letter, text) for letter, text in zip(LETTERS, choices, strict=False) if _is_formula(_cleaned(text))]
    return [letter for letter, text in formulas if same(text, final).value]


def _is_formula(text: str) -> bool:
    return bool(_FORMULA.search(text) or _DIFFERENCE.fullmatch(text)) and words_of(text) is None


def _cleaned(text: str) -> str:
    return formula(text) if len(text) <= LONGEST else text.strip()
