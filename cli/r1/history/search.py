"""Search in chats: words and phrases, in any case and any language.

A scan without an index. Measured on 10,000 turns of 4 KB and 1,000 traces of 50 KB (96 MB, English, Chinese and
Russian), a scan takes 0.2 to 0.6 s. FTS5 answers in a millisecond, but its default tokenizer treats a Chinese sentence
as one word, and its trigram tokenizer, with 115 MB and 8 s of indexing, cannot find words of two characters, and most
Chinese words have two. FTS5 does not see a reply before it is over, is missing from some builds of SQLite, and would
keep copies of deleted words.

The scan is fast because most turns are ruled out as bytes: the part of a term that is ASCII or caseless must occur in
the turn's UTF-8 with its ASCII letters in lower case. Only the other turns are decoded and searched as text.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from r1_quantize.errors import UsageError

Place = Literal["question", "answer", "thinking", "title", "file"]

_BEFORE, _AFTER = 50, 110  # characters of an excerpt around the start of the first match
_TERM = re.compile(r'"([^"]*)"?|([^\s"]+)')

_TEXTS = """
    SELECT turn, CAST(question AS BLOB), CAST(answer AS BLOB), CAST(thinking AS BLOB), CAST(coalesce(
        (SELECT group_concat(name || char(10) || content, char(10)) FROM files WHERE turn = transcript.turn), ''
    ) AS BLOB)
    FROM transcript ORDER BY turn DESC
"""
"""As bytes: most turns are ruled out without being decoded."""


@dataclass(frozen=True, slots=True)
class Hit:
    """A turn or a title that has every term. `number` is the turn's, 0 for a title.

    `excerpt` is one line; `spans` are the start and end of each match in it.
    """

    session: int
    title: str
    number: int
    where: Place
    excerpt: str
    spans: tuple[tuple[int, int], ...]
    withdrawn: bool = False


@dataclass(frozen=True, slots=True)
class Query:
    """The terms of a search. `patterns` find them; `needles` rule most texts out quickly."""

    patterns: tuple[re.Pattern[str], ...]
    needles: tuple[bytes, ...]

    @classmethod
    def parse(cls, typed: str) -> Query:
        """Words separated by spaces, phrases in double quotes. Raises UsageError when there is none."""
        terms = [(match[1] or match[2] or "").split() for match in _TERM.finditer(typed)]
        terms = [term for term in terms if term]
        if not terms:
            raise UsageError('nothing to search for; r1 history search WORDS, or "a phrase" in quotes')
        patterns = (re.compile(r"\s+".join(map(re.escape, term)), re.IGNORECASE) for term in terms)
        return cls(tuple(patterns), tuple(_needle(part) for term in terms for part in term))

    def may_match(self, texts: Iterable[bytes]) -> bool:
        """False when some term is certainly in none of the texts."""
        haystack = b"\n".join(texts).lower()
        return all(needle in haystack for needle in self.needles)

    def best_place(self, texts: Mapping[Place, str]) -> Place | None:
        """The text with the most terms, if the texts together have them all; of equals, the first."""
        matches = {place: [bool(pattern.search(text)) for pattern in self.patterns] for place, text in texts.items()}
        if not all(map(any, zip(*matches.values(), strict=True))):
            return None
        return max(matches, key=lambda place: sum(matches[place]))

    def excerpt(self, text: str) -> tuple[str, tuple[tuple[int, int], ...]]:
        """One line around the first match, and the spans of all matches in it."""
        first = min((m for pattern in self.patterns if (m := pattern.search(text))), key=lambda match: match.start())
        start, end = max(0, first.start() - _BEFORE), max(first.end(), first.start() + _AFTER)
        middle = " ".join(text[start:end].split())
        excerpt = f"{'…' if start else ''}{middle}{'…' if end < len(text) else ''}"
        return excerpt, self._spans(excerpt)

    def _spans(self, text: str) -> tuple[tuple[int, int], ...]:
        """The matches in order; those that touch or overlap are merged."""
        merged: list[tuple[int, int]] = []
        for start, end in sorted(match.span() for pattern in self.patterns for match in pattern.finditer(text)):
            if merged and start <= merged[-1][1]:
                merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
            else:
                merged.append((start, end))
        return tuple(merged)


def _needle(word: str) -> bytes:
    """The longest run of characters whose UTF-8 is the same in every case, once ASCII is lowered.

    k, s and i are excluded, because characters outside ASCII are other cases of them (K, ſ, İ).
    """
    plain = (char if char not in "kKsSiI" and _is_caseless(char) else "\0" for char in word)
    return max("".join(plain).split("\0"), key=len).encode("utf-8", "replace").lower()


def _is_caseless(char: str) -> bool:
    return char.isascii() or char == char.lower() == char.upper() == char.casefold()


def find_hits(db: sqlite3.Connection, query: Query, limit: int) -> list[Hit]:
    """Titles that have every term, then turns that do; newest first, at most `limit`."""
    hits: list[Hit] = []
    for turn, *raw in db.execute(_TEXTS):
        if query.may_match(raw) and (hit := _turn_hit(db, query, turn, tuple(raw))):
            hits.append(hit)
        if len(hits) == limit:
            break
    return [*_title_hits(db, query, {hit.session for hit in hits}), *hits][:limit]


def _turn_hit(db: sqlite3.Connection, query: Query, turn: int, raw: tuple[bytes, ...]) -> Hit | None:
    """The turn of a row of `_TEXTS`, if it has every term."""
    places: tuple[Place, ...] = ("question", "answer", "thinking", "file")
    texts = {place: text.decode("utf-8", "replace") for place, text in zip(places, raw, strict=True)}
    place = query.best_place(texts)
    if place is None:
        return None
    row = db.execute("SELECT session, title, number, withdrawn FROM transcript WHERE turn = ?", (turn,)).fetchone()
    excerpt, spans = query.excerpt(texts[place])
    return Hit(
        session=row["session"],
        title=row["title"],
        number=row["number"],
        where=place,
        excerpt=excerpt,
        spans=spans,
        withdrawn=bool(row["withdrawn"]),
    )


def _title_hits(db: sqlite3.Connection, query: Query, skip: set[int]) -> Iterator[Hit]:
    """Titles that have every term, newest first.

    Leaves out the sessions in `skip`, and titles that only repeat the start of the first question.
    """
    titles = db.execute("SELECT id, title FROM sessions ORDER BY updated DESC, id DESC").fetchall()
    for session, title in titles:
        if session in skip or not query.best_place({"title": title}):
            continue
        question = db.execute("SELECT question FROM turns WHERE session = ? ORDER BY id LIMIT 1", (session,)).fetchone()
        if title.removesuffix("…") not in " ".join(question[0].split()):
            excerpt, spans = query.excerpt(title)
            yield Hit(session=session, title=title, number=0, where="title", excerpt=excerpt, spans=spans)
