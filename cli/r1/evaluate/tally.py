"""Counts votes: which answers say the same, which leads, and whether the rest can still change that."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import comb

from r1.engine.sampling import MAX_SEED
from r1.evaluate.classes import AnswerClasses
from r1.render.reply_text import Reply


def seed_of(seed: int, number: int) -> int:
    """The seed of a sample, counted from 0, of a question that has `seed`. The first one has the question's own."""
    if number == 0:
        return seed
    from hashlib import blake2b  # here, because it loads OpenSSL

    digest = blake2b(f"{seed} {number}".encode(), digest_size=8).digest()
    return int.from_bytes(digest) % (MAX_SEED + 1)


@dataclass(frozen=True, slots=True)
class Sample:
    """One of several replies to the same question. `final` is what its answer says in the end; None: it has no vote."""

    number: int
    seed: int
    reply: Reply
    final: str | None

    @property
    def thinking_tokens(self) -> int:
        return self.reply.finished.usage.thinking_tokens

    @property
    def tokens(self) -> int:
        """Of the whole reply."""
        return self.thinking_tokens + self.reply.finished.usage.answer_tokens


@dataclass(slots=True)
class Candidate:
    """An answer as the first sample wrote it, and the samples that gave it."""

    answer: str
    samples: list[Sample]

    @property
    def votes(self) -> int:
        return len(self.samples)

    @property
    def shortest(self) -> Sample:
        return min(self.samples, key=lambda sample: (sample.tokens, sample.number))

    @property
    def rank(self) -> tuple[int, int, int]:
        """The smallest is the best: more votes, then the shorter thinking, then the earlier sample."""
        return (-self.votes, *min((sample.thinking_tokens, sample.number) for sample in self.samples))


class Tally:
    """The votes so far. `same` says whether two answers say the same."""

    def __init__(self, same: Callable[[str, str], bool]) -> None:
        self._classes = AnswerClasses(same)
        self._candidates: list[Candidate] = []  # by the numbers of their classes

    def add(self, sample: Sample) -> None:
        """Takes a finished sample; one without a final answer changes nothing."""
        if sample.final is None:
            return
        number = self._classes.add(sample.final)
        if number == len(self._candidates):  # never without a sample: another thread may look
            self._candidates.append(Candidate(sample.final, [sample]))
        else:
            self._candidates[number].samples.append(sample)

    @property
    def votes(self) -> int:
        return sum(candidate.votes for candidate in self._candidates)

    @property
    def candidates(self) -> list[Candidate]:
        """The answers, the winner first."""
        return sorted(self._candidates, key=lambda candidate: candidate.rank)

    def is_decided(self, left: int, confidence: float) -> bool:
        """Whether `left` more votes cannot change the winner, or the first answer stays ahead with `confidence`."""
        first, *others = [candidate.votes for candidate in self.candidates] or [0]
        most = max(others, default=0)
        return first > most + left or (first > most and lead_confidence(first, others) >= confidence)


def lead_confidence(first: int, others: Sequence[int]) -> float:
    """The probability, at least, that the model gives the first answer more often than each of the others, when they
    were given so often.

    Between two answers, all shares are held for equally likely before the first sample; the posterior is then
    Beta(first + 1, other + 1), and its part below one half the probability that the other one is more frequent
    (https://arxiv.org/abs/2305.11860 looks at the second answer only). For several others these are added up.
    """
    return 1 - sum(_overtakes(first, other) for other in others or [0])


def _overtakes(first: int, other: int) -> float:
    from fractions import Fraction  # here, because a single reply needs none

    draws = first + other + 1
    return float(Fraction(sum(comb(draws, drawn) for drawn in range(first + 1, draws + 1)), 2**draws))
