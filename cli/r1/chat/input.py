"""Input in the chat's draft: the keys, completion with Tab, and earlier input for Up."""

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
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.key_binding.vi_state import InputMode
from prompt_toolkit.keys import Keys

from r1.chat.chat import Chat
from r1.chat.leaving import LEAVING_HINT, PressedTwice
from r1.chat.pastes import Pastes
from r1.chat.registry import Registry, SlashCommand
from r1.history.history import History
from r1_quantize.errors import R1Error

_MAX_TYPED = 1000  # texts that Up goes back through
_VI_MODES = {InputMode.INSERT: "insert", InputMode.INSERT_MULTIPLE: "insert", InputMode.NAVIGATION: "normal"}


def key_bindings(
    chat: Chat, draft: Buffer, pastes: Pastes, commands: Registry, hint: Callable[[str], None]
) -> KeyBindings:
    """The keys of the chat; `hint` shows a short text for a moment."""
    keys = KeyBindings()
    leaves = PressedTwice()
    writing = has_focus(draft) & ~is_searching
    bind = keys.add

    @bind("enter", filter=writing)
    def _send(event: KeyPressEvent) -> None:
        if _is_pasting(event) and not commands.is_command(draft.text):
            draft.insert_text("\n")
        elif draft.complete_state and draft.complete_state.current_completion:
            draft.complete_state = None
        else:
            pastes.unfold(draft)
            text = draft.text
            draft.reset(append_to_history=bool(text.strip()))
            chat.submit(text)

    @bind(Keys.BracketedPaste, filter=writing)
    def _paste(event: KeyPressEvent) -> None:
        draft.insert_text(pastes.folded(event.data.replace("\r\n", "\n").replace("\r", "\n")))

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
            pastes.unfold(draft)
            chat.recorder.save_draft(draft.text)
            draft.reset(append_to_history=True)
            chat.next.end_edit()
            hint("draft saved; press Up to restore it")
        elif chat.next.files:
            chat.next.detach_all()
            hint("no file will be attached")
        elif leaves():
            chat.view.leave()
        else:
            hint(LEAVING_HINT)

    @bind("c-d", filter=writing & Condition(lambda: not draft.text))
    def _leave(_: KeyPressEvent) -> None:
        chat.view.leave()

    @bind("c-x", "c-e", filter=writing)
    @bind("v", filter=writing & vi_navigation_mode)
    def _open_editor(_: KeyPressEvent) -> None:
        pastes.unfold(draft)
        draft.open_in_editor().add_done_callback(lambda _: chat.view.changed())

    @bind("c-t")
    def _toggle_thinking(_: KeyPressEvent) -> None:
        chat.show_thinking(not chat.thinking.is_shown)

    @bind("escape", filter=writing & Condition(lambda: _means_answer_now(chat, draft)))
    def _answer_now(_: KeyPressEvent) -> None:
        if chat.answer_now():
            hint("answering now")

    @bind("c-z")
    def _suspend(event: KeyPressEvent) -> None:
        event.app.suspend_to_background()

    return keys


def vi_mode() -> str:
    """The mode of vi's keys, for example `vi: normal`; empty with the usual keys."""
    app = get_app()
    if app.editing_mode != EditingMode.VI:
        return ""
    if app.current_buffer.selection_state is not None:
        return "vi: visual"
    return f"vi: {_VI_MODES.get(app.vi_state.input_mode, 'replace')}"


def _is_pasting(event: KeyPressEvent) -> bool:
    """True when more text arrived in one piece with this Enter: a paste, from a terminal that does not mark pastes."""
    return any(press.key == Keys.ControlM or len(press.key) == 1 for press in event.key_processor.input_queue)


def _means_answer_now(chat: Chat, draft: Buffer) -> bool:
    """In vi's insert mode Escape belongs to the draft, if there is one."""
    vi = get_app().editing_mode == EditingMode.VI
    return chat.busy and not (vi and draft.text)


class CommandCompleter(Completer):
    """Completes commands and their arguments; leaves messages alone."""

    def __init__(self, chat: Chat, commands: Registry) -> None:
        self._chat = chat
        self._commands = commands
        self._paths = PathCompleter(expanduser=True)
        self._model_paths = PathCompleter(expanduser=True, file_filter=_may_be_model)

    def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterable[Completion]:
        text = document.text_before_cursor
        if not text.startswith("/") or "\n" in text:
            return
        name, space, argument = text[1:].partition(" ")
        command = self._commands.get(name)
        if not space:
            yield from self._names(name)
        elif command is not None:
            yield from self._arguments(command, argument.lstrip(), complete_event)

    def _names(self, begun: str) -> Iterable[Completion]:
        for command in self._commands:
            if command.name.startswith(begun):
                yield Completion(command.name, -len(begun), display=command.usage, display_meta=command.help)

    def _arguments(self, command: SlashCommand, argument: str, event: CompleteEvent) -> Iterable[Completion]:
        try:
            words = list(command.completions(self._chat))
        except (R1Error, OSError):  # completion must not end the chat
            words = []
        for word in words:
            if word.startswith(argument):
                yield Completion(word, -len(argument))
        if command.takes_path:
            paths = self._model_paths if command.name == "model" else self._paths
            first, space, rest = argument.partition(" ")
            path = rest if space and first in words else argument
            yield from paths.get_completions(Document(path, len(path)), event)


def _may_be_model(path: str) -> bool:
    return path.endswith(".gguf") or Path(path).is_dir()


class TypedHistory(Strings):
    """Earlier input: questions from the turns, and saved drafts and commands. The chat itself saves both."""

    def __init__(self, history: History) -> None:
        super().__init__()
        self._history = history

    def load_history_strings(self) -> Iterable[str]:
        """The newest first; empty when they cannot be read, because that must not end the chat."""
        try:
            return self._history.typed(_MAX_TYPED)
        except R1Error:
            return []

    def store_string(self, string: str) -> None:
        """Nothing to do: the chat saves questions with their turns, and the rest as drafts."""
