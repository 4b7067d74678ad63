"""The order of what a chat prints: a reply is printed in one piece, and other lines before or after it."""

from __future__ import annotations

from collections.abc import Callable

from r1.render.reply import ReplyView


class PrintOrder:
    """Holds back lines that are not the reply's own, from the reply's first token to its end.

    A question that still waits for its model has no reply yet, so notices about the loading are printed at once.
    `write` prints lines; `reply` is the one being generated.
    """

    def __init__(self, write: Callable[[str], None]) -> None:
        self.reply: ReplyView | None = None
        self._write = write
        self._held: list[str] = []

    @property
    def held(self) -> str:
        """The lines that wait for the end of the reply."""
        return "".join(self._held)

    def print(self, lines: str) -> None:
        """Prints lines now, or after the reply."""
        if self.reply is not None and self.reply.has_begun:
            self._held.append(lines)
        else:
            self._write(lines)

    def begin(self, reply: ReplyView) -> None:
        self.reply = reply

    def end(self) -> list[str]:
        """The reply is complete; returns what was held back, to be printed after it."""
        self.reply = None
        held, self._held = self._held, []
        return held
