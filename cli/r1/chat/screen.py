"""The chat in a terminal: a draft that is always there, and above it what is being said.

Only the last lines of the terminal are ever drawn again: the live lines of a reply, one line of what is going on, the
draft, the toolbar. Whatever is finished is written above them, once, and belongs to the terminal's scrollback.

Knows: prompt-toolkit. Does not know: models, the history, what a command does.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any, TextIO

from prompt_toolkit.buffer import Buffer
from prompt_toolkit.data_structures import Size
from prompt_toolkit.document import Document
from prompt_toolkit.enums import EditingMode
from prompt_toolkit.filters import Condition, has_completions, is_searching
from prompt_toolkit.formatted_text import ANSI, AnyFormattedText, StyleAndTextTuples
from prompt_toolkit.history import History as Strings
from prompt_toolkit.layout import (
    BufferControl,
    ConditionalContainer,
    Dimension,
    Float,
    FloatContainer,
    FormattedTextControl,
    HSplit,
    Layout,
    Window,
)
from prompt_toolkit.layout.menus import CompletionsMenu
from prompt_toolkit.output import ColorDepth
from prompt_toolkit.styles import Style as PromptStyle
from prompt_toolkit.widgets import SearchToolbar

from r1.chat.chat import Chat
from r1.chat.commands import is_command, must_wait, run_command
from r1.chat.input import CommandCompleter, PatientKeys, Typed, key_bindings
from r1.chat.slash import show_conversation
from r1.chat.terminal import ReflowingApplication, at_once, terminal_output, wraps_lines
from r1.chat.toolbar import toolbar
from r1.chat.view import Opening, name_of
from r1.chat.worker import Worker, WorkerEvent
from r1.console import Console
from r1.engine.llama import before_abort
from r1.history.history import History
from r1.render.reply import PROMPT, ReplyView, question_lines
from r1.render.style import Style
from r1.settings import Settings

_FRAMES = 12  # a second, while something is going on
_SHARE = 8  # between two frames, so many times what the last one took
_LONGEST_S = 0.25  # between two frames
_HINT_S = 2.0
_MENU_ROWS = 8
_FEW_ROWS = 4
_ESCAPE_S = 0.1  # how long after Escape the rest of a key's code may come, over a slow line too

_STYLE = PromptStyle.from_dict({"prompt": "bold", "quiet": "dim", "warning": "nodim bold"})


class Screen:
    """The view of a chat on a terminal. Made first, then `attach`ed to its chat, then `run`."""

    def __init__(self, stdout: TextIO, *, colour: bool) -> None:
        self._output = terminal_output(stdout, styled=colour)
        self.style = Style(self._output.get_size().columns, colour)
        self._live = ""
        self._activity = ""
        self._ended_blank = True  # whether the scrollback ends with a blank line
        self._hint = ""
        self._reply: ReplyView | None = None
        self._waiting: list[str] = []  # lines that cannot be printed while an editor has the terminal
        self._loop: asyncio.AbstractEventLoop | None = None
        self._wake: asyncio.Event | None = None
        self._status: int | None = None
        self._failure: BaseException | None = None
        self._early: list[WorkerEvent] = []
        self._draft = Buffer(
            multiline=True,
            complete_while_typing=Condition(lambda: self._draft.text.startswith("/") and " " not in self._draft.text),
            tempfile_suffix=".md",
            on_text_changed=self._on_text,
        )
        self._app = ReflowingApplication(
            layout=self._layout(),
            style=_STYLE,
            color_depth=None if colour else ColorDepth.DEPTH_1_BIT,
            output=self._output,
            erase_when_done=True,
            min_redraw_interval=1 / (2 * _FRAMES),
            before_render=self._measure,
        )
        self._app.ttimeoutlen = _ESCAPE_S
        self._app.timeoutlen = 2 * _ESCAPE_S

    def attach(self, chat: Chat, typed: Strings, keys: str, environ: Mapping[str, str]) -> None:
        """The chat that is shown; `typed` is what Up brings back, `keys` emacs or vi."""
        self._app.wraps = lambda: wraps_lines(environ, drawing=self._reply is not None)
        self._chat = chat
        self._draft.completer = CommandCompleter(chat)
        self._draft.history = typed
        self._app.key_bindings = key_bindings(chat, self._draft, chat.submit, self.hint)
        self._app.key_processor = PatientKeys(self._app.key_processor._bindings, chat.report)
        self._app.editing_mode = EditingMode.VI if keys == "vi" else EditingMode.EMACS

    def run(self) -> int:
        """Until the person leaves. Raises what went wrong; the terminal is then as it was before."""
        return asyncio.run(self._run())

    # --- what the chat asks for ---

    def print(self, lines: str) -> None:
        """Writes above the draft, in one piece with drawing the draft again."""
        if not lines and not self._waiting:
            return
        if self._loop is not None and self._app._running_in_terminal:
            self._waiting.append(lines)
            return
        text = "".join([*self._waiting, lines])
        self._waiting.clear()
        self._ended_blank = text.endswith("\n\n") or (text == "\n" and not self._ended_blank)
        raw = text.replace("\n", "\r\n")
        with at_once(self._output):
            running = self._app.is_running
            if running:
                self._app.renderer.erase()
            self._output.write_raw(raw)
            if running:
                self._app._redraw()

    def open_reply(self, *, shows_thinking: bool) -> ReplyView:
        self._reply = ReplyView(self.style, shows_thinking=shows_thinking)
        return self._reply

    def close_reply(self) -> None:
        if self._reply is not None:
            lines = self._reply.frame(0).finished
            self._live = self._activity = ""
            self.print(lines)
            if not self._ended_blank:
                self.print("\n")
        self._reply = None

    def show_question(self, question: str, files: Sequence[str]) -> None:
        self.print(question_lines(question, self.style, files) + "\n")

    def set_draft(self, text: str) -> None:
        whole = "\n".join(filter(None, [text, self._draft.text]))
        self._draft.document = Document(whole, len(whole))

    def escape(self, code: str) -> None:
        self._output.write_raw(code)
        self._output.flush()

    def changed(self) -> None:
        if self._wake is not None:
            self._wake.set()

    def leave(self, status: int = 0) -> None:
        self._status = status
        if self._reply is not None:
            self._reply.end()
            self.close_reply()
        if self._app.is_running and not self._app.is_done:
            self._app.exit(result=status)

    # --- what the keys ask for ---

    def hint(self, text: str) -> None:
        """A word of help, for a moment."""
        self._hint = text
        self._app.invalidate()
        if self._loop is not None:
            self._loop.call_later(_HINT_S, self._forget_hint, text)

    def _forget_hint(self, text: str) -> None:
        if self._hint == text:
            self._hint = ""
            self._app.invalidate()

    def receive(self, event: WorkerEvent) -> None:
        """Called on the worker's thread."""
        if self._loop is None:
            self._early.append(event)
            return
        with suppress(RuntimeError):  # the loop is closed: the chat is over
            self._loop.call_soon_threadsafe(self._handle, event)

    # --- running ---

    async def _run(self) -> int:
        self._loop = asyncio.get_running_loop()
        self._loop.set_exception_handler(self._on_exception)
        self._wake = asyncio.Event()
        for event in self._early:
            self._handle(event)
        with self._signals(self._loop):
            ticking = asyncio.ensure_future(self._tick())
            try:
                if self._status is not None:
                    return self._status
                return await self._app.run_async(set_exception_handler=False)
            except EOFError:  # the terminal went away
                return 0
            finally:
                ticking.cancel()
                if self._failure is not None:
                    raise self._failure

    def _handle(self, event: WorkerEvent) -> None:
        self._chat.handle(event)

    async def _tick(self) -> None:
        """Draws what is going on; sleeps while nothing is."""
        assert self._wake is not None
        while True:
            await self._wake.wait()
            self._wake.clear()
            began = time.monotonic()
            try:
                self._chat.tick()
                self._draw()
            except Exception as exc:
                self._fail(exc)
            # the processor is the model's: what takes long to draw is drawn less often
            took = time.monotonic() - began
            await asyncio.sleep(min(max(1 / _FRAMES, _SHARE * took), _LONGEST_S))
            if self._chat.busy:
                self._wake.set()

    def _draw(self) -> None:
        reply = self._reply
        self.print("")  # what waited for an editor
        if reply is None:
            self._live = self._activity = ""
        elif not self._app._running_in_terminal:
            frame = reply.frame(self._rows_for_the_live_lines())
            self._live, self._activity = frame.live, frame.activity
            self.print(frame.finished)
        self._app.invalidate()

    def _rows_for_the_live_lines(self) -> int:
        size: Size = self._output.get_size()
        return max(size.rows - self._draft.document.line_count - 5, 0)

    def _on_exception(self, _: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        self._fail(context.get("exception") or RuntimeError(context["message"]))

    def _fail(self, exc: BaseException) -> None:
        self._failure = exc
        self.leave(1)

    @contextmanager
    def _signals(self, loop: asyncio.AbstractEventLoop) -> Iterator[None]:
        """A request to end, from outside: the terminal is given back, and what was said is kept."""
        names = ("SIGTERM", "SIGHUP")
        wanted = [getattr(signal, name) for name in names if hasattr(signal, name) and sys.platform != "win32"]
        for number in wanted:
            loop.add_signal_handler(number, self.leave, 128 + number)
        try:
            yield
        finally:
            for number in wanted:
                loop.remove_signal_handler(number)

    # --- layout ---

    def _layout(self) -> Layout:
        search = SearchToolbar()
        draft = Window(
            BufferControl(self._draft, search_buffer_control=search.control, preview_search=True),
            height=self._draft_height,
            wrap_lines=True,
            dont_extend_height=True,
            get_line_prefix=self._line_prefix,
        )
        menu = Window(height=_MENU_ROWS)
        body = HSplit(
            [
                _lines(self._live_text, lambda: bool(self._live)),
                _lines(self._activity_text, lambda: bool(self._activity_text())),
                _lines(lambda: "", lambda: bool(self._live or self._activity) and self._is_roomy()),
                _lines(self._waiting_text, lambda: bool(self._waiting_text())),
                draft,
                ConditionalContainer(menu, has_completions),
                ConditionalContainer(search, is_searching),
                _lines(self._toolbar_text, lambda: True),
            ]
        )
        floats = [Float(CompletionsMenu(max_height=_MENU_ROWS, scroll_offset=1), xcursor=True, ycursor=True)]
        return Layout(FloatContainer(body, floats), focused_element=draft)

    def _measure(self, _: object) -> None:
        self.style.width = self._output.get_size().columns

    def _on_text(self, draft: Buffer) -> None:
        """An empty draft is no longer what /edit made of it."""
        if not draft.text:
            self._chat.replaces = None

    def _is_roomy(self) -> bool:
        return bool(self._output.get_size().rows > _FEW_ROWS)

    def _draft_height(self) -> Dimension:
        return Dimension(min=1, max=max(self._output.get_size().rows // 2, 1))

    def _line_prefix(self, line: int, wrap: int) -> StyleAndTextTuples:
        return [("class:prompt", PROMPT if line == wrap == 0 else " " * len(PROMPT))]

    def _live_text(self) -> AnyFormattedText:
        return ANSI(self._live)

    def _activity_text(self) -> StyleAndTextTuples:
        return [("class:quiet", self._activity)] if self._activity and self._is_roomy() else []

    def _waiting_text(self) -> StyleAndTextTuples:
        """What goes along with the next message, and what is sent when the reply is over."""
        replaced = self._chat.replaces
        lines = [f"in place of turn {replaced.number}"] if replaced else []
        lines += [f"with {file.name}" for file in self._chat.files]
        lines += [f"next: {' '.join(text.split())}" for text in self._chat.queue]
        quiet = [("class:quiet", "\n".join(lines))] if lines else []
        return [*self._nearly_full_text(bool(lines)), *quiet]

    def _nearly_full_text(self, more: bool) -> StyleAndTextTuples:
        """While a reply is being made: said before there is nothing left, and not in the middle of the answer."""
        if not (self._chat.busy and self._chat.nearly_full and self._chat.ready):
            return []
        left = max(self._chat.ready.ctx - self._chat.used, 0)
        text = f"the context is nearly full: {left:,} tokens left"
        return [("class:warning", text + ("\n" if more else ""))]

    def _toolbar_text(self) -> StyleAndTextTuples:
        if self._hint:
            return [("class:quiet", self._hint)]
        return [(f"class:quiet {style}", text) for style, text in toolbar(self._chat, self._output.get_size().columns)]


def run_screen(console: Console, history: History, settings: Settings, opening: Opening) -> int:
    """A chat on a terminal, until the person leaves."""
    screen = Screen(console.stdout, colour=console.has_style)
    chat = Chat(screen, history, settings, opening, Worker(screen.receive, opening.hints))

    def command(text: str) -> bool:
        if is_command(text):
            screen.show_question(text, ())
        return run_command(chat, text)

    chat.on_command = command
    chat.must_wait = lambda text: must_wait(text) if is_command(text) else True
    before_abort.append(_terminal_as_it_was())
    try:
        chat.start()
        screen.attach(chat, Typed(history), settings.keys, console.environ)
        chat.say(f"r1 · {name_of(chat.reference)} · /help lists commands and keys")
        show_conversation(chat)
        return screen.run()
    finally:
        chat.close()
        if chat.turns:
            console.note("this chat is kept; r1 chat --continue goes on with it")


def _terminal_as_it_was() -> Callable[[], None]:
    """What brings the terminal back when the process ends in the middle of the chat."""
    try:
        import termios

        before = termios.tcgetattr(0)
    except (ImportError, OSError, termios.error):
        return lambda: None

    def restore() -> None:
        termios.tcsetattr(0, termios.TCSANOW, before)
        os.write(1, b"\r\n\x1b[J\x1b[?25h\x1b[?2004l")  # below what was drawn, the cursor, no bracketed paste

    return restore


def _lines(text: Callable[[], AnyFormattedText], shown: Callable[[], bool]) -> ConditionalContainer:
    """As many lines as `text` has, while `shown`."""
    window = Window(FormattedTextControl(text), dont_extend_height=True, wrap_lines=True)
    return ConditionalContainer(window, Condition(shown))
