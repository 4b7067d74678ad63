"""A vote on one question: which samples are still to be drawn, when it is over, and what it came to."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from r1.evaluate.tally import Candidate, Sample, Tally, seed_of
from r1.render.reply_text import Reply
from r1.settings import Settings
from r1_quantize.errors import UsageError

_PROSE_AFTER = 2
"""Complete answers with nothing short to vote on, and no other; then the question is one for prose."""


@dataclass(frozen=True, slots=True)
class VoteOptions:
    """At most `count` samples. `first` ends the vote when so many have a vote. `confidence` is what is enough to end it
    earlier; 1: only when the rest cannot change the winner.
    """

    count: int
    first: int | None = None
    confidence: float = 0.95

    @property
    def target(self) -> int:
        """The number of samples with which it ends."""
        return self.count if self.first is None else self.first


def vote_options(settings: Settings) -> VoteOptions | None:
    """The votes that the settings ask for; None for a single reply. Raises UsageError where they make no sense."""
    count = settings.votes or 1
    if count == 1:
        return None
    if settings.first is not None and settings.first > count:
        raise UsageError(f"--first {settings.first} is more than --votes {count}; lower it, or raise the votes")
    if settings.thinking == "only":
        raise UsageError("--votes are for answers, and only the thinking is to be printed; leave one of them out")
    if settings.temp == 0:
        raise UsageError("at temperature 0 all votes are the same; raise --temp, or leave --votes out")
    return VoteOptions(count, settings.first, settings.confidence)


@dataclass(frozen=True, slots=True)
class VoteResult:
    """What a vote came to. `shown` is the sample whose answer is given; None if there is no sample with a text.

    `samples` are all that were begun, in the order of their numbers. `stopped_early`: the winner was certain before as
    many samples had ended as were asked for. `is_prose`: the answers had nothing short to vote on. `is_interrupted`: it
    was ended before it was over.
    """

    samples: tuple[Sample, ...]
    candidates: tuple[Candidate, ...]
    shown: Sample | None
    stopped_early: bool
    is_prose: bool
    is_interrupted: bool

    @property
    def votes(self) -> int:
        return sum(candidate.votes for candidate in self.candidates)

    @property
    def agreement(self) -> float | None:
        """The winner's share of the votes; None without any."""
        return self.candidates[0].votes / self.votes if self.candidates else None


@dataclass(slots=True)
class Vote:
    """A vote under way. `final_answer` finds what an answer says in the end, `same` compares two of those."""

    options: VoteOptions
    seed: int
    final_answer: Callable[[str], str | None]
    same: Callable[[str, str], bool]
    samples: list[Sample] = field(default_factory=list)
    _tally: Tally = field(init=False)
    _waiting: deque[int] = field(init=False)
    _ended: int = 0  # samples
    _is_decided: bool = False

    def __post_init__(self) -> None:
        self._tally = Tally(self.same)
        self._waiting = deque(range(self.options.count))

    @property
    def has_more(self) -> bool:
        """Whether another sample is to be begun."""
        return bool(self._waiting) and not self.is_over

    def begin(self) -> tuple[int, int]:
        """The number and the seed of the next sample."""
        number = self._waiting.popleft()
        return number, seed_of(self.seed, number)

    def add(self, number: int, reply: Reply) -> None:
        """Takes a sample that has ended, also one that ended at the same time as the deciding one. Only a complete
        answer has a vote.
        """
        is_complete = reply.finished.reason == "stop"
        final = self.final_answer(reply.answer) if is_complete else None
        sample = Sample(number, seed_of(self.seed, number), reply, final)
        self.samples.append(sample)
        if reply.finished.reason == "interrupted":
            return
        self._ended += 1
        self._tally.add(sample)
        self._is_decided = self._is_prose or self._tally.is_decided(self._left, self.options.confidence)

    @property
    def is_over(self) -> bool:
        """Whether the samples under way can be ended."""
        return self._is_decided or self._left == 0

    @property
    def finished(self) -> int:
        """How many samples count towards the target: all that have ended; with `first`, those that have a vote."""
        return self._ended if self.options.first is None else self._tally.votes

    @property
    def _left(self) -> int:
        """How many votes there may still be."""
        return max(0, min(self.options.target - self.finished, self.options.count - self._ended))

    @property
    def candidates(self) -> Sequence[Candidate]:
        """The answers so far, the leading one first."""
        return self._tally.candidates

    @property
    def _is_prose(self) -> bool:
        complete = [sample for sample in self.samples if sample.reply.finished.reason == "stop" and sample.reply.answer]
        return len(complete) >= _PROSE_AFTER and not self._tally.candidates

    def result(self) -> VoteResult:
        """What it came to so far."""
        candidates = self._tally.candidates
        return VoteResult(
            samples=tuple(sorted(self.samples, key=lambda sample: sample.number)),
            candidates=tuple(candidates),
            shown=candidates[0].shortest if candidates else self._without_votes(),
            stopped_early=self._is_decided and self._left > 0 and not self._is_prose,
            is_prose=self._is_prose,
            is_interrupted=not self.is_over,
        )

    def _without_votes(self) -> Sample | None:
        """The sample to show when none has a vote: a complete one if there is one, and the one with the first seed."""
        with_text = [sample for sample in self.samples if sample.reply.answer]
        return min(
            with_text or self.samples,
            key=lambda sample: (sample.reply.finished.reason != "stop", sample.number),
            default=None,
        )
