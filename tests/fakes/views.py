"""A view that records what it is given, and a chat with a real worker on it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from queue import SimpleQueue
from typing import Self

from r1.chat.chat import Chat
from r1.chat.print_order import PrintOrder
from r1.chat.slash_commands import COMMANDS
from r1.chat.view import Opening
from r1.chat.worker import Worker, WorkerEvent
from r1.history.history import History
from r1.kv_store.kv_folder import KvFolder
from r1.render.reply import ReplyView
from r1.render.style import Style
from r1.settings import Settings
from r1_quantize.errors import ModelNotFound

EVENT_TIMEOUT_S = 60.0  # for one event of a real model


@dataclass
class FakeView:
    """Everything printed, drafted and sent to the terminal, in order."""

    style: Style = field(default_factory=lambda: Style(80, colour=False))
    printed: str = ""
    draft: str = ""
    codes: list[str] = field(default_factory=list)
    left: bool = False

    def __post_init__(self) -> None:
        self.order = PrintOrder(self.write)

    def write(self, lines: str) -> None:
        self.printed += lines

    def print(self, lines: str) -> None:
        self.order.print(lines)

    def show_question(self, question: str, files: Sequence[str]) -> None:
        self.print(f"> {question}\n")

    def set_draft(self, text: str) -> None:
        self.draft = text

    def open_reply(self, *, shows_thinking: bool, budget: int | None = None, is_literal: bool = False) -> ReplyView:
        reply = ReplyView(self.style, shows_thinking=shows_thinking, budget=budget, is_literal=is_literal)
        self.order.begin(reply)
        return reply

    def close_reply(self, ending: str) -> None:
        if self.order.reply is not None:
            self.write(self.order.reply.frame(0).finished)
        self.write("".join([ending, *self.order.end()]))

    def send_escape_code(self, code: str) -> None:
        self.codes.append(code)

    def changed(self) -> None:
        pass

    def leave(self) -> None:
        self.left = True


class Talk:
    """A chat with the model at `path`. The worker's events are handled when the test asks for it."""

    def __init__(
        self,
        path: Path,
        database: Path,
        settings: Settings,
        session: int | None = None,
        kv_folder: KvFolder | None = None,
    ) -> None:
        self.view = FakeView()
        self.events: SimpleQueue[WorkerEvent] = SimpleQueue()
        self.last: WorkerEvent | None = None
        self.history = History.open(database, lock_timeout_s=0.05)
        opening = Opening(
            reference=path.name,
            check=lambda name: self.check(path, name),
            find=lambda name: (name, path.with_name(name)),
            models=lambda: [path.name],
            session=session,
            kv_folder=kv_folder,
        )
        worker = Worker(self.events.put, kv_folder=kv_folder)
        self.chat = Chat(self.view, self.history, settings, opening, worker, COMMANDS)
        self.chat.start()
        self.until(lambda: self.chat.model.ready is not None)

    def check(self, path: Path, name: str) -> str:
        """Finds models in the folder of the first one."""
        if not path.with_name(name).exists():
            raise ModelNotFound(f"{name} is not here")
        return name

    def until(self, condition: Callable[[], bool]) -> None:
        """Handles events until `condition` holds."""
        while not condition():
            self.last = self.events.get(timeout=EVENT_TIMEOUT_S)
            self.chat.handle(self.last)

    def say(self, text: str) -> str:
        """Sends a message or command and waits for its end; returns what was printed after it."""
        before = len(self.view.printed)
        self.chat.submit(text)
        self.until(lambda: not self.chat.busy)
        return self.view.printed[before:].removeprefix(f"> {text}\n")

    def settle(self) -> None:
        """Waits until the KV cache holds the conversation."""
        turns, model = len(self.chat.turns.in_context), self.chat.model
        self.until(lambda: len(model.turn_tokens) == turns and model.warmed == sum(model.turn_tokens))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.chat.close()
