"""A program on a pseudo-terminal of its own."""

from __future__ import annotations

import os
import pty
import re
import select
import subprocess
from collections.abc import Sequence
from typing import Self

_PATIENCE = 60.0  # seconds of silence after which a test gives up


class Terminal:
    """Starts `command` with stdin, stdout and stderr on one pseudo-terminal."""

    def __init__(self, command: Sequence[str], environ: dict[str, str]) -> None:
        self._ours, theirs = pty.openpty()
        self._process = subprocess.Popen(
            command,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env=environ,
            start_new_session=True,
            preexec_fn=lambda: _take_as_controlling_terminal(0),  # noqa: PLW1509 — tests start no threads
        )
        os.close(theirs)

    @property
    def status(self) -> int:
        """The exit status; waits for it."""
        return self._process.wait(timeout=_PATIENCE)

    def type(self, keys: str) -> None:
        os.write(self._ours, keys.encode())

    def read_some(self) -> str:
        """What the screen gets next; empty at the end."""
        ready, _, _ = select.select([self._ours], [], [], _PATIENCE)
        assert ready, "nothing came for a minute"
        try:
            return os.read(self._ours, 65536).decode("utf-8", "replace")
        except OSError:  # Linux's way of saying that the other side is closed
            return ""

    def read_to_end(self) -> str:
        """Everything that the screen still gets."""
        parts = []
        while part := self.read_some():
            parts.append(part)
        return "".join(parts)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._ours)


def without_style(text: str) -> str:
    """`text` without colours and the like."""
    return re.sub("\x1b\\[[0-9;]*m", "", text)


def _take_as_controlling_terminal(descriptor: int) -> None:
    """Ctrl-C at the keyboard becomes SIGINT only for the terminal that controls the session."""
    import fcntl
    import termios

    fcntl.ioctl(descriptor, termios.TIOCSCTTY, 0)
