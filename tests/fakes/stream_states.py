"""`r1` with its standard streams in every state: a process that forks a child for each case.

A process of its own for each case would take ten times as long, most of it for imports. The child sets up its streams
as Python does when it starts. A folder as stdin or stdout is no case: Python itself refuses to start with it.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from tests.fakes.paths import ROOT

_DEADLINE_S = 120.0
_IMPORTED = ("r1.app", "r1.exit", "r1.commands.run", "r1.commands.chat", "r1.commands.pull", "r1.chat.plain", "numpy")


class Case(NamedTuple):
    """A command line, and the states of its streams: names of functions below."""

    arguments: Sequence[str]
    stdin: str = "null"
    stdout: str = "file"
    stderr: str = "file"


class Ended(NamedTuple):
    """How a case ended; None: it did not end. `stderr` is what went to a file there."""

    status: int | None
    stderr: str


def run_cases(cases: Sequence[Case], environ: Mapping[str, str]) -> list[Ended]:
    """Runs the cases one after the other, in a session without a controlling terminal."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.fakes.stream_states"],
        input=json.dumps(cases),
        env=dict(environ),
        cwd=ROOT,
        capture_output=True,
        text=True,
        start_new_session=True,
        check=True,
    )
    return [Ended(*json.loads(line)) for line in done.stdout.splitlines()]


class _Ends:
    """The descriptors of one case: those of the child, and those that the parent keeps or reads."""

    def __init__(self) -> None:
        self.kept: list[int] = []
        self.read: list[int] = []

    def closed(self) -> None:
        return None

    def null(self) -> int:
        return os.open(os.devnull, os.O_RDONLY)

    def write_only(self) -> int:
        return os.open(os.devnull, os.O_WRONLY)

    read_only = null

    def read_write(self) -> int:
        return os.open(os.devnull, os.O_RDWR)

    def full(self) -> int:
        return os.open("/dev/full", os.O_RDWR)

    def file(self) -> int:
        with tempfile.TemporaryFile() as file:
            return os.dup(file.fileno())

    def socket(self) -> int:
        """Its other side writes nothing and reads everything."""
        ours, theirs = socket.socketpair()
        ours.shutdown(socket.SHUT_WR)
        self.read.append(ours.detach())
        return theirs.detach()

    def socket_without_peer(self) -> int:
        return socket.socket().detach()

    def pipe_at_its_end(self) -> int:
        theirs, ours = os.pipe()
        os.close(ours)
        os.set_blocking(theirs, False)
        return theirs

    def non_blocking_pipe(self) -> int:
        ours, theirs = os.pipe()
        os.set_blocking(theirs, False)
        self.read.append(ours)
        return theirs

    def pipe_without_reader(self) -> int:
        ours, theirs = os.pipe()
        os.close(ours)
        return theirs

    def terminal(self) -> int:
        """Ctrl-D is typed on it."""
        ours, theirs = os.openpty()
        os.write(ours, b"\x04")
        self.read.append(ours)
        return theirs

    def terminal_that_is_gone(self) -> int:
        ours, theirs = os.openpty()
        os.close(ours)
        return theirs


def _run(case: Case) -> Ended:
    ends = _Ends()
    streams = [getattr(ends, state)() for state in case[1:]]
    child = os.fork()
    if child == 0:
        _become(case.arguments, streams, ends.read)
    try:
        status = _wait(child, ends.read)
        said = os.pread(streams[2], 100_000, 0).decode() if case.stderr == "file" else ""
        return Ended(status, said)
    finally:
        for descriptor in filter(None, [*streams, *ends.read]):
            os.close(descriptor)


def _wait(child: int, read: list[int]) -> int | None:
    """The status of the child; meanwhile reads what it writes."""
    deadline = time.monotonic() + _DEADLINE_S
    while time.monotonic() < deadline:
        ready, _, _ = select.select(read, [], [], 0.002)
        for descriptor in ready:
            with suppress(OSError):  # the terminal's other side is closed
                os.read(descriptor, 65536)
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return None


def _become(arguments: Sequence[str], streams: Sequence[int | None], theirs: Sequence[int]) -> None:
    """Runs the program in this child, and ends it."""
    status = 1
    try:
        for descriptor in theirs:
            os.close(descriptor)
        for number, descriptor in enumerate(streams):
            if descriptor is None:
                os.close(number)
            else:
                os.dup2(descriptor, number)
        for descriptor in filter(None, streams):
            os.close(descriptor)
        sys.stdin, sys.stdout, sys.stderr = (_opened(number) for number in range(3))
        sys.argv = ["r1", *arguments]
        from r1.__main__ import run_line

        status = _at_exit(run_line())
    finally:
        os._exit(status)


def _opened(number: int) -> Any:
    """The stream that Python makes at its start; None if the descriptor is closed."""
    try:
        os.fstat(number)
    except OSError:
        return None
    return open(number, "w" if number else "r", encoding="utf-8", closefd=False)


def _at_exit(status: int) -> int:
    """Python flushes the streams at its end; if that fails, it exits with 120."""
    try:
        for stream in filter(None, (sys.stdout, sys.stderr)):
            stream.flush()
    except OSError:
        return 120
    return status


def main() -> None:
    """Runs the cases on stdin, JSON; prints a line for each."""
    for name in _IMPORTED:
        importlib.import_module(name)
    gc.freeze()  # otherwise each child copies what it collects
    results: Callable[[Any], None] = lambda value: print(json.dumps(value), flush=True)  # noqa: E731
    for case in json.load(sys.stdin):
        results(_run(Case(*case)))


if __name__ == "__main__":
    main()
