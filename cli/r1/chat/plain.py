"""The chat where there is no terminal to draw on: lines in, plain text out, the same commands.

Answers go to stdout, everything else to stderr. On a terminal a line is a message; a pipe is read to its end and is one
message, so that a text of many lines is not taken apart.

Knows: lines and streams. Does not know: keys, colours, what a command does.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from queue import Empty, SimpleQueue

from r1.chat.chat import Chat
from r1.chat.commands import run_command
from r1.chat.slash import show_conversation
from r1.chat.view import Opening
from r1.chat.worker import Failed, Worker, WorkerEvent
from r1.console import Console
from r1.engine.events import Event
from r1.history.history import History
from r1.interrupt import Interrupt
from r1.render.plain import PlainView
from r1.render.reply import PROMPT, ReplyView
from r1.render.style import Style
from r1.request import read_all
from r1.settings import Settings
from r1_quantize.errors import ExitStatus, R1Error, UsageError

_COLUMNS = 80
_PATIENCE = 0.1  # seconds until the next look at whether Ctrl-C was pressed


class _PlainReply(ReplyView):
    """Writes each piece as it comes."""

    def __init__(self, console: Console, style: Style, *, shows_thinking: bool) -> None:
        super().__init__(style, shows_thinking=shows_thinking)
        self._plain = PlainView(console, "nowhere", show_answer=True)

    def show(self, event: Event) -> None:
        super().show(event)
        self._plain.trace_to = "stderr" if self.shows_thinking else "nowhere"
        self._plain.show(event)


class PlainChat:
    """The view of a chat on streams."""

    def __init__(self, console: Console) -> None:
        self.style = Style(_COLUMNS, colour=False)
        self.left = False
        self._console = console

    def print(self, lines: str) -> None:
        self._console.err(lines.rstrip("\n") + "\n" if lines else "")

    def open_reply(self, *, shows_thinking: bool) -> ReplyView:
        return _PlainReply(self._console, self.style, shows_thinking=shows_thinking)

    def close_reply(self) -> None:
        """Everything is written already."""

    def show_question(self, question: str, files: Sequence[str]) -> None:
        """It stands where it was typed."""

    def set_draft(self, text: str) -> None:
        """There is no draft to change here: it is shown, to be typed again."""
        self.print(f"not sent: {text}")

    def escape(self, code: str) -> None:
        """No terminal, no escape codes."""

    def changed(self) -> None:
        """Nothing is drawn."""

    def leave(self) -> None:
        self.left = True


def run_plain(console: Console, history: History, settings: Settings, opening: Opening) -> int:
    """Until the input ends; for a pipe, the status of its one answer."""
    if console.stdin is None:
        raise UsageError("a chat reads from stdin, and stdin is closed")
    events: SimpleQueue[WorkerEvent] = SimpleQueue()
    view = PlainChat(console)
    chat = Chat(view, history, settings, opening, Worker(events.put, opening.hints))
    try:
        chat.start()
        if not console.stdin_is_terminal:
            return _answer_once(console, chat, events)
        chat.on_command = lambda text: run_command(chat, text)
        show_conversation(chat)
        _talk(console, chat, view, events)
        return ExitStatus.OK
    finally:
        chat.close()


def _answer_once(console: Console, chat: Chat, events: SimpleQueue[WorkerEvent]) -> ExitStatus:
    message = read_all(console)
    if not message.strip():
        raise UsageError('nothing on stdin; try: echo "How many r\'s are in strawberry?" | r1 chat')
    chat.ask(message)
    failed = _follow(chat, events)
    if failed is not None:
        return failed.exit_status if isinstance(failed, R1Error) else ExitStatus.UNFORESEEN
    turn = chat.turns[-1]
    if turn.finish_reason == "interrupted":
        return ExitStatus.INTERRUPTED
    return ExitStatus.OK if turn.finish_reason == "stop" and turn.answer else ExitStatus.INCOMPLETE


def _talk(console: Console, chat: Chat, view: PlainChat, events: SimpleQueue[WorkerEvent]) -> None:
    while not view.left:
        try:
            console.err(PROMPT)
            line = console.stdin.readline() if console.stdin else b""
        except KeyboardInterrupt:
            console.err("\nctrl-d leaves\n")
            continue
        if not line:
            console.err("\n")
            return
        _follow(chat, events)  # what happened while nobody asked
        chat.submit(line.decode("utf-8", "replace").rstrip("\r\n"))
        _follow(chat, events)


def _follow(chat: Chat, events: SimpleQueue[WorkerEvent]) -> Exception | None:
    """Handles what happens until no reply is being made; returns what went wrong with it."""
    failed: Exception | None = None
    with Interrupt() as interrupted:
        while chat.busy or not events.empty():
            if interrupted():
                chat.interrupt()
            with suppress(Empty):
                event = events.get(timeout=_PATIENCE)
                failed = event.error if isinstance(event, Failed) else failed
                chat.handle(event)
            chat.tick()
    return failed
