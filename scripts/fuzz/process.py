"""One case as a process: forked from one that has imported r1 already, because starting Python takes longer."""

from __future__ import annotations

import ctypes
import io
import os
import resource
import signal
import socket
import struct
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass

from scripts.fuzz.cases import Case, Streams

_TIMEOUT_S = 25.0  # then SIGTERM: a long answer is no fault, but it has to end when asked to
_GRACE_S = 20.0
_MAX_OUTPUT = 4_000_000  # bytes kept


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a process ended. A negative `status` is the signal that killed it."""

    status: int
    stdout: bytes
    stderr: bytes
    seconds: float
    hung: bool


def preload() -> None:
    """Imports what every case needs. Not huggingface_hub, which reads the environment when it is imported."""


def run(case: Case) -> Outcome:
    """Runs the case to its end."""
    began = time.monotonic()
    ends = _Ends.of(case.streams)
    child = os.fork()
    if child == 0:
        _become(case, ends)
    ends.close_theirs()
    readers = [_Reader(end) for end in (ends.stdout, ends.stderr)]
    threading.Thread(target=_feed, args=[ends, case.stdin], daemon=True).start()
    status, hung = _wait(child)
    texts = [reader.text() for reader in readers]
    ends.close_ours()
    return Outcome(status, *texts, seconds=time.monotonic() - began, hung=hung)


def _wait(child: int) -> tuple[int, bool]:
    """The exit status; SIGTERM after the timeout, SIGKILL after that."""
    for wait_s, number in ((_TIMEOUT_S, signal.SIGTERM), (_GRACE_S, signal.SIGKILL)):
        until = time.monotonic() + wait_s
        while time.monotonic() < until:
            done, status = os.waitpid(child, os.WNOHANG)
            if done:
                return os.waitstatus_to_exitcode(status), False
            time.sleep(0.005)
        with suppress(ProcessLookupError):
            os.kill(child, number)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), True


@dataclass(slots=True)
class _Ends:
    """Descriptors: the child's (None: closed), and ours (None: nothing to write or read)."""

    child: tuple[int | None, int | None, int | None]
    stdin: int | None
    stdout: int | None
    stderr: int | None
    terminal: bool  # stdin is one

    @classmethod
    def of(cls, streams: Streams) -> _Ends:
        theirs_in, ours_in = _input(streams.stdin)
        theirs_out, ours_out = _output(streams.stdout)
        theirs_err, ours_err = _output(streams.stderr)
        return cls((theirs_in, theirs_out, theirs_err), ours_in, ours_out, ours_err, streams.stdin == "terminal")

    def close_theirs(self) -> None:
        for descriptor in self.child:
            if descriptor is not None:
                os.close(descriptor)

    def close_ours(self) -> None:
        for descriptor in (self.stdout, self.stderr):
            if descriptor is not None:
                os.close(descriptor)
        if self.stdin is not None and self.terminal:
            os.close(self.stdin)  # `_feed` has closed everything else


def _input(kind: str) -> tuple[int | None, int | None]:
    if kind == "pipe":
        theirs, ours = os.pipe()
        return theirs, ours
    return _either(kind)


def _output(kind: str) -> tuple[int | None, int | None]:
    if kind == "pipe":
        ours, theirs = os.pipe()
        return theirs, ours
    if kind == "broken pipe":
        ours, theirs = os.pipe()
        os.close(ours)
        return theirs, None
    return _either(kind)


def _either(kind: str) -> tuple[int | None, int | None]:
    """Descriptors that work for input and for output."""
    if kind == "closed":
        return None, None
    if kind == "socket":
        theirs, ours = socket.socketpair()
        return theirs.detach(), ours.detach()
    if kind == "terminal":
        ours, theirs = os.openpty()
        return theirs, ours
    if kind == "write-only":
        return os.open(os.devnull, os.O_WRONLY), None
    return os.open("/dev/full" if kind == "full" else os.devnull, os.O_RDWR), None


def _feed(ends: _Ends, text: bytes) -> None:
    """Writes the input and closes it; a terminal stays open, because closing it would hang up."""
    if ends.stdin is None:
        return
    with suppress(OSError):
        view = memoryview(text + b"\n\x04" if ends.terminal else text)
        while view:
            view = view[os.write(ends.stdin, view[:65536]) :]
    if not ends.terminal:
        os.close(ends.stdin)


class _Reader:
    """Reads an output to its end on a thread."""

    def __init__(self, descriptor: int | None) -> None:
        self._descriptor = descriptor
        self._parts: list[bytes] = []
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        size = 0
        with suppress(OSError):
            while self._descriptor is not None and (part := os.read(self._descriptor, 65536)):
                size += len(part)
                if size < _MAX_OUTPUT:
                    self._parts.append(part)

    def text(self) -> bytes:
        self._thread.join(1.0)
        return b"".join(self._parts)


def _become(case: Case, ends: _Ends) -> None:
    """In the child: takes its streams, environment, folder and limits, and runs r1. Does not return."""
    status = 99
    try:
        _take_streams(ends)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL if number != signal.SIGINT else signal.default_int_handler)
        os.environ.clear()
        os.environ.update(case.environ)
        sys.argv = ["r1", *case.arguments]
        case.enter_folder()
        _give_up_privileges()
        for limit, value in case.limits.items():
            number = getattr(resource, f"RLIMIT_{limit}")
            resource.setrlimit(number, (value, resource.getrlimit(number)[1]))
        status = _run_r1()
    except BaseException as exc:
        with suppress(OSError):
            os.write(2, f"Traceback: {exc!r}\n".encode())
    finally:
        os._exit(status)


def _give_up_privileges() -> None:
    """Makes file permissions count for root, too. Linux only; elsewhere run this as an ordinary user."""
    if os.geteuid() == 0 and sys.platform == "linux":
        header = struct.pack("=Ii", 0x20080522, 0)  # _LINUX_CAPABILITY_VERSION_3, this process
        ctypes.CDLL(None, use_errno=True).capset(header, bytes(24))  # no capability in any set


def _take_streams(ends: _Ends) -> None:
    moved = [None if descriptor is None else os.dup2(descriptor, 200 + n) for n, descriptor in enumerate(ends.child)]
    os.closerange(0, 200)
    for number, descriptor in enumerate(moved):
        if descriptor is not None:
            os.dup2(descriptor, number)
    os.closerange(200, 210)
    sys.stdin, sys.stdout, sys.stderr = (_as_at_start(number) for number in range(3))  # type: ignore[assignment]


def _as_at_start(number: int) -> io.TextIOWrapper | None:
    """A standard stream as Python opens it: None if the descriptor is closed."""
    try:
        os.fstat(number)
    except OSError:
        return None
    raw = io.FileIO(number, "rb" if number == 0 else "wb", closefd=False)
    buffered = io.BufferedReader(raw) if number == 0 else io.BufferedWriter(raw)
    errors = "backslashreplace" if number == 2 else "strict"
    return io.TextIOWrapper(buffered, "utf-8", errors, line_buffering=number == 2 or raw.isatty())


def _run_r1() -> int:
    from r1.__main__ import run_line

    status = run_line()
    with suppress(AttributeError):  # a stream that was closed at the start
        try:
            sys.stdout.flush()
        except OSError as exc:
            os.write(2, f"Exception ignored while flushing sys.stdout: {exc}\n".encode())
            return 120
    return status
