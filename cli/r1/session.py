"""A model ready to answer: settings → weights, a KV cache of the right length, sampling.

Knows: how settings become the engine's parameters. Does not know: prompts' origin, where answers go.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import Self

from r1.engine.context import Context, ContextParams, Stopped
from r1.engine.conversation import Conversation
from r1.engine.conversation import Turn as Exchange
from r1.engine.devices import free_memory, place
from r1.engine.events import Event
from r1.engine.fit import comfortable_context
from r1.engine.generate import generate
from r1.engine.model import Model
from r1.engine.prompt import conversation_segments, prompt_segments
from r1.engine.sampling import SamplingParams
from r1.engine.stop import Stop
from r1.settings import Settings
from r1_quantize.errors import UsageError

_STEP = 256
"""Tokens by which a context grows: llama.cpp's own step."""


@dataclass(frozen=True, slots=True)
class Turn:
    """A reply about to be made: its events, the seed they follow from, and the seconds it took to get ready.

    `load_s` has the loading of the model in it for the first turn, and a new context where one was needed.
    """

    events: Iterator[Event]
    seed: int
    load_s: float


class Session:
    """A loaded model and one KV cache, which grows when a prompt needs it to. Close it when done."""

    def __init__(
        self,
        path: Path,
        settings: Settings,
        stop: Stop | None = None,
        *,
        on_progress: Callable[[float], None] = lambda _: None,
    ) -> None:
        """`on_progress` is called with the share of the model that is loaded; `stop` ends whatever is going on.

        Raises BadGGUF, UsageError (no such device, `ctx` too long for the model), LoadCancelled.
        """
        began = perf_counter()
        self._stop = stop or Stop()

        def progress(share: float) -> bool:
            on_progress(share)
            return not self._stop()

        placement = place(settings.device, settings.gpu_layers)
        self.model = Model(path, placement, on_progress=progress)
        self.settings = settings
        self._context: Context | None = None
        try:
            self._longest_context()
        except UsageError:
            self.model.close()
            raise
        self._load_s = perf_counter() - began

    @property
    def context(self) -> Context:
        """The KV cache as it is now. Raises as `ask`, when there is none yet."""
        return self._context_for(0)

    @property
    def context_length(self) -> int:
        """Tokens that fit the KV cache as it is now; 0 before the first turn."""
        return self._context.length if self._context else 0

    def ask(
        self,
        prompt: str,
        turns: Sequence[Exchange] = (),
        *,
        answer_now: Callable[[], bool] = lambda: False,
        stop_after_thinking: bool = False,
    ) -> Turn:
        """A reply to `prompt` that follows `turns`.

        The same turns, prompt, seed and settings give the same events, whatever else was asked before. Raises
        UsageError when the settings' `ctx` is too long for the model, NotEnoughRoom.
        """
        began = perf_counter()
        segments = prompt_segments(self.model, self._conversation(turns), prompt)
        sampling = self._sampling()
        context = self._context_for(sum(map(len, segments)))
        load_s, self._load_s = self._load_s + perf_counter() - began, 0.0
        events = generate(
            context,
            segments,
            sampling,
            cancelled=self._stop,
            answer_now=answer_now,
            stop_after_thinking=stop_after_thinking,
        )
        return Turn(events, sampling.seed, load_s)

    def warm(self, turns: Sequence[Exchange]) -> Iterator[int]:
        """Makes the KV cache hold what the next prompt after `turns` begins with; yields the tokens done.

        Stop iterating to leave it at that. Ends early, without a word, when the engine's Stop is set.
        """
        segments = conversation_segments(self.model, self._conversation(turns))
        with suppress(Stopped):
            yield from self.context.warm(segments)

    def lengths(self, turns: Sequence[Exchange]) -> list[int]:
        """The tokens of each turn in a prompt."""
        return [len(segment) for segment in conversation_segments(self.model, self._conversation(turns))]

    def prepare(self) -> None:
        """Brings the KV cache about that the settings ask for, so that the first prompt need not. Raises as `ask`."""
        began = perf_counter()
        self._context_for(0)
        self._load_s += perf_counter() - began

    def comfortable_context(self) -> int:
        """How many tokens of context this machine has the memory for, as far as R1's replies can need them."""
        weights = self.model.path.stat().st_size
        return comfortable_context(weights, self.model.kv_values_per_token, self.model.context_length, free_memory())

    def _conversation(self, turns: Sequence[Exchange]) -> Conversation:
        return Conversation(self.settings.system, list(turns))

    def _sampling(self) -> SamplingParams:
        settings = self.settings
        params = SamplingParams(settings.temp, settings.top_p, max_tokens=settings.max_tokens)
        return params if settings.seed is None else replace(params, seed=settings.seed)

    def _context_for(self, prompt_length: int) -> Context:
        """A cache for the prompt and its whole reply, as far as the model was trained for."""
        wish = self.settings.ctx
        wanted = self._longest_context()
        if wish is None:
            wanted = min(wanted, -(-(prompt_length + self.settings.max_tokens) // _STEP) * _STEP)
        held = self.context_length
        if held < wanted or (wish is not None and held != wish):
            self._close_context()
            params = ContextParams(wanted, self.settings.threads, self.settings.kv_type)
            self._context = Context(self.model, params, self._stop)
        assert self._context is not None
        return self._context

    def _longest_context(self) -> int:
        wish, trained = self.settings.ctx, self.model.context_length
        if wish is not None and wish > trained:
            raise UsageError(f"a context of {wish} tokens (--ctx): this model was trained for at most {trained}")
        return wish or trained

    def _close_context(self) -> None:
        if self._context is not None:
            self._context.close()
            self._context = None

    def close(self) -> None:
        self._close_context()
        self.model.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
