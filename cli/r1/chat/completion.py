"""What Tab offers: commands, what may follow them, models, files.

Knows: the commands' own lists. Does not know: when it is asked, or how it is shown.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from prompt_toolkit.completion import CompleteEvent, Completer, Completion, PathCompleter
from prompt_toolkit.document import Document

from r1.chat.chat import Chat
from r1.chat.commands import COMMANDS
from r1_quantize.errors import R1Error


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
