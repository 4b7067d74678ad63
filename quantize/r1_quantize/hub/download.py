"""One file from the hub to this disk: taken up where it was left, and only called whole when its digest is the hub's.

What has come so far is NAME.partial; it is only ever appended to.

Knows: how often one tries and how long one waits, when a file is whole. Does not know: the hub's protocol (`hub`), or
what a file is for.
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
from r1_quantize.events import Examined, Fetched, Fetching, Noted, PipelineEvent, Rejected, Waiting
from r1_quantize.files import failed
from r1_quantize.hub import hub
from r1_quantize.hub.hub import NotAsListed, TryAgain, XetFailed
from r1_quantize.hub.repository import RemoteFile, Repository

_PATIENCE, _LONGEST_WAIT, _LONGEST_ASKED = 8, 60.0, 900.0  # failures in a row, seconds, seconds
_TIMES_FETCHED = 2  # a file whose digest is wrong is fetched once more
_READ = 1 << 20  # bytes
_GLANCE = 0.1  # seconds without news after which whoever waits looks up
_GOODBYE = 1.0  # seconds that a thread is given to notice that nobody wants anything any more

_Result = TypeVar("_Result")


class Stopped(Exception):
    """Whoever wanted the bytes no longer does."""


@dataclass(frozen=True, slots=True)
class Line:
    """The line to the hub: what happens on it goes to `report`; `stop` ends what goes on soon after it is set.

    After `patience` failures in a row, with not a byte between them, it is given up.
    """

    report: Callable[[PipelineEvent], None]
    stop: threading.Event = field(default_factory=threading.Event)
    patience: int = _PATIENCE

    def examined(self, count: int) -> None:
        """So many bytes of what is here were looked at. Raises Stopped."""
        self.report(Examined(count))
        if self.stop.is_set():
            raise Stopped

    def ask(self, question: Callable[[], _Result]) -> _Result:
        """What `question` returns, asked again while it raises TryAgain. Raises NetworkError, Stopped."""
        failures = 0
        while True:
            try:
                return question()
            except TryAgain as exc:
                failures += 1
                self.wait(exc, failures)

    def wait(self, exc: TryAgain, failures: int) -> None:
        """As long as the hub asks for, or else longer each time. Raises NetworkError when it is no use, Stopped."""
        if failures >= self.patience:
            times = f", {failures} times in a row" if failures > 1 else ""
            raise NetworkError(f"{exc}{times}; running it again resumes") from exc
        if exc.wait is not None and exc.wait > _LONGEST_ASKED:
            raise NetworkError(f"{exc} and asks for {exc.wait:,.0f} seconds; running it again then resumes") from exc
        seconds = min(_LONGEST_WAIT, 2.0 ** (failures - 1)) if exc.wait is None else exc.wait
        self.report(Waiting(seconds, str(exc)))
        if self.stop.wait(seconds):
            raise Stopped


def attended(errand: Callable[[Line], _Result], patience: int = _PATIENCE) -> Generator[PipelineEvent, None, _Result]:
    """What `errand` returns or raises, which has a thread of its own; its events come as they happen."""
    news: queue.SimpleQueue[PipelineEvent] = queue.SimpleQueue()
    line, outcome = Line(news.put, patience=patience), Future[_Result]()

    def run() -> None:
        try:
            outcome.set_result(errand(line))
        except BaseException as exc:
            outcome.set_exception(exc)

    thread = threading.Thread(target=run, daemon=True, name="fetching")
    thread.start()
    try:
        while not (outcome.done() and news.empty()):
            with suppress(queue.Empty):
                yield news.get(timeout=_GLANCE)
    finally:
        line.stop.set()
        if not outcome.done():
            hub.stop_transfers()
        thread.join(_GOODBYE)  # one that is stuck in a connection ends with the process
    return outcome.result()


def fetch(repository: Repository, file: RemoteFile, target: Path, line: Line) -> None:
    """Make `target`, whose folder exists, the whole file.

    Raises NetworkError when the hub cannot be reached, refuses, or sends what does not have the digest it says;
    NotEnoughRoom; R1Error when the disk fails; Stopped.
    """
    tries, xet = _TIMES_FETCHED, True
    while tries:
        with _Growing(partial_of(target), file) as growing:
            growing.take_up(line.examined)
            tries -= 2 * growing.at <= file.size  # else what an earlier run left may be what is wrong
            line.report(Fetching(file.name, file.size, growing.at))
            fetch_range(repository, file, growing.at, file.size, growing.append, line, xet=xet)
            found = growing.digest
            if found == file.digest:
                growing.rename(target)
                return
            growing.remove()
        xet = False  # it may have handed out what is wrong
        reason = f"it came with the digest {found[:12]}…, and the hub says {file.digest[:12]}…"
        line.report(Rejected(file.name, file.size, reason))
    raise NotAsListed(
        f"{repository.name}/{file.name}: {reason}, {_TIMES_FETCHED} times; nothing of it was used. Try again later, or "
        "from another network"
    )


def fetch_beginning(repository: Repository, file: RemoteFile, path: Path, count: int, line: Line) -> None:
    """Make `path` the first `count` bytes of the file, or more if it has more already; nobody checks them.

    Raises what `fetch` raises.
    """
    with _Growing(path, file) as growing:
        growing.take_up(line.examined)
        fetch_range(repository, file, growing.at, min(count, file.size), growing.append, line)


def fetch_range(  # noqa: PLR0913
    repository: Repository,
    file: RemoteFile,
    start: int,
    end: int,
    put: Callable[[memoryview], None],
    line: Line,
    *,
    xet: bool = True,
) -> None:
    """Hand the bytes from `start` up to `end` to `put`, in order. Raises what `fetch` raises."""
    at, failures, xet = start, 0, xet and end == file.size
    while at < end:
        before = at
        try:
            with hub.open_body(repository, file, at, end, xet=xet) as body, _Tally(file.name, line) as tally:
                for piece in _wanted(body, at, end, line):
                    put(piece)
                    at += len(piece)
                    tally.add(len(piece))
        except XetFailed as exc:
            xet = False
            line.report(Noted(f"{exc}; taking the plain way"))
        except TryAgain as exc:
            failures = failures + 1 if at == before else 1
            xet = xet and at > before  # hf_xet may end in silence
            line.wait(exc, failures)


def partial_of(target: Path) -> Path:
    """Where `target` is while it is on its way."""
    return target.with_name(target.name + ".partial")


class _Tally:
    """Bytes come in small pieces; they are told together, every now and then. Use it as a context manager."""

    def __init__(self, name: str, line: Line) -> None:
        self._name = name
        self._line = line
        self._untold, self._told = 0, time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._tell()

    def add(self, count: int) -> None:
        self._untold += count
        if time.monotonic() - self._told > _GLANCE:
            self._tell()

    def _tell(self) -> None:
        if self._untold:
            self._line.report(Fetched(self._name, self._untold))
        self._untold, self._told = 0, time.monotonic()


def _wanted(body: hub.Body, start: int, end: int, line: Line) -> Iterator[memoryview]:
    """The bytes of a body from `start` up to `end`, whatever else a hub without ranges, or a wrong one, sends.

    Raises TryAgain when they are not all there.
    """
    at = body.start
    for piece in body.pieces:
        if line.stop.is_set():
            raise Stopped
        wanted = memoryview(piece)[max(0, start - at) : max(0, end - at)]
        at += len(piece)
        if wanted:
            yield wanted
        elif at <= start:
            line.report(Fetched(None, len(piece)))
        if at >= end:
            return
    raise TryAgain("the connection ended early")


class _Growing:
    """A file that is appended to, and the digest of what it holds. Use it as a context manager."""

    def __init__(self, path: Path, file: RemoteFile) -> None:
        """Raises R1Error."""
        self.path = path
        self.at = 0
        self._remote = file
        self._hash = file.hasher()
        with self._failing():
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

    def take_up(self, examined: Callable[[int], None]) -> None:
        """What is there already; `examined` hears of its bytes. Raises R1Error."""
        while True:
            with self._failing():
                piece = self._file.read(_READ)
            if not piece:
                return
            self._hash.update(piece)
            self.at += len(piece)
            examined(len(piece))

    def append(self, piece: memoryview) -> None:
        """Raises NotEnoughRoom, R1Error."""
        with self._failing():
            rest = piece
            while rest:
                count = self._file.write(rest)
                self._hash.update(rest[:count])
                self.at += count
                rest = rest[count:]

    def rename(self, target: Path) -> None:
        """What has its name is on the disk, so that it is still whole after a power cut."""
        with self._failing():
            os.fsync(self._file.fileno())
            self._file.close()
            self.path.replace(target)

    def remove(self) -> None:
        with self._failing():
            self._file.close()
            self.path.unlink()

    @contextmanager
    def _failing(self) -> Iterator[None]:
        try:
            yield
        except OSError as exc:
            raise failed(self.path, exc, self._remote.size - self.at) from exc
