"""The chat's model: whether it is loading or ready, and how full its context is."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from r1.chat.notices import NEARLY_FULL, Notices, nearly_full
from r1.chat.view import Opening, name_of
from r1.chat.worker import Loading, Noted, Ready, Warmed, Worker
from r1.engine.events import Finished
from r1.engine.prompt import Turn
from r1.prompt_limit import PromptLimit, limit_of
from r1.render.reply_text import ReplyText
from r1.settings import Settings

LOADING_SHOWN_AFTER_S = 0.3
"""Most loads of a small model are shorter, and a line that appears for a moment is only noise."""

ModelEvent = Loading | Noted | Ready | Warmed


class ChatModel:
    """Follows the worker's events about loading and warming the model. All its figures are the present model's."""

    def __init__(
        self, worker: Worker, opening: Opening, notices: Notices, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.reference = opening.reference
        self.ready: Ready | None = None
        self.loading: float | None = None  # share of the file, 0 to 1
        self.decode_tps: float | None = None  # tokens a second in its last reply
        self.turn_tokens: tuple[int, ...] = ()  # of each turn in the context; empty until they are counted
        self.warmed = 0  # tokens of the next prompt that are in the KV cache
        self.available = opening.models
        self.check = opening.check
        self._find = opening.find
        self._worker = worker
        self._notices = notices
        self._running: ReplyText | None = None
        self._next_prompt: int | None = None  # tokens that the next prompt starts with; None until they are counted
        self._previous: str | None = None  # the model that is replaced by the one being loaded
        self._has_warned = False
        self._clock = clock
        self._loading_began = 0.0

    def prompt_limit(self) -> PromptLimit:
        """The longest prompt that the model can take. Reads its header; raises ModelNotFound, BadGGUF."""
        return limit_of(self._find(self.reference)[1])

    def load(self, reference: str, turns: Sequence[Turn], settings: Settings, owner: str) -> None:
        """Loads a model in place of the present one, and warms its cache with the owner's conversation."""
        self._previous, self.reference = self.reference if self.ready else None, reference
        self.ready, self.loading, self.decode_tps = None, 0.0, None
        self._loading_began = self._clock()
        self.forget_tokens()
        self._worker.open(lambda: self._find(reference), settings)
        self._worker.warm(turns, settings, owner)

    def loading_failed(self) -> None:
        self.loading = None

    def load_previous(self, turns: Sequence[Turn], settings: Settings, owner: str) -> None:
        """After a failed load: loads the previous model again, unless it is still loaded."""
        if self.ready is None and self._previous is not None:
            self.load(self._previous, turns, settings, owner)

    def rewarm(self, turns: Sequence[Turn], settings: Settings, owner: str) -> None:
        """Warms the cache for a conversation that was changed, or is another one."""
        self.turn_tokens = ()
        self._worker.rewarm(turns, settings, owner)

    def handle(self, event: ModelEvent) -> None:
        if isinstance(event, Loading):
            self.loading = event.share
        elif isinstance(event, Noted):
            self._notices.say(event.text)
        elif isinstance(event, Ready):
            self._is_ready(event)
        else:
            self.warmed, self.turn_tokens = event.done, event.turn_tokens
            self._next_prompt = sum(event.turn_tokens)
            self._warn_when_nearly_full()

    def begin_turn(self, text: ReplyText) -> None:
        """Counts the tokens of a reply while it grows."""
        self._running = text

    def end_turn(self, finished: Finished | None) -> None:
        """The reply is over; `finished` is None when it failed. A context that is full was reported already."""
        if finished is not None and self._running is not None:
            self._next_prompt = self._running.tokens
            self.decode_tps = finished.timings.decode_tps or None
            self._has_warned = finished.reason == "context"
        self._running = None

    def forget_tokens(self) -> None:
        """The counts belong to another chat or another model."""
        self.turn_tokens, self._next_prompt = (), None
        self.warn_again()

    def warn_again(self) -> None:
        """Warns again when the context is nearly full; call it when the conversation got shorter or was replaced."""
        self._has_warned = False

    @property
    def loading_to_show(self) -> float | None:
        """The share of the file that is loaded; None when nothing is loading, or not for long."""
        return self.loading if self._clock() - self._loading_began >= LOADING_SHOWN_AFTER_S else None

    @property
    def is_counted(self) -> bool:
        """True when the model is loaded and the tokens that it sees are known."""
        is_running = self._running is not None and bool(self._running.prompt_tokens)
        return self.ready is not None and (is_running or self._next_prompt is not None)

    @property
    def used(self) -> int:
        """Tokens of context taken by the running turn, else by the start of the next prompt; 0 until counted."""
        return self._running.tokens if self._running and self._running.prompt_tokens else self._next_prompt or 0

    @property
    def left(self) -> int:
        """Tokens of context that are free."""
        return max(self.ready.ctx - self.used, 0) if self.ready else 0

    @property
    def is_nearly_full(self) -> bool:
        """True when little of the context is left."""
        return self.ready is not None and self.used >= NEARLY_FULL * self.ready.ctx

    def _is_ready(self, event: Ready) -> None:
        if self._previous not in {None, event.reference}:
            name = name_of(event.reference)
            self._notices.say(f"the model is now {name}, with a context of {event.ctx:,} tokens")
        self.ready, self.loading, self.reference, self._previous = event, None, event.reference, None

    def _warn_when_nearly_full(self) -> None:
        if self.is_nearly_full and not self._has_warned and self.ready is not None:
            self._notices.warn(nearly_full(self.used, self.ready))
        self._has_warned = self.is_nearly_full
