"""Which answers are words, and not formulas; and how words are written without case.

The letters alone do not tell: `ad-bc` is a formula, `x-axis` is not, and neither is `well-known`. So a text with
hyphens is words only if something in it can be spoken. Where there is doubt, it is a formula, in which case counts.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise

_LONG = 4  # letters of a word that can be no product of variables
_SHORT = 3  # letters of a word beside another one, or of one that stands alone

_FUNCTION = re.compile("sin|cos|tan|cot|sec|csc|log|exp|max|min|gcd|lcm|det|dim|mod")
_LETTERS = re.compile(r"[A-Za-z][A-Za-z '\-]*")
_WORD = re.compile(r"(?<![\\A-Za-z])[A-Za-z]+(?:'[a-z]+)?")
_PAIRS = re.compile(r"(?:(.)\1)+")


def words_of(text: str) -> str | None:
    """The words of an answer without case, and without an article before them; None for a formula."""
    text = re.sub(" ?- ?", "-", text)
    if _LETTERS.fullmatch(text) is None or len(max(text.split(), key=len)) < _LONG:
        return None
    if "-" in text and not _is_spoken(re.split(r"[ \-]+", text)):
        return None
    words = without_case(text).split()
    has_article = len(words) > 1 and (
        words[0].lower() == "the" or (words[0].lower() in ("a", "an") and is_word(words[1]))
    )
    return " ".join(words[1:] if has_article else words)


def without_case(text: str) -> str:
    """A text with its words in lower case; other letters, as those of variables and genotypes, are left as they are."""
    has_long = any(len(word) >= _LONG and is_word(word) for word in _WORD.findall(text))
    if has_long and text.isupper():
        return text.lower()
    return _WORD.sub(lambda match: _lower(match, has_long), text)


def _lower(match: re.Match[str], has_long: bool) -> str:
    """`has_long`: there is a word in the text that is surely one."""
    word = match.group()
    if len(word) == 1:  # X-axis
        return word.lower() if has_long and match.string[match.end() :].startswith("-") else word
    is_capitalized = word[0].isupper() and word[1:].islower() and (has_long or len(word) >= _SHORT)
    is_shouted = word.isupper() and len(word) >= _SHORT
    return word.lower() if (is_capitalized or is_shouted) and is_word(word) else word


def is_word(text: str) -> bool:
    """Whether letters can be spoken. Not mgh, nor abcd and XYZ, which name points, nor AABB, a genotype."""
    letters = text.casefold().replace("'", "").replace("-", "")
    if re.search("[aeiouy]", letters) is None or len(letters) < 2 or _PAIRS.fullmatch(letters):
        return False
    return len(letters) < _SHORT or any(ord(second) - ord(first) not in (0, 1) for first, second in pairwise(letters))


def _is_spoken(pieces: Sequence[str]) -> bool:
    """Whether one of the pieces between hyphens is a long word, or two are short ones."""
    lengths = [len(piece) for piece in pieces if is_word(piece) and not _FUNCTION.fullmatch(piece)]
    return max(lengths, default=0) >= _LONG or sum(length >= _SHORT for length in lengths) > 1
