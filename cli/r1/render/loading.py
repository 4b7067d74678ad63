"""A line that says how much of a model is loaded, where that takes long enough to be noticed.

Knows: when to speak. Does not know: what is being loaded, or how.
"""

from __future__ import annotations

import shutil
import time

from r1.console import Console

_PATIENCE = 0.5  # seconds without a word
_FRAME = 0.1  # seconds between two looks at the line


class LoadingLine:
    """On a terminal, one line that counts; what follows takes its place."""

    def __init__(self, console: Console, name: str) -> None:
        self._console = console
        self._name = name
        self._next = time.monotonic() + _PATIENCE
        self._shown = False

    def __call__(self, share: float) -> None:
        """`share` is what is loaded, 0 to 1."""
        now = time.monotonic()
        if not self._console.has_style or now < self._next:
            return
        self._next = now + _FRAME
        self._shown = True
        columns = shutil.get_terminal_size().columns
        line = f"loading {self._name} · {share:.0%}"
        self._console.rewrite(line if len(line) < columns else f"loading · {share:.0%}")

    def end(self) -> None:
        """Takes the line away."""
        if self._shown:
            self._console.rewrite("")
            self._shown = False
