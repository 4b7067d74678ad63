"""Guesses at the tokens to come, which the model checks in one pass: speculative decoding.

A pass over four tokens takes little longer than one over a single token, because both read every weight once. So a
drafter proposes what may follow, the model decodes that together with its last token, and the sampler then chooses each
token from the model's own logits, as without a draft. Where it chooses what was drafted, the token is kept; the rest of
the draft is taken out of the cache again. A draft never decides what is said, only how many tokens a pass yields.

`Speculation` decides for one reply whether a draft pays, and how long it should be: from how often earlier ones were
right, and from what a longer pass costs. Costs are in plain passes: those over one token of each sequence.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable
from collections.abc import Sequence as Row
from dataclasses import dataclass
from time import perf_counter
from typing import NamedTuple, Protocol

from r1.engine.events import Drafted

_WEIGHT = 0.06  # of one token in how often drafted tokens are right
_RECOVERY = 0.01  # share of a lost hope that comes back with each token without a draft, so that it is tried again
_SUREST = 0.985
_LEAST_GAIN = 1.03  # of tokens a second, that a draft must promise

_ALLOWANCE = 0.025
"""Plain passes that drafts may cost for each token without being of use: 2.5 %, which leaves 0.5 % for finding them."""
_MOST_CREDIT = 10.0  # passes; after long success, so much can be lost at most

_LONG = 200  # tokens that a reply can be expected to have: R1 thinks for thousands

_LEAST_PLAIN = 4  # plain passes that tell how long one takes

_EXPECTED = 0.15
"""What each token of a pass over several costs where nothing was measured, in passes over one token, besides 1 for the
weights. On two cores with AVX-512, passes over 4, 8, 16 and 32 tokens of a 1.5B in Q4_K_M took 1.4, 2.5, 2.7 and 5.2
times as long as one over a single token; of a 135M in Q8_0, 1.5, 1.9, 2.8 and 4.7 times.
"""
_ROWS = 4  # that llama.cpp multiplies at once on a processor; it is slow with what is left over
_MANY = 64  # tokens of a pass, from which on llama.cpp's flash attention takes a fraction of the time for each


class Prospect(NamedTuple):
    """A draft of up to `longest` tokens that could be made. Drafts of the same `kind` are about equally good; `hope` is
    how often a token of such a draft is right, before any was checked. Before the first one the drafter has to read,
    which is expected to take as long as `reading` passes over one token.
    """

    kind: Hashable
    hope: float
    longest: int
    reading: float = 0.0


class Drafter(Protocol):
    """Proposes what may follow in one sequence. In passes over one token, `cost` is what a token of a draft is expected
    to take, and `spent` the same for the last draft.
    """

    @property
    def cost(self) -> float: ...

    @property
    def spent(self) -> float: ...

    def look(self, tokens: list[int], last: int, most: int) -> Prospect | None:
        """What could be drafted after `tokens` and `last`, at most so many tokens; None: nothing."""

    def draft(self, length: int) -> list[int]:
        """The draft that was looked for last, so many tokens of it or fewer."""

    def trial_s(self) -> float:
        """Seconds that a token of a draft takes; 0 if nearly none."""

    def release(self) -> None:
        """Gives back what the drafter has of others; called when the reply has ended or is paused."""


Kind = tuple[Drafter, Hashable]


class PassCosts:
    """What a pass over several tokens, and a draft, cost on this machine, learnt from their times."""

    def __init__(self) -> None:
        self._single_s: float | None = None
        self._scales = [1.0, 1.0]  # of what tokens cost, in what is expected: in small passes, and in large ones
        self._drafting: float | None = None  # what drafts take, in what is expected

    @property
    def is_known(self) -> bool:
        """Whether the time of a pass over one token is."""
        return self._single_s is not None

    @property
    def knows_drafting(self) -> bool:
        """Whether the time of drafts is known."""
        return self._drafting is not None

    def measured(self, tokens: int, seconds: float) -> None:
        """A pass over so many tokens took so long, without a prompt among them."""
        if tokens == 1:
            self._single_s = seconds if self._single_s is None else self._single_s + 0.25 * (seconds - self._single_s)
        elif self._single_s:
            scale = (seconds / self._single_s - 1) / _expected(tokens)
            kind = tokens >= _MANY
            self._scales[kind] += 0.1 * (min(max(scale, 0.0), 4.0) - self._scales[kind])

    def drafted(self, expected: float, seconds: float) -> None:
        """A draft took so long to make, and was expected to take as long as `expected` passes over one token."""
        if self._single_s and expected and seconds:
            scale = min(seconds / self._single_s / expected, 10.0)
            self._drafting = scale if self._drafting is None else self._drafting + 0.25 * (scale - self._drafting)

    def drafting(self, expected: float) -> float:
        """How long such a draft takes, in passes over one token."""
        return expected if self._drafting is None else self._drafting * expected

    def ratio(self, tokens: int, plain: int) -> float:
        """How much longer a pass over `tokens` tokens takes than one over `plain` tokens."""
        return self._cost(tokens) / self._cost(plain)

    def _cost(self, tokens: int) -> float:
        return 1 + self._scales[tokens >= _MANY] * _expected(tokens)


class ExpectedCosts(PassCosts):
    """Costs that stay as expected, whatever is measured, so that a seed gives the same drafts each time."""

    is_known = knows_drafting = True

    def measured(self, tokens: int, seconds: float) -> None:
        pass

    def drafted(self, expected: float, seconds: float) -> None:
        pass


def _expected(tokens: int) -> float:
    """What a pass costs besides one over a single token."""
    return _EXPECTED * tokens if tokens > 1 else 0.0


def _excess(costs: PassCosts, plain: int, length: int, drafting: float) -> float:
    """What a draft costs, in plain passes: those over `plain` tokens. To make it is expected to take `drafting` passes
    over one.
    """
    return costs.ratio(plain + length, plain) - 1 + costs.drafting(drafting) / costs.ratio(plain, 1)


class _Plan(NamedTuple):
    """A draft of `length` tokens, which makes the batch `gain` times as fast."""

    gain: float
    drafter: Drafter
    kind: Kind
    length: int


class Speculation:
    """Drafts for one reply, as long as they pay.

    Each token of the reply earns a little credit, and a draft costs credit, as far as it takes longer than the tokens
    that it wins. Without credit there is none: so misses cost 2.5 % of the time, however many there are. Drafts that
    cost nothing to make are compared with the reply even when they are not decoded.
    """

    def __init__(self, drafters: Row[Drafter]) -> None:
        self._drafters = drafters
        self._right: dict[Kind, float] = {}  # how often a token of such drafts is right
        self._credit = 1.0  # in plain passes
        self._won = 0  # tokens of the last draft that were right
        self._plan: _Plan | None = None  # of the draft that is being checked
        self._length = 0  # of that draft, which may be shorter than planned
        self._is_plain = True  # the present pass: no drafter did anything for it
        self._unused: deque[int] = deque()  # the rest of a draft that was not decoded, as far as it was right
        self._unused_kind: Kind | None = None
        self._proposed = 0
        self._times = _Times()

    def draft(self, tokens: list[int], last: int, most: int, costs: PassCosts, others: int) -> list[int]:
        """What may follow `tokens` and `last`, at most `most` tokens, in a pass with the tokens of so many `others`.

        Raises as the drafters.
        """
        plain = others + 1
        self._credit = min(self._credit + (_ALLOWANCE + self._won) / plain, _MOST_CREDIT)
        self._won, self._plan, self._length, self._is_plain = 0, None, 0, True
        self._compare_unused(last)
        prospects = [(each, prospect) for each in self._usable(costs) if (prospect := each.look(tokens, last, most))]
        planned = [self._planned(drafter, prospect, costs, plain) for drafter, prospect in prospects]
        plan = max(filter(None, planned), key=lambda each: each.gain, default=None)
        if plan is None:
            self._recover(prospects)
            self._keep_unused(prospects)
            return []
        self._unused.clear()
        self._is_plain = False
        began = perf_counter()
        draft = plan.drafter.draft(plan.length)
        costs.drafted(plan.drafter.spent, perf_counter() - began)
        self._length, self._plan = len(draft), plan if draft else None
        self._credit -= _excess(costs, plain, len(draft), plan.drafter.spent)
        return draft

    def passed(self, alone_s: float | None) -> None:
        """The pass with the draft, or without one, is done. It took `alone_s` seconds if no other reply was in it, with
        the time for the draft.
        """
        self._proposed += self._length
        self._times.add(alone_s, is_plain=self._is_plain)

    def checked(self, *, is_right: bool) -> None:
        """Whether the next token of the draft is what was chosen; what follows a wrong one is not checked."""
        if self._plan is not None:
            self._learn(self._plan.kind, is_right=is_right)
        self._won += is_right
        self._times.accepted += is_right

    def release(self) -> None:
        """Called when the reply has ended or is paused."""
        for drafter in self._drafters:
            drafter.release()

    @property
    def drafted(self) -> Drafted:
        """What has been drafted so far."""
        return Drafted(self._proposed, self._times.accepted, self._times.passes, self._times.speedup)

    def _usable(self, costs: PassCosts) -> list[Drafter]:
        """Those whose drafts have a known cost: one that costs something is timed, once a plain pass was."""
        usable = [each for each in self._drafters if costs.is_known or not each.cost]
        for each in usable:
            if each.cost and not costs.knows_drafting:
                costs.drafted(each.cost, each.trial_s())
        return usable

    def _planned(self, drafter: Drafter, prospect: Prospect, costs: PassCosts, plain: int) -> _Plan | None:
        """The length that pays best, of those that there is credit for; None: none pays."""
        kind = drafter, prospect.kind
        right = self._right.setdefault(kind, prospect.hope)
        best: _Plan | None = None
        expected, likely = 1.0, 1.0
        for length in range(1, prospect.longest + 1):
            likely *= right
            expected += likely
            if (plain + length) % _ROWS and length < prospect.longest:
                continue
            excess = _excess(costs, plain, length, length * drafter.cost)
            gain = (plain - 1 + expected) / plain / (1 + excess)
            if excess <= self._credit and gain > (best.gain if best else _LEAST_GAIN):
                best = _Plan(gain, drafter, kind, length)
        return best if best and self._is_worth_reading(prospect, costs, best.gain) else None

    def _is_worth_reading(self, prospect: Prospect, costs: PassCosts, gain: float) -> bool:
        """Whether what is read before the first draft is won back if the reply goes on as long again."""
        return costs.drafting(prospect.reading) <= (_LONG + self._times.passes) * (1 - 1 / gain)

    def _learn(self, kind: Kind, *, is_right: bool) -> None:
        self._right[kind] += _WEIGHT * (is_right * _SUREST - self._right[kind])

    def _recover(self, prospects: list[tuple[Drafter, Prospect]]) -> None:
        """Lets hope rise for drafts that cost something to make, so that they are tried again some day."""
        for drafter, prospect in prospects:
            if drafter.cost:
                kind = drafter, prospect.kind
                self._right[kind] += _RECOVERY * (prospect.hope - self._right[kind])

    def _keep_unused(self, prospects: list[tuple[Drafter, Prospect]]) -> None:
        """Keeps a draft that costs nothing, unless an earlier one is still being compared."""
        free = next((each for each in prospects if not each[0].cost), None)
        if free is not None and not self._unused:
            drafter, prospect = free
            self._unused.extend(drafter.draft(prospect.longest))
            self._unused_kind = drafter, prospect.kind

    def _compare_unused(self, last: int) -> None:
        if self._unused and self._unused_kind is not None:
            is_right = self._unused.popleft() == last
            self._learn(self._unused_kind, is_right=is_right)
            if not is_right:
                self._unused.clear()


@dataclass(slots=True)
class _Times:
    """The passes of a reply, and how long those took in which it was alone."""

    passes: int = 0
    accepted: int = 0
    alone: int = 0
    alone_s: float = 0.0
    plain: int = 0
    plain_s: float = 0.0

    def add(self, alone_s: float | None, *, is_plain: bool) -> None:
        self.passes += 1
        if alone_s is None:
            return
        self.alone += 1
        self.alone_s += alone_s
        if is_plain:
            self.plain += 1
            self.plain_s += alone_s

    @property
    def speedup(self) -> float | None:
        """Against a plain pass for each token; None: others were in some passes, or too few were plain to know how long
        one takes.
        """
        if self.plain < _LEAST_PLAIN or self.alone < self.passes:
            return None
        return (self.passes + self.accepted) * self.plain_s / self.plain / self.alone_s
