"""How a terminal is written to: in one piece, without asking it anything, and without style where none is wanted.

Knows: prompt-toolkit's outputs. Does not know: what is written.
"""

from __future__ import annotations

import errno
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

from prompt_toolkit.output import ColorDepth, Output
from prompt_toolkit.output.defaults import create_output
from prompt_toolkit.output.vt100 import Vt100_Output
from prompt_toolkit.styles import Attrs

from r1.console import abandon


class _Output(Vt100_Output):
    """Writes what belongs together at once, so that no terminal shows the middle of it."""

    held = False
    styled = True

    def set_attributes(self, attrs: Attrs, color_depth: ColorDepth) -> None:
        if self.styled:
            super().set_attributes(attrs, color_depth)

    def flush(self) -> None:
        if self.held:
            return
        try:
            super().flush()
        except OSError as exc:
            if exc.errno != errno.EIO:
                raise
            abandon(self.stdout)  # the window was closed; what ends the chat is the signal, or the end of the keys


def terminal_output(stdout: TextIO, *, styled: bool) -> Output:
    """Without asking the terminal where its cursor is: the answer would come in between what is typed."""
    if sys.platform == "win32":
        return create_output(stdout)
    output = _Output.from_pty(stdout)
    assert isinstance(output, _Output)
    output.enable_cpr = False
    output.styled = styled
    return output


@contextmanager
def at_once(output: Output) -> Iterator[None]:
    """Whatever is written within goes to the terminal at its end, in one piece."""
    if not isinstance(output, _Output):
        yield
        return
    output.held = True
    try:
        yield
    finally:
        output.held = False
        output.flush()
