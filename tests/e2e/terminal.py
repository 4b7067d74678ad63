"""A program on a pseudo-terminal of its own."""

from __future__ import annotations

import os
import pty
import re
import select
import subprocess
from collections.abc import Sequence
from typing import Self

_TIMEOUT_S = 120.0  # of silence


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
        return self._process.wait(timeout=_TIMEOUT_S)

    @property
    def process_id(self) -> int:
        return self._process.pid

    def type(self, keys: str) -> None:
        os.write(self._ours, keys.encode())

    def read_some(self) -> str:
        """The next output; empty at the end."""
        ready, _, _ = select.select([self._ours], [], [], _TIMEOUT_S)
        assert ready, "no output until the timeout"
        try:
            return os.read(self._ours, 65536).decode("utf-8", "replace")
        except OSError:  # on Linux: the other side is closed
            return ""

    def read_to_end(self) -> str:
        """The rest of the output."""
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
    """`text` without colours and other styles."""
    return re.sub("\x1b\\[[0-9;]*m", "", text)


def _take_as_controlling_terminal(descriptor: int) -> None:
    """Ctrl-C becomes SIGINT only on the controlling terminal of the session."""
    import fcntl
    import termios

    fcntl.ioctl(descriptor, termios.TIOCSCTTY, 0)
