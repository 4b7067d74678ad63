"""The chat in a terminal: a draft that is always there, and the conversation above it.

Only the last lines of the terminal are redrawn: the live lines of a reply, a line of activity, the draft, the toolbar.
Finished lines are printed above them once, and belong to the terminal's scrollback.
"""

from __future__ import annotations

import asyncio
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any, TextIO

from prompt_toolkit.buffer import Buffer
from prompt_toolkit.document import Document
from prompt_toolkit.enums import EditingMode
from prompt_toolkit.filters import Condition
from prompt_toolkit.history import History as Strings
from prompt_toolkit.output import ColorDepth

from r1.chat.chat import Chat
from r1.chat.conversation import show_conversation, show_other_model
from r1.chat.input import CommandCompleter, TypedHistory, key_bindings
from r1.chat.layout import STYLE, BottomLines
from r1.chat.leaving import HINT_S, reply_stopped, save_unsent
from r1.chat.model import LOADING_SHOWN_AFTER_S
from r1.chat.pastes import Pastes
from r1.chat.print_order import PrintOrder
from r1.chat.slash_commands import COMMANDS
from r1.chat.terminal import ChatApplication, terminal_output, terminal_restorer, wraps_lines
from r1.chat.view import Opening, name_of
from r1.chat.worker import Worker, WorkerEvent
from r1.console import Console
from r1.engine.llama import before_abort
from r1.history.history import History
from r1.render.reply import ReplyView, question_lines
from r1.render.style import Style
from r1.settings import Settings

_FRAMES_PER_S = 12  # while a reply is being generated
_IDLE_FACTOR = 8  # the pause after a frame, as a multiple of the time it took to draw
_MAX_PAUSE_S = 0.25
_ANSWER_S = 0.01  # between two looks for an answer of the terminal
_ESCAPE_TIMEOUT_S = 0.1  # for the rest of a key's code after Escape, over a slow line too


class Screen:
    """The view of a chat on a terminal. Create it first, then `attach` the chat, then `run`."""

    def __init__(self, stdout: TextIO, *, colour: bool) -> None:
        self._output = terminal_output(stdout, styled=colour)
        self.style = Style(self._output.get_size().columns, colour)
        self._ended_blank = True  # the scrollback ends with a blank line
        self._order = PrintOrder(self._print)
        self._held_lines: list[str] = []  # printed once an editor gives the terminal back
        self._loop: asyncio.AbstractEventLoop | None = None
        self._starting = threading.Lock()  # the worker may already have events while the loop starts
        self._wake: asyncio.Event | None = None
        self._status: int | None = None
        self._failure: BaseException | None = None
        self._early_events: list[WorkerEvent] = []
        self._draft = Buffer(
            multiline=True,
            complete_while_typing=Condition(lambda: self._draft.text.startswith("/") and " " not in self._draft.text),
            tempfile_suffix=".md",
            on_text_changed=self._on_text,
        )
        self._pastes = Pastes()
        self._bottom = BottomLines(self._draft, self._output, self._pastes)
        self._app = ChatApplication(
            layout=self._bottom.layout(),
            style=STYLE,
            color_depth=None if colour else ColorDepth.DEPTH_1_BIT,
            output=self._output,
            erase_when_done=True,
            min_redraw_interval=1 / (2 * _FRAMES_PER_S),
            before_render=self._measure,
        )
        self._app.ttimeoutlen = _ESCAPE_TIMEOUT_S
        self._app.timeoutlen = 2 * _ESCAPE_TIMEOUT_S

    def attach(self, chat: Chat, typed: Strings, keys: str, environ: Mapping[str, str]) -> None:
        """Shows `chat`. Up goes through `typed`; `keys` is emacs or vi."""
        self._chat = self._bottom.chat = chat
        self._draft.completer = CommandCompleter(chat, COMMANDS)
        self._draft.history = typed
        self._app.wraps = wraps_lines(environ)
        self._reports_width_late = bool(environ.get("TMUX"))
        self._app.key_bindings = key_bindings(chat, self._draft, self._pastes, COMMANDS, self.hint)
        self._app.tolerate_key_errors(chat.report)
        self._app.editing_mode = EditingMode.VI if keys == "vi" else EditingMode.EMACS

    def run(self) -> int:
        """Runs until the user quits. Raises an error only after restoring the terminal."""
        return asyncio.run(self._run())

    # --- the view of the chat ---

    def print(self, lines: str) -> None:
        """Prints above the draft; while a reply is written, shows the lines below it until it ends."""
        self._order.print(lines)
        self._bottom.held = self._order.held

    def _print(self, lines: str) -> None:
        if not lines and not self._held_lines:
            return
        if self._loop is not None and self._app.is_suspended:
            self._held_lines.append(lines)
            return
        text = "".join([*self._held_lines, lines])
        self._held_lines.clear()
        self._ended_blank = text.endswith("\n\n") or (text == "\n" and not self._ended_blank)
        self._app.print_above(text)

    def open_reply(self, *, shows_thinking: bool, budget: int | None = None, is_literal: bool = False) -> ReplyView:
        reply = ReplyView(self.style, shows_thinking=shows_thinking, budget=budget, is_literal=is_literal)
        self._order.begin(reply)
        return reply

    def close_reply(self, ending: str) -> None:
        if self._order.reply is not None:
            lines = self._order.reply.frame(0).finished
            self._bottom.live = self._bottom.activity = self._bottom.held = ""
            ends_blank = lines.endswith("\n\n") if lines else self._ended_blank
            # in one write: nothing of it is gone from the screen for a moment
            self._print("".join([lines, "" if ends_blank else "\n", ending, *self._order.end()]))

    def show_question(self, question: str, files: Sequence[str]) -> None:
        self.print(question_lines(question, self.style, files) + "\n")

    def set_draft(self, text: str) -> None:
        draft = "\n".join(filter(None, [text, self._draft.text]))
        self._draft.document = Document(draft, len(draft))

    def send_escape_code(self, code: str) -> None:
        self._output.write_raw(code)
        self._output.flush()

    def changed(self) -> None:
        if self._wake is not None:
            self._wake.set()

    def leave(self, status: int = 0) -> None:
        self._status = status
        if self._app.is_asking_width and self._loop is not None:
            self._loop.call_later(_ANSWER_S, self.leave, status)
            return
        if self._order.reply is not None:
            self._order.reply.end()
            self.close_reply("")
        if self._app.is_running and not self._app.is_done:
            self._app.exit(result=status)

    # --- called by keys and by the worker ---

    def hint(self, text: str) -> None:
        """Shows a short text for a moment."""
        self._bottom.hint = text
        self._app.invalidate()
        if self._loop is not None:
            self._loop.call_later(HINT_S, self._clear_hint, text)

    def _clear_hint(self, text: str) -> None:
        if self._bottom.hint == text:
            self._bottom.hint = ""
            self._app.invalidate()

    def receive(self, event: WorkerEvent) -> None:
        """Called on the worker's thread."""
        with self._starting:
            if self._loop is None:
                self._early_events.append(event)
                return
        with suppress(RuntimeError):  # the loop is closed: the chat is over
            self._loop.call_soon_threadsafe(self._handle, event)

    # --- running ---

    async def _run(self) -> int:
        with self._starting:  # an event comes either before this, and is handled below, or after it
            self._loop = asyncio.get_running_loop()
        self._loop.set_exception_handler(self._on_exception)
        self._wake = asyncio.Event()
        self._wake.set()
        for event in self._early_events:
            self._handle(event)
        with self._signals(self._loop):
            drawing = asyncio.ensure_future(self._draw_forever(self._wake))
            try:
                if self._status is not None:
                    return self._status
                return await self._app.run_async(set_exception_handler=False)
            except EOFError:  # the terminal went away
                return 0
            finally:
                drawing.cancel()
                save_unsent(self._chat, self._pastes.expanded(self._draft.text))
                await reply_stopped(self._chat)
                if self._failure is not None:
                    raise self._failure

    def _handle(self, event: WorkerEvent) -> None:
        self._chat.handle(event)

    async def _draw_forever(self, wake: asyncio.Event) -> None:
        """Draws a frame when something has changed; sleeps while nothing does."""
        while True:
            await wake.wait()
            wake.clear()
            began = time.monotonic()
            try:
                self._chat.recorder.tick()
                if self._reports_width_late and self._order.reply is not None:
                    await self._app.follow_width()
                self._draw()
            except Exception as exc:
                self._fail(exc)
            # the model needs the processor: slow frames are drawn less often
            took_s = time.monotonic() - began
            await asyncio.sleep(min(max(1 / _FRAMES_PER_S, _IDLE_FACTOR * took_s), _MAX_PAUSE_S))
            if self._chat.busy:
                wake.set()
            elif self._chat.model.loading is not None:  # the toolbar shows it if it takes long
                asyncio.get_running_loop().call_later(LOADING_SHOWN_AFTER_S, wake.set)

    def _draw(self) -> None:
        self._print("")  # lines held back while an editor had the terminal
        if self._order.reply is None:
            self._bottom.live = self._bottom.activity = ""
        elif not self._app.is_suspended:
            frame = self._order.reply.frame(self._bottom.rows_for_live_lines())
            self._bottom.live, self._bottom.activity = frame.live, frame.activity
            self._print(frame.finished)
        self._app.invalidate()

    def _measure(self, _: object) -> None:
        self.style.width = self._output.get_size().columns

    def _on_text(self, draft: Buffer) -> None:
        """Emptying the draft ends an edit. (Sending it does not: resetting the buffer does not count as a change.)"""
        if not draft.text:
            self._chat.next.end_edit()

    def _on_exception(self, _: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        self._fail(context.get("exception") or RuntimeError(context["message"]))

    def _fail(self, exc: BaseException) -> None:
        self._failure = exc
        self.leave(1)

    @contextmanager
    def _signals(self, loop: asyncio.AbstractEventLoop) -> Iterator[None]:
        """Ends the chat cleanly on SIGTERM and SIGHUP: restores the terminal, saves the reply and what is not sent."""
        names = ("SIGTERM", "SIGHUP")
        numbers = [getattr(signal, name) for name in names if hasattr(signal, name) and sys.platform != "win32"]
        for number in numbers:
            loop.add_signal_handler(number, self.leave, 128 + number)
        try:
            yield
        finally:
            for number in numbers:
                loop.remove_signal_handler(number)


def run_screen(console: Console, history: History, settings: Settings, opening: Opening) -> int:
    """A chat on a terminal, until the user quits."""
    screen = Screen(console.stdout, colour=console.has_style)
    worker = Worker(screen.receive, opening.hints, opening.kv_folder, opening.find_draft)
    chat = Chat(screen, history, settings, opening, worker, COMMANDS)
    before_abort.append(terminal_restorer())
    try:
        chat.start()
        screen.attach(chat, TypedHistory(history), settings.keys, console.environ)
        chat.notices.say(f"r1 · {name_of(chat.model.reference)} · /help lists commands and keys")
        show_conversation(chat)
        show_other_model(chat)
        return screen.run()
    finally:
        is_saved = bool(chat.turns or chat.busy)  # busy: with a question whose reply has not ended
        trouble = chat.close()
        if is_saved:
            console.note("chat saved; continue it with: r1 chat --continue")
        if trouble:
            console.note(trouble)
