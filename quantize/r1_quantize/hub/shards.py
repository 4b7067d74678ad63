"""The large files of a repository, fetched while others are being quantized, and deleted when they are done with.

One thread goes ahead of whoever takes the files. It holds back when as many as allowed lie on the disk, and never
fetches what is here: in the Hugging Face cache, from where it is read and left alone, or left by an earlier run.

Knows: where a shard lies and when it may go. Does not know: how one is fetched (`download`), or what is in it.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from r1_quantize.errors import BadFile, NetworkError
from r1_quantize.events import Arrived, FilePlan, PipelineEvent, Rejected
from r1_quantize.files import SourceFile
from r1_quantize.hub import hub
from r1_quantize.hub.download import Line, Stopped, fetch, partial_of
from r1_quantize.hub.repository import RemoteFile, Repository
from r1_quantize.journal import FileRecord

_LOOK = 1 << 22  # bytes that are fetched of a file to see what it is
_GLANCE = 0.2  # seconds without news after which a waiting taker looks up
_GOODBYE = 1.0  # seconds that a thread is given to notice that nobody wants anything any more


@dataclass(frozen=True, slots=True)
class Shard:
    """A large file of a repository, whose beginning is at `header`.

    `cached` is where the Hugging Face cache has one of that name and size.
    """

    remote: RemoteFile
    header: Path
    cached: Path | None = None

    @property
    def name(self) -> str:
        """What it is called here, where all lie in one folder."""
        return self.remote.name.rpartition("/")[2]

    def at(self, path: Path) -> SourceFile:
        """It, as a file of a source that is or will be at `path`."""
        return SourceFile(path, self.remote.size, None, self.remote.sha256, self.header)


class Shards:
    """A `supply.Supply`. Use it as a context manager.

    `at_once` is how many shards may lie in `folder`, unless all are kept; it is known when the first is wanted.
    """

    def __init__(self, repository: Repository, folder: Path, shards: Sequence[Shard], *, keep: bool) -> None:
        self._repository = repository
        self._folder = folder
        self._shards = {shard.name: shard for shard in shards}
        self.keeps = keep
        self._cached = {name: shard.cached for name, shard in self._shards.items() if shard.cached}
        self.at_once = 1
        self._room = threading.Semaphore(0)
        self._news: queue.SimpleQueue[PipelineEvent | Exception] = queue.SimpleQueue()
        self._stop = threading.Event()
        self._line = Line(self._news.put, self._stop)
        self._threads: list[threading.Thread] = []
        self._taking_room: set[str] = set()  # of what `_room` counts
        self._arrived: set[str] = set()
        self._rejected: set[str] = set()
        self._failure: Exception | None = None

    def __enter__(self) -> Shards:
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        hub.stop_transfers()
        for thread in self._threads:
            thread.join(_GOODBYE)  # one that is stuck in a connection ends with the process

    @property
    def files(self) -> Mapping[str, SourceFile]:
        return {name: shard.at(self._own(name)) for name, shard in self._shards.items()}

    def start(self, wanted: Sequence[SourceFile]) -> Sequence[SourceFile]:
        """What is here comes first, then what is here in part."""
        self._room = threading.Semaphore(len(self._shards) if self.keeps else self.at_once)
        order = sorted(wanted, key=lambda file: self._still_to_come(file.path.name))
        self._bring([file.path.name for file in order])
        return order

    def take(self, file: SourceFile) -> Generator[PipelineEvent, None, Path]:
        name = file.path.name
        while name not in self._arrived:
            if self._failure:
                raise self._failure
            yield from self._heard(wait=True)
        return self._path(name)

    def news(self) -> Iterator[PipelineEvent]:
        return self._heard(wait=False)

    def release(self, file: SourceFile) -> None:
        name = file.path.name
        if not self.keeps:
            self._own(name).unlink(missing_ok=True)
        if name in self._taking_room:
            self._taking_room.remove(name)
            self._room.release()

    def reject(self, file: SourceFile) -> None:
        name = file.path.name
        if name in self._rejected:
            raise BadFile(f"{self._path(name)} is not what was fetched, for the second time; check the disk")
        self._rejected.add(name)
        self._arrived.discard(name)
        if self._cached.pop(name, None) is None:
            self._own(name).unlink(missing_ok=True)
        self._bring([name], wait_for_room=False)

    def _bring(self, names: Sequence[str], *, wait_for_room: bool = True) -> None:
        thread = threading.Thread(target=self._work, args=(names, wait_for_room), daemon=True, name="fetching")
        self._threads.append(thread)
        thread.start()

    def _work(self, names: Sequence[str], wait_for_room: bool) -> None:
        """What the thread does."""
        try:
            for name in names:
                self._make_available(name, wait_for_room=wait_for_room)
        except Stopped:
            pass
        except Exception as exc:
            self._news.put(exc)

    def _make_available(self, name: str, *, wait_for_room: bool) -> None:
        file, cached = self._shards[name].remote, self._cached.get(name)
        if cached and not self._is_intact(file, cached):
            del self._cached[name]
            cached = None
        if cached is None:
            while wait_for_room and not self._room.acquire(timeout=_GLANCE):
                if self._stop.is_set():
                    raise Stopped
            if wait_for_room:
                self._taking_room.add(name)
            if not self._own(name).exists():
                fetch(self._repository, file, self._own(name), self._line)
        self._check_header(name)
        self._news.put(Arrived(name, file.size))

    def _check_header(self, name: str) -> None:
        """What was planned with is what the file begins with; nobody had checked it then."""
        header = self._shards[name].header
        with header.open("rb") as planned, self._path(name).open("rb") as file:
            same = planned.read() == file.read(header.stat().st_size)
        if not same:
            header.unlink()
            raise NetworkError(f"{self._repository.name}: the beginning of {name} came damaged; run it again")

    def _is_intact(self, file: RemoteFile, cached: Path) -> bool:
        if file.is_at(cached, self._line.examined):
            return True
        self._news.put(Rejected(file.name, file.size, f"{cached} is damaged, and left as it is"))
        return False

    def _heard(self, *, wait: bool) -> Iterator[PipelineEvent]:
        """The news there are; with `wait`, when there are none, those that come within a moment."""
        while True:
            try:
                found = self._news.get(block=wait, timeout=_GLANCE)
            except queue.Empty:
                return
            wait = False
            if isinstance(found, Exception):
                self._failure = found
            else:
                if isinstance(found, Arrived):
                    self._arrived.add(found.file)
                yield found

    def complete(self) -> Iterator[PipelineEvent]:
        """All files of a checkpoint that is kept, also those that an earlier run deleted; unless the cache has all.

        Raises R1Error when one cannot be had.
        """
        if len(self._cached) == len(self._shards):
            return
        missing = [name for name in self._shards if not self._own(name).exists()]
        self._cached = {name: path for name, path in self._cached.items() if name not in missing}
        self._arrived -= set(missing)
        self._bring(missing, wait_for_room=False)
        for name in missing:
            yield from self.take(self._shards[name].at(self._own(name)))

    def is_cached(self, name: str) -> bool:
        """Whether the Hugging Face cache has it."""
        return name in self._cached

    def file_plans(self, read: Mapping[str, FileRecord]) -> tuple[FilePlan, ...]:
        """What there is to be fetched, when an earlier run has read these files."""
        return tuple(
            FilePlan(name, shard.remote.size, self._fetched(shard, read.get(name)))
            for name, shard in self._shards.items()
        )

    def _fetched(self, shard: Shard, read: FileRecord | None) -> int:
        """How much of a shard is here or was, beyond what was looked at to see what it is."""
        if read and read.digest == shard.remote.sha256:
            return shard.remote.size
        here = self.here(shard.name)
        return here if here > _LOOK or here == shard.remote.size else 0

    def _still_to_come(self, name: str) -> tuple[bool, int]:
        """By which shards are sorted: those that are whole before all others, then those of which most is here."""
        here = self.here(name)
        return here < self._shards[name].remote.size, -here

    def here(self, name: str) -> int:
        """How many bytes of a shard are on this disk."""
        for path in (self._cached.get(name), self._own(name), partial_of(self._own(name))):
            if path and path.exists():
                return path.stat().st_size
        return 0

    def _path(self, name: str) -> Path:
        return self._cached.get(name) or self._own(name)

    def _own(self, name: str) -> Path:
        return self._folder / name
