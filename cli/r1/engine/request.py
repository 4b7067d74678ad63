"""What is asked of the engine: a prompt, how to sample the reply, and where to end it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from r1.engine.prompt import Continued
from r1.engine.sampling import SamplingParams
from r1.engine.sequence import Segments
from r1.engine.thinking import UNGUARDED, ThinkingParams

Speculate = Literal["auto", "off", "lookup", "draft"]
"""Who drafts tokens: what was said before, the draft model, or (`auto`) whoever there is."""


@dataclass(slots=True, eq=False)
class Request:
    """One prompt and its reply.

    The prompt's ids end inside `<think>`; with a thinking budget of 0, after `</think>`. `continues` is what they end
    in the middle of: the reply goes on with it, and its white space at the start is kept. `grammar`, in llama.cpp's
    notation, is what the answer has to keep to. `answer_now` is called before every token; when it returns True, the
    thinking is closed and the answer begins. `stop_after_thinking`: the reply ends there, and so needs no reserve. With
    `keeps_threads`, the number of threads for decoding stays what it is when the reply begins: with it the last bits of
    the logits change, and so the text of a seed could. `top_logprobs`: each token is scored, together with so many of
    the likeliest ones, at most 20; None: no token is. `speculate` changes only how fast the reply is.
    """

    prompt: Segments
    sampling: SamplingParams = field(default_factory=SamplingParams)
    thinking: ThinkingParams = UNGUARDED
    continues: Continued | None = None
    grammar: str | None = None
    answer_now: Callable[[], bool] = lambda: False
    stop_after_thinking: bool = False
    keeps_threads: bool = False
    top_logprobs: int | None = None
    speculate: Speculate = "off"
    is_cancelled: bool = field(default=False, init=False)

    def cancel(self) -> None:
        """Ends the reply at the scheduler's next step; may be called from any thread."""
        self.is_cancelled = True

    @property
    def prompt_tokens(self) -> int:
        return sum(map(len, self.prompt))
