"""Download one file from the hub: resume what an earlier run left, retry, and accept it only with the hub's digest.

The bytes received so far are in NAME.partial, which is only ever appended to.
"""

from __future__ import annotations

import os
import queue
import threading
import time
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from r1_quantize.errors import NetworkError
from r1_quantize.events import Fetched, Fetching, Hashed, Noted, PipelineEvent, Rejected, Waiting
from r1_quantize.files import disk_error
from r1_quantize.hub import hub
from r1_quantize.hub.hub import NotAsListed, TransientError, XetFailed
from r1_quantize.hub.repository import RemoteFile, Repository

ATTEMPTS = 8  # failures in a row, without a byte between them, before giving up
_MAX_WAIT_S = 60.0  # between two attempts, when the hub does not say how long to wait
_MAX_RETRY_AFTER_S = 900.0  # when it does; if it asks for more, the pull ends
_MAX_FETCHES = 2  # a file that comes with the wrong digest is fetched once more
_READ_BYTES = 1 << 20
_POLL_S = 0.1
_JOIN_S = 1.0  # for a cancelled thread to notice

_Result = TypeVar("_Result")


class Stopped(Exception):
    """The caller has stopped the download."""


@dataclass(frozen=True, slots=True)
class Connection:
    """The connection of a background task to the hub: it reports events, retries, and stops soon after `stop` is set.

    The task fails after `attempts` failures in a row without a byte between them.
    """

    report: Callable[[PipelineEvent], None]
    stop: threading.Event = field(default_factory=threading.Event)
    attempts: int = ATTEMPTS

    def hashed(self, count: int) -> None:
        """Report that `count` bytes of a local file were hashed. Raises Stopped."""
        self.report(Hashed(count))
        if self.stop.is_set():
            raise Stopped

    def call(self, request: Callable[[], _Result]) -> _Result:
        """Call `request`, again while it raises TransientError. Raises NetworkError, Stopped."""
        failures = 0
        while True:
            try:
                return request()
            except TransientError as exc:
                failures += 1
                self.back_off(exc, failures)

    def back_off(self, exc: TransientError, failures: int) -> None:
        """Wait as long as the hub asks for, else longer each time. Raises NetworkError to give up, Stopped."""
        if failures >= self.attempts:
            raise NetworkError(f"{exc.after(failures)}; run it again to resume") from exc
        if exc.retry_after is not None and exc.retry_after > _MAX_RETRY_AFTER_S:
            seconds = f"{exc.retry_after:,.0f} seconds"
            raise NetworkError(f"{exc} and asks for {seconds}; run it again after that to resume") from exc
        delay = min(_MAX_WAIT_S, 2.0 ** (failures - 1)) if exc.retry_after is None else exc.retry_after
        self.report(Waiting(delay, str(exc)))
        if self.stop.wait(delay):
            raise Stopped


def run_in_thread(
    task: Callable[[Connection], _Result], attempts: int = ATTEMPTS
) -> Generator[PipelineEvent, None, _Result]:
    """Run `task` in a thread and yield its events as they happen; returns or raises what it does."""
    events: queue.SimpleQueue[PipelineEvent | None] = queue.SimpleQueue()  # None: the task has ended
    connection, outcome = Connection(events.put, attempts=attempts), Future[_Result]()

    def run() -> None:
        try:
            outcome.set_result(task(connection))
        except BaseException as exc:
            outcome.set_exception(exc)
        events.put(None)

    thread = threading.Thread(target=run, daemon=True, name="fetching")
    thread.start()
    try:
        while (event := _next(events)) is not None:
            yield event
    finally:
        connection.stop.set()
        if not outcome.done():
            hub.stop_transfers()
        thread.join(_JOIN_S)  # a thread that hangs in a socket ends with the process
    return outcome.result()


def _next(events: queue.SimpleQueue[PipelineEvent | None]) -> PipelineEvent | None:
    """Wait for the next event; with a timeout, because Windows lets Ctrl-C interrupt no other wait."""
    while True:
        with suppress(queue.Empty):
            return events.get(timeout=_POLL_S)


def fetch(repository: Repository, file: RemoteFile, target: Path, connection: Connection) -> None:
    """Download the complete file to `target`, whose folder exists.

    Raises NetworkError when the hub cannot be reached, refuses, or sends bytes that do not have the digest it lists;
    NotEnoughSpace; R1Error when the disk fails; Stopped.
    """
    fetches_left, xet = _MAX_FETCHES, True
    while fetches_left:
        with _PartialFile(partial_of(target), file) as partial:
            partial.resume(connection.hashed)
            # If an earlier run left most of the file, that part may be the damaged one: such an attempt does not count.
            fetches_left -= 2 * partial.size <= file.size
            connection.report(Fetching(file.name, file.size, partial.size))
            fetch_range(repository, file, partial.size, file.size, partial.append, connection, xet=xet)
            digest = partial.digest
            if digest == file.digest:
                partial.rename(target)
                return
            partial.remove()
        xet = False  # Xet may have sent the wrong bytes
        reason = f"it arrived with the digest {digest[:12]}…, but the hub lists {file.digest[:12]}…"
        connection.report(Rejected(file.name, file.size, reason))
    raise NotAsListed(
        f"{repository.name}/{file.name}: {reason}, {_MAX_FETCHES} times, so it was discarded; try again later, or from "
        "another network"
    )


def fetch_prefix(repository: Repository, file: RemoteFile, path: Path, count: int, connection: Connection) -> None:
    """Download at least the first `count` bytes of the file to `path`. They are not verified.

    Raises what `fetch` raises.
    """
    with _PartialFile(path, file) as partial:
        partial.resume(connection.hashed)
        fetch_range(repository, file, partial.size, min(count, file.size), partial.append, connection)


def fetch_range(  # noqa: PLR0913
    repository: Repository,
    file: RemoteFile,
    start: int,
    end: int,
    put: Callable[[memoryview], None],
    connection: Connection,
    *,
    xet: bool = True,
) -> None:
    """Pass the bytes from `start` up to `end` to `put`, in order. Raises what `fetch` raises."""
    at, failures, xet = start, 0, xet and end == file.size
    while at < end:
        before = at
        try:
            with hub.open_body(repository, file, at, end, xet=xet) as body, _Tally(file.name, connection) as tally:
                for chunk in _chunks_between(body, at, end, connection):
                    put(chunk)
                    at += len(chunk)
                    tally.add(len(chunk))
        except XetFailed as exc:
            xet = False
            connection.report(Noted(f"{exc}; using plain HTTP"))
        except TransientError as exc:
            failures = failures + 1 if at == before else 1
            xet = xet and at > before  # hf_xet may end a stream without an error
            connection.back_off(exc, failures)


def partial_of(target: Path) -> Path:
    """The path of `target` while it is being downloaded."""
    return target.with_name(target.name + ".partial")


class _Tally:
    """Adds up small chunks and reports them together every `_POLL_S`. Use it as a context manager."""

    def __init__(self, name: str, connection: Connection) -> None:
        self._name = name
        self._connection = connection
        self._unreported, self._last_report = 0, time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._report()

    def add(self, count: int) -> None:
        self._unreported += count
        if time.monotonic() - self._last_report > _POLL_S:
            self._report()

    def _report(self) -> None:
        if self._unreported:
            self._connection.report(Fetched(self._name, self._unreported))
        self._unreported, self._last_report = 0, time.monotonic()


def _chunks_between(body: hub.Body, start: int, end: int, connection: Connection) -> Iterator[memoryview]:
    """The bytes of a body from `start` up to `end`, even if the hub ignores ranges or sends too much.

    Raises TransientError when the body ends before `end`.
    """
    at = body.start
    for chunk in body.chunks:
        if connection.stop.is_set():
            raise Stopped
        part = memoryview(chunk)[max(0, start - at) : max(0, end - at)]
        at += len(chunk)
        if part:
            yield part
        elif at <= start:
            connection.report(Fetched(None, len(chunk)))
        if at >= end:
            return
    raise TransientError("the connection ended early")


class _PartialFile:
    """A file that is appended to, and the digest of its contents. Use it as a context manager."""

    def __init__(self, path: Path, file: RemoteFile) -> None:
        """Open or create it. Raises R1Error."""
        self.path = path
        self.size = 0  # bytes read or written so far
        self._remote = file
        self._hash = file.hasher()
        with self._disk_errors():
            flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
            self._file = os.fdopen(os.open(path, flags, 0o666), "r+b", buffering=0)
            if os.fstat(self._file.fileno()).st_size > file.size:
                self._file.truncate(0)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(OSError):
            self._file.close()

    @property
    def digest(self) -> str:
        return self._hash.hexdigest()

    def resume(self, hashed: Callable[[int], None]) -> None:
        """Hash the bytes that an earlier run left; `hashed` gets their counts. Raises R1Error."""
        while True:
            with self._disk_errors():
                piece = self._file.read(_READ_BYTES)
            if not piece:
                return
            self._hash.update(piece)
            self.size += len(piece)
            hashed(len(piece))

    def append(self, piece: memoryview) -> None:
        """Raises NotEnoughSpace, R1Error."""
        with self._disk_errors():
            rest = piece
            while rest:
                count = self._file.write(rest)
                self._hash.update(rest[:count])
                self.size += count
                rest = rest[count:]

    def rename(self, target: Path) -> None:
        """Flush it to the disk, then rename it: under its final name it is complete even after a power cut."""
        with self._disk_errors():
            os.fsync(self._file.fileno())
            self._file.close()
            self.path.replace(target)

    def remove(self) -> None:
        with self._disk_errors():
            self._file.close()
            self.path.unlink()

    @contextmanager
    def _disk_errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as exc:
            raise disk_error(self.path, exc, self._remote.size - self.size) from exc
