"""The events of a turn. `run`, `chat`, JSON output and benchmarks all read this one stream.

Prefill* ( Thinking* ( Thought Answer* )? )? Finished
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

FinishReason = Literal["stop", "length", "context", "interrupted"]


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
class Thought:
    """The thinking is over, after `tokens` tokens."""

    tokens: int


@dataclass(frozen=True, slots=True)
class Answer:
    """More of the answer. Joined, the texts are the answer without white space at its ends.

    `tokens` counts the answer's tokens so far.
    """

    text: str
    tokens: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens. `</think>` counts as thinking; the token that ends the turn is not counted."""

    prompt_tokens: int
    thinking_tokens: int
    answer_tokens: int


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
class Finished:
    """The turn is over.

    `stop`: the model ended it. `length`: `max_tokens` reached. `context`: the KV cache is full.
    `interrupted`: the user stopped it. `threads` decoded the reply; None if their number changed, or nothing was.
    """

    reason: FinishReason
    usage: Usage
    timings: Timings
    threads: int | None = field(default=None, compare=False)


Event = Prefill | Thinking | Thought | Answer | Finished
