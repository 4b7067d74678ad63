"""The model of a chat, as the chat sees it: loading or ready, and how full its context is between two turns."""

from __future__ import annotations

from collections.abc import Sequence

from r1.chat import notices
from r1.chat.view import Opening, View, name_of
from r1.chat.worker import Loading, Noted, Ready, Warmed, Worker
from r1.engine.prompt import Turn
from r1.settings import Settings

ModelEvent = Loading | Noted | Ready | Warmed


class ChatModel:
    """Follows what the worker says about loading and warming the model."""

    def __init__(self, worker: Worker, opening: Opening, view: View) -> None:
        self.reference = opening.reference
        self.ready: Ready | None = None
        self.loading: float | None = None  # share of the file, 0 to 1
        self.turn_tokens: tuple[int, ...] = ()  # of each turn in the context; empty until they are counted
        self.used = 0  # tokens of context that the next prompt starts with
        self.warmed = 0  # of these, the tokens in the KV cache
        self.available = opening.models
        self.check = opening.check
        self._find = opening.find
        self._worker = worker
        self._view = view
        self._previous: str | None = None  # the model that is replaced by the one being loaded
        self._has_warned = False

    def load(self, reference: str, turns: Sequence[Turn], settings: Settings) -> None:
        """Loads a model in place of the present one, and warms its cache with the conversation."""
        self._previous, self.reference = self.reference if self.ready else None, reference
        self.ready, self.loading = None, 0.0
        self._worker.open(lambda: self._find(reference), settings)
        self._worker.warm(turns, settings)

    def load_previous(self, turns: Sequence[Turn], settings: Settings) -> None:
        """After a failed load: loads the model that was there before, unless it still is."""
        if self.ready is None and self._previous is not None:
            self.load(self._previous, turns, settings)

    def rewarm(self, turns: Sequence[Turn], settings: Settings) -> None:
        """Warms the cache for a conversation that was changed."""
        self.turn_tokens = ()
        self._worker.rewarm(turns, settings)

    def handle(self, event: ModelEvent) -> None:
        if isinstance(event, Loading):
            self.loading = event.share
        elif isinstance(event, Noted):
            notices.say(self._view, event.text)
        elif isinstance(event, Ready):
            self._is_ready(event)
        else:
            self.warmed, self.turn_tokens, self.used = event.done, event.turn_tokens, sum(event.turn_tokens)
            self._warn_when_nearly_full()

    def finish_turn(self, used: int, *, is_full: bool) -> None:
        """A turn is over and took `used` tokens. A context that is full was reported already."""
        self.used = used
        self._has_warned = is_full

    def warn_again(self) -> None:
        """The conversation is shorter or another one: the next time the context is nearly full, say so."""
        self._has_warned = False

    def is_nearly_full(self, used: int) -> bool:
        return self.ready is not None and used >= notices.NEARLY_FULL * self.ready.ctx

    def _is_ready(self, event: Ready) -> None:
        if self._previous not in {None, event.reference}:
            text = f"the model is now {name_of(event.reference)}, with a context of {event.ctx:,} tokens"
            notices.say(self._view, text)
        self.ready, self.loading, self.reference, self._previous = event, None, event.reference, None

    def _warn_when_nearly_full(self) -> None:
        is_full = self.is_nearly_full(self.used)
        if is_full and not self._has_warned and self.ready is not None:
            notices.warn(self._view, notices.nearly_full(self.used, self.ready))
        self._has_warned = is_full
