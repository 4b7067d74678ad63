"""A model ready to answer: settings → weights, a KV cache of the right length, sampling.

Knows: how settings become the engine's parameters. Does not know: prompts' origin, where answers go.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import Self

from r1.engine.context import Context, ContextParams
from r1.engine.conversation import Conversation
from r1.engine.devices import place
from r1.engine.events import Event
from r1.engine.generate import generate
from r1.engine.model import Model
from r1.engine.prompt import prompt_tokens
from r1.engine.sampling import SamplingParams
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

    def __init__(self, path: Path, settings: Settings, cancelled: Callable[[], bool] = lambda: False) -> None:
        """Raises BadGGUF, UsageError (no such device, `ctx` too long for the model), LoadCancelled."""
        began = perf_counter()
        placement = place(settings.device, settings.gpu_layers)
        self.model = Model(path, placement, on_progress=lambda _: not cancelled())
        self._settings = settings
        self._cancelled = cancelled
        self._context: Context | None = None
        self._longest = self._longest_context(settings.ctx)
        self._load_s = perf_counter() - began

    @property
    def context_length(self) -> int:
        """Tokens that fit the KV cache as it is now; 0 before the first turn."""
        return self._context.length if self._context else 0

    def ask(self, prompt: str, *, stop_after_thinking: bool = False) -> Turn:
        """A reply to `prompt` on its own, without what was asked before.

        The same prompt, seed and settings give the same events, whatever was asked before.
        """
        began = perf_counter()
        tokens = prompt_tokens(self.model, Conversation(self._settings.system), prompt)
        sampling = self._sampling()
        context = self._context_for(len(tokens))
        load_s, self._load_s = self._load_s + perf_counter() - began, 0.0
        events = generate(
            context,
            tokens,
            sampling,
            cancelled=self._cancelled,
            stop_after_thinking=stop_after_thinking,
            exact=True,
        )
        return Turn(events, sampling.seed, load_s)

    def _sampling(self) -> SamplingParams:
        settings = self._settings
        params = SamplingParams(settings.temp, settings.top_p, max_tokens=settings.max_tokens)
        return params if settings.seed is None else replace(params, seed=settings.seed)

    def _context_for(self, prompt_length: int) -> Context:
        """A cache for the prompt and its whole reply, as far as the model was trained for."""
        wanted = self._longest
        if self._settings.ctx is None:
            wanted = min(wanted, -(-(prompt_length + self._settings.max_tokens) // _STEP) * _STEP)
        if self._context is None or self._context.length < wanted:
            self._close_context()
            params = ContextParams(wanted, self._settings.threads, self._settings.kv_type)
            self._context = Context(self.model, params)
        return self._context

    def _longest_context(self, wish: int | None) -> int:
        trained = self.model.context_length
        if wish is not None and wish > trained:
            self.model.close()
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
