"""The standard streams of this process, in every state in which a parent process can leave them.

A descriptor may be closed, open in the wrong direction, non-blocking, shared with other processes, or lead to something
that breaks later. Here reads and writes wait where they must, writes are complete, and errors name the stream.
"""

from __future__ import annotations

import errno
import io
import os
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, BinaryIO, Literal, TextIO

from r1_quantize.errors import DISK_FULL, NotEnoughSpace, R1Error, UsageError

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer, WriteableBuffer

_READER_IS_GONE = {errno.EPIPE, errno.ECONNRESET, errno.ESHUTDOWN}


def adopt() -> None:
    """Replaces `sys.stdout` and `sys.stderr` by streams that follow the rules of this module.

    A closed descriptor is opened on the null device, because the next file to be opened would get its number, and what
    C libraries print on stderr would be written into that file. `sys.stdout` and the others stay None then.
    """
    if sys.platform == "win32":
        return  # there the console has streams of its own
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    if sys.stdout is not None:
        sys.stdout = _text(_Output(sys.stdout.fileno()), sys.stdout)
    if sys.stderr is not None:
        sys.stderr = error_stream(sys.stderr.fileno())


def error_stream(descriptor: int) -> TextIO:
    """A stream for messages. It ignores errors: a broken stderr must not cost the answer or change the exit code."""
    return _text(_Errors(descriptor), sys.stderr)


def input_stream() -> BinaryIO | None:
    """Stdin; None if it cannot be read at all. Raises UsageError where reading fails later.

    It cannot be read if it is closed or open for writing only, which is what `nohup` does, if it is a terminal that was
    closed (a job in the background keeps it), or a socket without another side.
    """
    if sys.stdin is None:
        return None
    if sys.platform == "win32":  # a stream of its own: Python closes sys.stdin at the end, under a thread that reads it
        return os.fdopen(sys.stdin.fileno(), "rb", closefd=False)
    descriptor = sys.stdin.fileno()
    usable = _is_open_for(descriptor, os.O_RDONLY) and _has_other_side(descriptor)
    return io.BufferedReader(_Input(descriptor)) if usable else None


def check_output(stream: TextIO | None) -> None:
    """Raises UsageError if stdout is closed (None), or not open for writing, before any work is done in vain."""
    if stream is None:
        raise UsageError("stdout is closed; run r1 without >&-")
    if sys.platform != "win32" and not _is_open_for(stream.fileno(), os.O_WRONLY):
        raise UsageError(_NOT_FOR_WRITING)


def regular_file(stream: IO[Any] | None) -> os.stat_result | None:
    """The status of the regular file behind `stream`; None if it is a terminal, a pipe or the like, or in memory."""
    try:
        status = None if stream is None else os.fstat(stream.fileno())
    except OSError:  # a stream in memory has no descriptor
        return None
    return status if status is not None and stat.S_ISREG(status.st_mode) else None


def mode_of_writing(stream: TextIO, path: Path) -> Literal["append", "overwrite"] | None:
    """How `stream` writes to the regular file at `path`; None if it leads elsewhere. Windows does not say: "append"."""
    status = regular_file(stream)
    try:
        if status is None or not os.path.samestat(status, path.stat()):
            return None
    except OSError:  # no such file
        return None
    if sys.platform == "win32":
        return "append"
    import fcntl

    return "append" if fcntl.fcntl(stream.fileno(), fcntl.F_GETFL) & os.O_APPEND else "overwrite"


_NOT_FOR_WRITING = "stdout is not open for writing; redirect it with > instead of <"


def _is_open_for(descriptor: int, mode: int) -> bool:
    import fcntl

    return fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_ACCMODE in {mode, os.O_RDWR}


def _has_other_side(descriptor: int) -> bool:
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISCHR(mode):
        import termios

        try:
            termios.tcgetattr(descriptor)
        except termios.error as exc:
            return bool(exc.args[0] == errno.ENOTTY)  # such as /dev/null
    elif stat.S_ISSOCK(mode):
        import socket

        with socket.socket(fileno=os.dup(descriptor)) as duplicate:
            try:
                duplicate.getpeername()
            except OSError:
                return False
    return True


def _text(raw: _Output, like: TextIO) -> TextIO:
    """A text stream that passes each text on in one write."""
    return io.TextIOWrapper(raw, encoding=like.encoding, errors=like.errors, newline="\n", write_through=True)


class _Stream(io.RawIOBase):
    """A descriptor, which stays open when the stream is closed."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def fileno(self) -> int:
        return self._descriptor

    def isatty(self) -> bool:
        return os.isatty(self._descriptor)


class _Input(_Stream):
    """Stdin. Waits for a non-blocking descriptor."""

    name = "<stdin>"

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        view = memoryview(buffer).cast("B")
        try:
            data = self._read(len(view))
        except OSError as exc:
            raise UsageError(f"stdin cannot be read ({exc.strerror})") from exc
        view[: len(data)] = data
        return len(data)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Raises OSError if stdin is not a file."""
        return os.lseek(self._descriptor, offset, whence)

    def _read(self, count: int) -> bytes:
        while True:
            try:
                return os.read(self._descriptor, count)
            except BlockingIOError:
                import select

                select.select([self._descriptor], [], [])


class _Output(_Stream):
    """Stdout. Waits for a non-blocking descriptor, and writes everything; after an error it discards everything."""

    name = "<stdout>"

    def __init__(self, descriptor: int) -> None:
        super().__init__(descriptor)
        self._is_broken = False
        mode = os.fstat(descriptor).st_mode
        self._is_pipe = stat.S_ISFIFO(mode)
        self._is_device = stat.S_ISCHR(mode)  # a terminal that is gone is no longer called one

    def writable(self) -> bool:
        return True

    def write(self, data: ReadableBuffer) -> int:
        """Raises BrokenPipeError if the reader is gone, NotEnoughSpace, UsageError, or R1Error."""
        view = memoryview(data).cast("B")
        if not self._is_broken:
            try:
                with self._alone():
                    self._write_all(view)
            except OSError as exc:
                self._is_broken = True
                self._fail(exc)
        return len(view)

    def _write_all(self, view: memoryview) -> None:
        while view:
            try:
                view = view[os.write(self._descriptor, view) :]
            except BlockingIOError:
                import select

                select.select([], [self._descriptor], [])

    def _fail(self, exc: OSError) -> None:
        if exc.errno in _READER_IS_GONE or (exc.errno == errno.EIO and self._is_device):
            raise BrokenPipeError(exc.errno, exc.strerror) from exc
        if exc.errno in DISK_FULL:
            raise NotEnoughSpace("cannot write to stdout: no space left") from exc
        if exc.errno == errno.EBADF:
            raise UsageError(_NOT_FOR_WRITING) from exc
        raise R1Error(f"cannot write to stdout: {exc.strerror}") from exc

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Keeps other r1 processes that share a pipe from writing at the same time.

        A pipe keeps only up to PIPE_BUF bytes together (4,096 on Linux), and a JSON object can be longer. Where pipes
        cannot be locked, as on macOS, that limit holds.
        """
        if not self._is_pipe:
            yield
            return
        import fcntl

        with suppress(OSError):
            fcntl.lockf(self._descriptor, fcntl.LOCK_EX)
        try:
            yield
        finally:
            with suppress(OSError):
                fcntl.lockf(self._descriptor, fcntl.LOCK_UN)


class _Errors(_Output):
    """Stderr."""

    name = "<stderr>"

    def _fail(self, exc: OSError) -> None:
        """Nothing depends on stderr."""
