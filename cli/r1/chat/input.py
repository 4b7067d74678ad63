"""The keys: what each does to the draft and to the chat.

Knows: prompt-toolkit's key bindings. Does not know: layout, drawing, commands.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from prompt_toolkit.application.current import get_app
from prompt_toolkit.buffer import Buffer
from prompt_toolkit.completion import CompleteEvent, Completer, Completion, PathCompleter
from prompt_toolkit.document import Document
from prompt_toolkit.enums import EditingMode
from prompt_toolkit.filters import Condition, has_focus, is_searching, vi_navigation_mode
from prompt_toolkit.history import History as Strings
from prompt_toolkit.key_binding import KeyBindings, KeyBindingsBase, KeyPressEvent
from prompt_toolkit.key_binding.key_processor import KeyProcessor
from prompt_toolkit.keys import Keys

from r1.chat.chat import Chat
from r1.chat.command import COMMANDS
from r1.chat.commands import is_command
from r1.history.history import History
from r1_quantize.errors import R1Error


def key_bindings(chat: Chat, draft: Buffer, send: Callable[[str], None], hint: Callable[[str], None]) -> KeyBindings:
    """`send` takes a message or command, `hint` shows a word of help for a moment."""
    keys = KeyBindings()
    writing = has_focus(draft) & ~is_searching
    bind = keys.add

    @bind("enter", filter=writing)
    def _send(event: KeyPressEvent) -> None:
        if _more_is_coming(event) and not is_command(draft.text):
            draft.insert_text("\n")  # a paste, from a terminal that does not say so
        elif draft.complete_state and draft.complete_state.current_completion:
            draft.complete_state = None
        else:
            text, replaces = draft.text, chat.replaces
            draft.reset(append_to_history=bool(text.strip()))
            chat.replaces = replaces  # which an empty draft would have taken back
            send(text)

    @bind("escape", "enter", filter=writing)
    @bind("c-j", filter=writing)
    def _new_line(_: KeyPressEvent) -> None:
        draft.insert_text("\n")

    @bind("c-c", filter=~is_searching)
    @bind("<sigint>")
    def _stop(_: KeyPressEvent) -> None:
        if chat.busy:
            chat.interrupt()
            hint("stopping")
        elif draft.text:
            chat.put_away(draft.text)
            draft.reset(append_to_history=True)
            chat.replaces = None
            hint("put away; up brings it back")
        elif chat.files:
            chat.files.clear()
            hint("no file goes along any more")
        else:
            hint("ctrl-d leaves")

    @bind("c-d", filter=writing & Condition(lambda: not draft.text))
    def _leave(_: KeyPressEvent) -> None:
        chat.view.leave()

    @bind("c-x", "c-e", filter=writing)
    @bind("v", filter=writing & vi_navigation_mode)
    def _edit_elsewhere(_: KeyPressEvent) -> None:
        draft.open_in_editor().add_done_callback(lambda _: chat.view.changed())

    @bind("c-t")
    def _turn_over(_: KeyPressEvent) -> None:
        chat.show_thinking(not chat.shows_thinking)

    @bind("escape", filter=writing & Condition(lambda: _means_answer_now(chat, draft)))
    def _answer_now(_: KeyPressEvent) -> None:
        if chat.answer_now():
            hint("answering now")

    @bind("c-z")
    def _suspend(event: KeyPressEvent) -> None:
        event.app.suspend_to_background()

    return keys


class PatientKeys(KeyProcessor):
    """A key that fails, as some of vi's do on some texts, is one line, and the chat goes on."""

    def __init__(self, bindings: KeyBindingsBase, report: Callable[[Exception], None]) -> None:
        super().__init__(bindings)
        self._report = report

    def process_keys(self) -> None:
        try:
            super().process_keys()
        except Exception as exc:
            from r1_quantize.errors import debugging

            if debugging():
                raise
            self._report(exc)


def _more_is_coming(event: KeyPressEvent) -> bool:
    """Whether text came along with this Enter, in one piece: nobody types as fast."""
    return any(press.key == Keys.ControlM or len(press.key) == 1 for press in event.key_processor.input_queue)


def _means_answer_now(chat: Chat, draft: Buffer) -> bool:
    """In vi's insert mode Escape belongs to the draft, when there is one."""
    vi = get_app().editing_mode == EditingMode.VI
    return chat.busy and not (vi and draft.text)


class CommandCompleter(Completer):
    """Completes what begins with a slash; a message is left alone."""

    def __init__(self, chat: Chat) -> None:
        self._chat = chat
        self._paths = PathCompleter(expanduser=True)
        self._models = PathCompleter(expanduser=True, file_filter=_may_be_model)

    def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterable[Completion]:
        text = document.text_before_cursor
        if not text.startswith("/") or "\n" in text:
            return
        name, space, argument = text[1:].partition(" ")
        if not space:
            yield from self._commands(name)
        elif name in COMMANDS:
            yield from self._arguments(name, argument.lstrip(), complete_event)

    def _commands(self, begun: str) -> Iterable[Completion]:
        for command in COMMANDS.values():
            if command.name.startswith(begun):
                yield Completion(command.name, -len(begun), display=command.usage, display_meta=command.help)

    def _arguments(self, name: str, argument: str, event: CompleteEvent) -> Iterable[Completion]:
        command = COMMANDS[name]
        try:
            words = list(command.words(self._chat))
        except (R1Error, OSError):  # no reason for a chat to end
            words = []
        for word in words:
            if word.startswith(argument):
                yield Completion(word, -len(argument))
        if command.takes_path:
            paths = self._models if name == "model" else self._paths
            yield from paths.get_completions(Document(argument, len(argument)), event)


def _may_be_model(path: str) -> bool:
    return path.endswith(".gguf") or Path(path).is_dir()


_MOST = 1000


class Typed(Strings):
    """Questions come from the turns they were asked in; only what is in no turn is written here."""

    def __init__(self, history: History) -> None:
        super().__init__()
        self._history = history

    def load_history_strings(self) -> Iterable[str]:
        """The newest first; nothing when they cannot be read, for which the chat need not end."""
        try:
            return self._history.typed(_MOST)
        except R1Error:
            return []

    def store_string(self, string: str) -> None:
        """Questions are kept by the chat, and the rest by whoever knows that it is no question."""
