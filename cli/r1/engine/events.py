"""The events of a turn. `run`, `chat`, JSON output and benchmarks all read this one stream.

Prefill* ( ( Thinking | Rewound )* ( Thought Answer* )? )? Finished

A reply that goes on with an answer or a text that the prompt ends with has no thinking:

Prefill* Answer* Finished

Where the tokens are to be scored, a Scored comes for each of them, before the Thinking, Thought or Answer that it leads
to.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

FinishReason = Literal["stop", "length", "context", "loop", "interrupted"]

ThinkingEnd = Literal["natural", "budget", "loop", "user", "eos", "limit"]
"""What ended the thinking.

`natural`: the model. `budget`: the budget, or its last part, where the end is made likelier. `loop`: it went round in
circles. `user`: someone wanted the answer now. `eos`: the model ended its turn inside the thinking, and was made to
answer. `limit`: only the reserve for the answer was left of the context or of `max_tokens`.
"""

THINKING_ENDS: dict[ThinkingEnd | None, str] = {
    "budget": "stopped at the budget",
    "loop": "went round in circles",
    "user": "stopped by you",
    "eos": "the model was made to answer",
    "limit": "stopped to leave room to answer",
}
"""In words for people; a thinking that the model ended needs none."""


@dataclass(frozen=True, slots=True)
class Prefill:
    """`done` of `total` prompt tokens are in the KV cache."""

    done: int
    total: int


@dataclass(frozen=True, slots=True)
class Thinking:
    """More of the trace. Joined, the texts are the trace without white space at its ends.

    `tokens` counts the trace's tokens so far.
    """

    text: str
    tokens: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Scored:
    """The next token of the reply: its bytes, which may be a part of a character, and its log-probability.

    `top` has the likeliest tokens at that place, the likeliest first, as many as were asked for. The probabilities are
    the model's own: before temperature, top-p, and all that steers the reply. So a token that was forced has one, too.
    The tokens of the thinking, `is_thinking`, include `</think>`; the one that ends the turn is not scored.
    """

    piece: bytes
    logprob: float
    top: tuple[tuple[bytes, float], ...]
    is_thinking: bool


@dataclass(frozen=True, slots=True)
class Rewound:
    """The thinking went round in circles, and goes on from an earlier place: the trace is now `thinking`.

    `tokens` of it are left, the first ones; `dropped` tokens were taken out. Of the tokens that were Scored, the first
    `tokens` count.
    """

    thinking: str
    tokens: int
    dropped: int


@dataclass(frozen=True, slots=True)
class Thought:
    """The thinking is over, after `tokens` tokens; 0 if there was to be none."""

    tokens: int
    end: ThinkingEnd = "natural"


@dataclass(frozen=True, slots=True)
class Answer:
    """More of the answer. Joined, the texts are the answer without white space at its ends.

    `tokens` counts the answer's tokens so far.
    """

    text: str
    tokens: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens. `</think>` counts as thinking; the token that ends the turn is not counted.

    `discarded_tokens` were generated and taken out of the thinking again, because it went round in circles.
    `cached_tokens` of the prompt were in the KV cache before.
    """

    prompt_tokens: int
    thinking_tokens: int
    answer_tokens: int
    discarded_tokens: int = 0
    cached_tokens: int = 0

    @property
    def generated_tokens(self) -> int:
        """All that was generated, also what was taken out again."""
        return self.thinking_tokens + self.discarded_tokens + self.answer_tokens


@dataclass(frozen=True, slots=True)
class Timings:
    """Seconds, and tokens per second; a rate is 0 when there was nothing to measure.

    `ttft_s` runs from the start of the prefill to the first token, `total_s` to the last one.
    """

    ttft_s: float
    prefill_tps: float
    decode_tps: float
    total_s: float


@dataclass(frozen=True, slots=True)
class Drafted:
    """Tokens that drafts proposed, how many of them were accepted, and in how many passes the reply was generated, its
    first token aside.

    `speedup` is by how much drafts made decoding faster, by the times of the passes; None: it is not known.
    """

    proposed: int = 0
    accepted: int = 0
    passes: int = 0
    speedup: float | None = None

    @property
    def tokens_per_pass(self) -> float:
        return 1 + self.accepted / self.passes if self.passes else 1.0

    @classmethod
    def total(cls, drafted: Iterable[Drafted | None]) -> Drafted | None:
        """In several replies; None if there was speculation in none. Their common speed-up is not known."""
        known = [each for each in drafted if each is not None]
        if not known:
            return None
        return cls(
            proposed=sum(each.proposed for each in known),
            accepted=sum(each.accepted for each in known),
            passes=sum(each.passes for each in known),
        )


@dataclass(frozen=True, slots=True)
class Finished:
    """The turn is over.

    `stop`: the model ended it. `length`: `max_tokens` reached. `context`: the KV cache is full. `loop`: the answer went
    round in circles. `interrupted`: the user stopped it. `threads` decoded the reply; None if their number changed, or
    nothing was. `thinking_end` is None if the thinking did not end. `drafted` is None without speculation.
    """

    reason: FinishReason
    usage: Usage
    timings: Timings
    threads: int | None = field(default=None, compare=False)
    thinking_end: ThinkingEnd | None = field(default=None, compare=False)
    drafted: Drafted | None = field(default=None, compare=False)


Event = Prefill | Scored | Thinking | Rewound | Thought | Answer | Finished
