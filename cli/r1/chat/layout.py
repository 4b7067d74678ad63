"""The lines that the chat redraws at the bottom of the terminal: live lines, activity, draft, toolbar."""

from __future__ import annotations

from collections.abc import Callable
from textwrap import shorten

from prompt_toolkit.buffer import Buffer
from prompt_toolkit.filters import Condition, has_completions, is_searching
from prompt_toolkit.formatted_text import ANSI, AnyFormattedText, StyleAndTextTuples
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
from prompt_toolkit.layout.processors import TabsProcessor
from prompt_toolkit.output import Output
from prompt_toolkit.styles import Style as PromptStyle
from prompt_toolkit.widgets import SearchToolbar

from r1.chat.chat import Chat
from r1.chat.input import vi_mode
from r1.chat.pastes import PasteLabels, Pastes
from r1.chat.toolbar import toolbar
from r1.render.reply import PROMPT

STYLE = PromptStyle.from_dict({"prompt": "bold", "quiet": "dim", "warning": "nodim bold"})

_MENU_ROWS = 8
_TAB_COLUMNS = 4
_MAX_QUEUED = 200  # characters shown of a queued message
_MIN_ROWS_FOR_ACTIVITY = 5


class BottomLines:
    """Live lines, activity, held lines, pending messages, draft, completion menu, toolbar; from top to bottom."""

    def __init__(self, draft: Buffer, output: Output, pastes: Pastes) -> None:
        self.live = ""
        self.activity = ""
        self.held = ""  # lines that are printed after the reply
        self.hint = ""  # takes the place of the toolbar
        self.chat: Chat | None = None
        self._draft = draft
        self._output = output
        self._pastes = pastes

    def layout(self) -> Layout:
        search = SearchToolbar()
        draft = Window(
            BufferControl(
                self._draft,
                input_processors=[PasteLabels(self._pastes), TabsProcessor(_TAB_COLUMNS, " ", " ")],
                search_buffer_control=search.control,
                preview_search=True,
            ),
            height=self._draft_height,
            wrap_lines=True,
            dont_extend_height=True,
            get_line_prefix=self._line_prefix,
        )
        body = HSplit(
            [
                _lines(lambda: ANSI(self.live), lambda: bool(self.live)),
                _lines(self._activity_text, lambda: bool(self._activity_text())),
                _lines(lambda: "", lambda: bool(self.live or self.activity) and self._is_roomy()),
                _lines(lambda: ANSI(self._held_text()), lambda: bool(self.held)),
                _lines(self._pending_text, lambda: bool(self._pending_text())),
                draft,
                ConditionalContainer(Window(height=_MENU_ROWS), has_completions),
                ConditionalContainer(search, is_searching),
                _lines(self._toolbar_text, lambda: True),
            ]
        )
        menu = CompletionsMenu(max_height=_MENU_ROWS, scroll_offset=1)
        return Layout(FloatContainer(body, [Float(menu, xcursor=True, ycursor=True)]), focused_element=draft)

    def rows_for_live_lines(self) -> int:
        rows: int = self._output.get_size().rows
        held = len(self._held_text().split("\n")) if self.held else 0
        return max(rows - self._draft.document.line_count - held - 5, 0)

    def _is_roomy(self) -> bool:
        return bool(self._output.get_size().rows >= _MIN_ROWS_FOR_ACTIVITY)

    def _draft_height(self) -> Dimension:
        return Dimension(min=1, max=max(self._output.get_size().rows // 2, 1))

    def _line_prefix(self, line: int, wrap: int) -> StyleAndTextTuples:
        return [("class:prompt", PROMPT if line == wrap == 0 else " " * len(PROMPT))]

    def _activity_text(self) -> StyleAndTextTuples:
        return [("class:quiet", self.activity)] if self.activity and self._is_roomy() else []

    def _held_text(self) -> str:
        """The last of the held lines, on at most a third of the screen, and a blank line."""
        rows = max(self._output.get_size().rows // 3, 1)
        lines = self.held.rstrip("\n").split("\n")
        if len(lines) > rows:
            lines = ["…", *lines[len(lines) - rows + 1 :]]
        return "\n".join(lines) + "\n"

    def _pending_text(self) -> StyleAndTextTuples:
        """Lines about the next message (the turn it replaces, its files, its answer's form), and the queued ones."""
        if self.chat is None:
            return []
        replaced = self.chat.next.replaces
        lines = [f"replaces turn {replaced.number}"] if replaced else []
        lines += [f"attached: {file.name}" for file in self.chat.next.files]
        form = self.chat.next.form
        lines += [shorten(f"format: {form.description}", _MAX_QUEUED, placeholder=" …")] if form else []
        lines += [shorten(f"queued: {text}", _MAX_QUEUED, placeholder=" …") for text in self.chat.queue]
        quiet = [("class:quiet", "\n".join(lines))] if lines else []
        return [*self._nearly_full_text(self.chat, more=bool(lines)), *quiet]

    def _nearly_full_text(self, chat: Chat, *, more: bool) -> StyleAndTextTuples:
        """Shown while a reply is being generated: before the context is full, and not in the middle of the answer."""
        if not (chat.busy and chat.model.is_nearly_full):
            return []
        text = f"the context is nearly full: {chat.model.left:,} tokens left"
        return [("class:warning", text + ("\n" if more else ""))]

    def _toolbar_text(self) -> StyleAndTextTuples:
        if self.hint or self.chat is None:
            return [("class:quiet", self.hint)]
        fragments = toolbar(self.chat, self._output.get_size().columns, vi_mode())
        return [(f"class:quiet {style}", text) for style, text in fragments]


def _lines(text: Callable[[], AnyFormattedText], shown: Callable[[], bool]) -> ConditionalContainer:
    """As many lines as `text` has, while `shown`."""
    window = Window(FormattedTextControl(text), dont_extend_height=True, wrap_lines=True)
    return ConditionalContainer(window, Condition(shown))
