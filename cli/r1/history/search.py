"""Finding words in what was said, whatever their case and in whatever language.

A scan, and no index. Measured on 10,000 turns of 4 KB and 1,000 traces of 50 KB (96 MB, English, Chinese and
Russian), a scan takes 0.2 to 0.6 s. FTS5 answers in a millisecond, but its default tokenizer takes a Chinese
sentence for one word, and its trigram tokenizer finds no word of two characters, which most Chinese words are, at
115 MB and 8 s of index. Neither sees a reply before it is over, not every SQLite has FTS5, and each would hold
copies of words that were to be deleted.

The scan is quick because most turns are dismissed as bytes: what of a word is ASCII or has no case must stand in the
turn's UTF-8 lowered byte by byte. Only what passes is decoded and looked at as text.

Knows: words, phrases, excerpts. Does not know: databases.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from r1_quantize.errors import UsageError

Where = Literal["question", "answer", "thinking", "title", "file"]

_BEFORE, _AFTER = 50, 110  # characters of an excerpt around where the first match begins
_TERM = re.compile(r'"([^"]*)"?|([^\s"]+)')


@dataclass(frozen=True, slots=True)
class Hit:
    """A turn, or a title, that has every word. `number` is 0 for a title.

    `excerpt` is one line; `spans` are the places in it, from and to, where the words stand.
    """

    session: int
    title: str
    number: int
    where: Where
    excerpt: str
    spans: tuple[tuple[int, int], ...]
    withdrawn: bool = False


@dataclass(frozen=True, slots=True)
class Words:
    """What is looked for: `patterns` decide, `needles` dismiss quickly."""

    patterns: tuple[re.Pattern[str], ...]
    needles: tuple[bytes, ...]

    @classmethod
    def of(cls, typed: str) -> Words:
        """Words apart by spaces, a phrase in double quotes. Raises UsageError when there is none."""
        terms = [(match[1] or match[2] or "").split() for match in _TERM.finditer(typed)]
        terms = [term for term in terms if term]
        if not terms:
            raise UsageError('nothing to look for; r1 history search WORDS, or "a phrase" in quotes')
        patterns = (re.compile(r"\s+".join(map(re.escape, term)), re.IGNORECASE) for term in terms)
        return cls(tuple(patterns), tuple(_needle(part) for term in terms for part in term))

    def may_be_in(self, texts: Iterable[bytes]) -> bool:
        """False when a word is surely in none of the texts."""
        hay = b"\n".join(texts).lower()
        return all(needle in hay for needle in self.needles)

    def best_of(self, texts: Mapping[Where, str]) -> Where | None:
        """Of texts that have every word together, the one with most of them, the earlier where it is a tie."""
        found = {where: [bool(pattern.search(text)) for pattern in self.patterns] for where, text in texts.items()}
        if not all(map(any, zip(*found.values(), strict=True))):
            return None
        return max(found, key=lambda where: sum(found[where]))

    def excerpt(self, text: str) -> tuple[str, tuple[tuple[int, int], ...]]:
        """The surroundings of the first match, on one line, and where in them the matches are."""
        first = min((m for pattern in self.patterns if (m := pattern.search(text))), key=lambda match: match.start())
        start, end = max(0, first.start() - _BEFORE), max(first.end(), first.start() + _AFTER)
        middle = " ".join(text[start:end].split())
        excerpt = f"{'…' if start else ''}{middle}{'…' if end < len(text) else ''}"
        return excerpt, self._spans(excerpt)

    def _spans(self, text: str) -> tuple[tuple[int, int], ...]:
        """In order; those that touch or overlap are one."""
        merged: list[tuple[int, int]] = []
        for start, end in sorted(match.span() for pattern in self.patterns for match in pattern.finditer(text)):
            if merged and start <= merged[-1][1]:
                merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
            else:
                merged.append((start, end))
        return tuple(merged)


def _needle(word: str) -> bytes:
    """The longest run of characters whose bytes do not depend on case, once ASCII is lowered.

    k, s and i are out, because there are characters beyond ASCII that are theirs in another case (K, ſ, İ).
    """
    plain = (char if char not in "kKsSiI" and _is_caseless(char) else "\0" for char in word)
    return max("".join(plain).split("\0"), key=len).encode("utf-8", "replace").lower()


def _is_caseless(char: str) -> bool:
    return char.isascii() or char == char.lower() == char.upper() == char.casefold()
