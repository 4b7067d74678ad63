"""Decides how the thinking of one reply goes on: freely, nudged towards its end, closed, or back to before a loop.

It knows token ids and counts only. It is asked once before each token is drawn, and told each token that was. The
thinking is closed by the tokens with which R1 closes it itself, never by words that R1 did not say: warnings written
into the trace were found to make it longer (https://github.com/ggml-org/llama.cpp, `--reasoning-budget`).
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from r1.engine.events import ThinkingEnd
from r1.engine.prompt import Continued
from r1.engine.repetition import Loop, LoopDetector

if TYPE_CHECKING:
    from r1.engine.model import Model

EFFORTS: dict[str, int | None] = {"none": 0, "low": 1024, "medium": 4096, "high": 16_384, "max": None}
"""Budgets in tokens; None: no budget."""

_RESERVE = 2048
"""Tokens for the answer. Most of R1's are shorter; a quarter of a small room is enough for a short one."""

_NUDGED_SHARE = 8
"""In the last eighth of the budget the end of the thinking is made likelier."""

_MOST_NUDGE = 12.0
"""What the logit of `</think>` gains at the end of the budget. After a sentence, 7 make it as likely as going on."""

_RETRIES = 2
"""How often the thinking goes back to before a loop, until it is closed there."""

_DETOUR = 512
"""Tokens after going back that stay clear of what the loop said."""

_RUN = 8
"""A run of so many tokens counts as said by the loop. Shorter ones are needed again: a name, a formula."""


@dataclass(frozen=True, slots=True)
class ThinkingParams:
    """`budget` is what the model may think, in tokens; the two that close the thinking are not counted. With 0, the
    prompt ends with a thinking block that is already closed. None: no budget.

    `reserve` is what the thinking leaves for the answer, in tokens, of what `max_tokens` and the context allow; None:
    2,048, or a quarter if that is less. `guards_loops`: thinking that goes round in circles is led out of them or
    closed, and an answer that does is ended.
    """

    budget: int | None = None
    reserve: int | None = None
    guards_loops: bool = True

    @property
    def has_begun_to_answer(self) -> bool:
        """Whether the reply begins with its answer."""
        return self.budget == 0


UNGUARDED = ThinkingParams(reserve=0, guards_loops=False)
"""Thinking that may take all there is."""


class Step(NamedTuple):
    """How the next token is to be drawn: not at all if it is `forced`; else with `nudge` added to the logit of
    `</think>`, and never as one of the `banned`.
    """

    forced: int | None = None
    nudge: float = 0.0
    banned: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class ClosingTokens:
    """What R1 writes around `</think>`: a line break before it, and an empty line after it."""

    line_break: tuple[int, ...]
    end_think: int
    empty_line: tuple[int, ...]

    @classmethod
    def of(cls, model: Model) -> ClosingTokens:
        return cls(tuple(model.tokenize("\n")), model.control.end_think, tuple(model.tokenize("\n\n")))

    @property
    def all(self) -> tuple[int, ...]:
        return (*self.line_break, self.end_think, *self.empty_line)


class ThinkingPolicy:
    """The policy of one reply. `end` says what ended the thinking; None while it goes on, and where the reply goes on
    with an answer or a text, so that it has none.
    """

    def __init__(
        self,
        params: ThinkingParams,
        room: int,
        model: Model,
        *,
        continues: Continued | None = None,
        answers_in_form: bool = False,
    ) -> None:
        """`room` is the number of tokens that the reply may have; `continues` is what it goes on with. An answer in a
        form begins after an empty line, as R1's other answers do.
        """
        has_answer = continues in {"answer", "text"}
        self.is_thinking = not (has_answer or params.has_begun_to_answer)
        self.end: ThinkingEnd | None = None if self.is_thinking or has_answer else "budget"
        self._model = model
        self._closing = ClosingTokens.of(model)
        self._budget = params.budget
        self._limit = _limit(params, room, len(self._closing.all))
        self._answers_in_form = answers_in_form
        self._detector = self._new_detector() if params.guards_loops else None
        self._thought = 0  # tokens
        self._last: int | None = None
        self._detour = _Detour()
        self._forced: deque[int] = deque()
        self._nudge = 0.0
        self._retries = 0

    def next(self, *, answers_now: bool) -> Step:
        """How to draw the next token; `answers_now` closes the thinking."""
        if self._forced:
            return Step(forced=self._forced.popleft())
        if self.end is not None or not self.is_thinking:
            return Step()
        if end := self._end_that_is_due(answers_now=answers_now):
            return Step(forced=self.close(end))
        self._nudge = _nudge(self._thought, self._budget)
        return Step(nudge=self._nudge, banned=self._detour.banned(self._thought))

    def close(self, end: ThinkingEnd) -> int:
        """Closes the thinking; returns the token to go on with. The others are forced one by one."""
        self.end = end
        is_line_over = self._last is not None and self._model.piece(self._last).endswith(b"\n")
        self._forced.extend(() if is_line_over else self._closing.line_break)
        self._forced.extend((self._closing.end_think, *self._closing.empty_line))
        return self._forced.popleft()

    def add(self, token: int) -> Loop | None:
        """Takes the token that was drawn or forced; returns the loop that it completes, if any."""
        self._last = token
        if self.is_thinking and token == self._closing.end_think:
            self._begin_answer()
            return None
        if self.is_thinking and self.end is not None:  # being closed
            return None
        self._thought += self.is_thinking
        self._detour.add(token)
        return self._detector.add(token) if self._detector else None

    def go_back(self, reply: Sequence[int], length: int) -> None:
        """The thinking goes back to the first `length` tokens of `reply`, and takes another way from there. When that
        has not helped, it is closed.
        """
        assert self._detector is not None
        self._detector.truncate(length)
        self._thought, self._last = length, reply[length - 1]
        self._retries += 1
        if self._retries <= _RETRIES:
            self._detour.begin(reply, length)
        else:
            self._forced.appendleft(self.close("loop"))

    def _begin_answer(self) -> None:
        self.is_thinking = False
        if self.end is None:
            self.end = "budget" if self._nudge else "natural"
            self._forced.extend(self._closing.empty_line if self._answers_in_form else ())
        self._detector = self._new_detector() if self._detector else None

    def _new_detector(self) -> LoopDetector:
        return LoopDetector(self._model.is_number, lenient=not self.is_thinking)

    def _end_that_is_due(self, *, answers_now: bool) -> ThinkingEnd | None:
        if answers_now:
            return "user"
        if self._budget is not None and self._thought >= self._budget:
            return "budget"
        if self._limit is not None and self._thought >= self._limit:
            return "limit"
        return None


class _Detour:
    """A way around a loop that was left: no run of tokens that was in the loop comes again for a while.

    A ban on the first token alone helps little: "It's" for "It is", and the same circle begins.
    """

    def __init__(self) -> None:
        self._next: defaultdict[tuple[int, ...], set[int]] = defaultdict(set)
        """The tokens that complete a run, by those before it."""
        self._recent: deque[int] = deque(maxlen=_RUN - 1)
        self._end = 0

    def begin(self, reply: Sequence[int], length: int) -> None:
        """The tokens of `reply` from index `length` on were the loop; the others stay."""
        for place in range(length, len(reply)):
            self._next[_before(reply, place)].add(reply[place])
        self._recent.clear()
        self._recent.extend(_before(reply, length))
        self._end = length + _DETOUR

    def add(self, token: int) -> None:
        """Takes the token that was drawn."""
        if self._end:
            self._recent.append(token)

    def banned(self, thought: int) -> tuple[int, ...]:
        """What must not come next, after so many tokens of thinking."""
        return tuple(self._next.get(tuple(self._recent), ())) if thought < self._end else ()


def _before(tokens: Sequence[int], place: int) -> tuple[int, ...]:
    return tuple(tokens[max(0, place - _RUN + 1) : place])


def _limit(params: ThinkingParams, room: int, closing: int) -> int | None:
    """What the thinking may have of `room` tokens, so that the reserve is left after the tokens that close it."""
    reserve = min(_RESERVE, room // 4) if params.reserve is None else params.reserve
    return max(room - reserve - closing, 0) if reserve else None


def _nudge(thought: int, budget: int | None) -> float:
    """What `</think>` gains after so many tokens: 0 up to the last part of the budget, then more with each token."""
    if budget is None:
        return 0.0
    part = budget // _NUDGED_SHARE
    into = thought - (budget - part)
    return _MOST_NUDGE * into / part if into > 0 else 0.0
