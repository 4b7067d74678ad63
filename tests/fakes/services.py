"""A service that answers from a script, for tests of how an API words what happens."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from r1.render.reply_text import Reply
from r1.serve.asked import Asked
from r1.serve.jobs import JobEvent
from r1.serve.question import Question
from r1.settings import Settings

NAME = "m:Q8_0"


@dataclass
class ScriptedService:
    """As Service: every question is answered with these events, after a delay, by the model `NAME`, as if it had waited
    for a while; and notes what it is told.
    """

    events: Sequence[JobEvent] = ()
    delay_s: float = 0.0
    waited_s: float = 0.0
    settings: Settings = field(default_factory=Settings)
    asked: list[Question] = field(default_factory=list)
    kept: list[tuple[str, float | None]] = field(default_factory=list)
    loaded: list[str | None] = field(default_factory=list)
    warmed: list[tuple[str, str]] = field(default_factory=list)

    @property
    def engine(self) -> ScriptedService:
        """As far as routes use the engine."""
        return self

    async def ask(self, question: Question) -> Asked:
        self.asked.append(question)
        asked = Asked(NAME, lambda: None, began=time.monotonic() - self.waited_s)
        asked.add(lambda: None, question.stop_texts)
        asyncio.get_running_loop().call_later(self.delay_s, asked.sink(0), self.events)
        return asked

    async def name_of(self, _: str | None) -> str:
        return NAME

    async def load(self, model: str | None) -> str:
        self.loaded.append(model)
        return NAME

    def keep(self, model: str, seconds: float | None) -> None:
        self.kept.append((model, seconds))

    def warm(self, _asked: Asked, _question: Question, reply: Reply) -> None:
        self.warmed.append((reply.thinking, reply.answer))
