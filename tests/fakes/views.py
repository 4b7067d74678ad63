"""A view that remembers what it was told, and a chat with a real worker on it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Self

from r1.chat.chat import Chat
from r1.chat.commands import is_command, must_wait, run_command
from r1.chat.view import Opening
from r1.chat.worker import Worker, WorkerEvent
from r1.history.history import History
from r1.render.reply import ReplyView
from r1.render.style import Style
from r1.settings import Settings
from r1_quantize.errors import ModelNotFound

PATIENCE = 60.0  # seconds for one event of a real model


@dataclass
class FakeView:
    """What was printed, drafted and sent to the terminal, in order."""

    style: Style = field(default_factory=lambda: Style(80, colour=False))
    printed: str = ""
    draft: str = ""
    codes: list[str] = field(default_factory=list)
    left: bool = False
    reply: ReplyView | None = None

    def print(self, lines: str) -> None:
        self.printed += lines

    def show_question(self, question: str, files: Sequence[str]) -> None:
        self.print(f"> {question}\n")

    def set_draft(self, text: str) -> None:
        self.draft = text

    def open_reply(self, *, shows_thinking: bool) -> ReplyView:
        self.reply = ReplyView(self.style, shows_thinking=shows_thinking)
        return self.reply

    def close_reply(self) -> None:
        if self.reply is not None:
            self.print(self.reply.frame(0).finished)

    def escape(self, code: str) -> None:
        self.codes.append(code)

    def changed(self) -> None:
        pass

    def leave(self) -> None:
        self.left = True


class Talk:
    """A chat with the model at `path`; the worker's events are handled when a test says so."""

    def __init__(self, path: Path, database: Path, settings: Settings, session: int | None = None) -> None:
        self.view = FakeView()
        self.events: SimpleQueue[WorkerEvent] = SimpleQueue()
        self.last: WorkerEvent | None = None
        self.history = History.open(database, patience=0.05)
        opening = Opening(
            reference=path.name,
            check=lambda name: self.check(path, name),
            find=lambda name: (name, path.with_name(name)),
            models=lambda: [path.name],
            session=session,
        )
        self.chat = Chat(self.view, self.history, settings, opening, Worker(self.events.put))
        self.chat.must_wait = lambda text: must_wait(text) if is_command(text) else True
        self.chat.on_command = lambda text: run_command(self.chat, text)
        self.chat.start()
        self.until(lambda: self.chat.ready is not None)

    def check(self, path: Path, name: str) -> str:
        """Models beside the first one are there."""
        if not path.with_name(name).exists():
            raise ModelNotFound(f"{name} is not here")
        return name

    def until(self, condition: Callable[[], bool]) -> None:
        """Handles what happens until something is so."""
        while not condition():
            self.last = self.events.get(timeout=PATIENCE)
            self.chat.handle(self.last)

    def say(self, text: str) -> str:
        """Sends a message or command and waits for its end; returns what was printed, the question left out."""
        before = len(self.view.printed)
        self.chat.submit(text)
        self.until(lambda: not self.chat.busy)
        return self.view.printed[before:].removeprefix(f"> {text}\n")

    def settle(self) -> None:
        """Until the cache is warm."""
        lengths = [turn.number for turn in self.chat.kept_turns]
        self.until(lambda: len(self.chat.lengths) == len(lengths) and self.chat.warmed == sum(self.chat.lengths))

    def drain(self) -> None:
        """Handles what has happened already."""
        try:
            while True:
                self.chat.handle(self.events.get_nowait())
        except Empty:
            return

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.chat.close()
