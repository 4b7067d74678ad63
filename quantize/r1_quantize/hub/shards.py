"""Download the large files of a repository ahead of their use, and delete each when it has been read.

A thread downloads ahead, as many shards as may be on the disk at once. A shard in the Hugging Face cache is read there
and left alone; one that an earlier run left is not downloaded again.
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
from r1_quantize.hub.download import Connection, Stopped, fetch, partial_of
from r1_quantize.hub.repository import RemoteFile, Repository
from r1_quantize.journal import FileRecord

_MAX_PREFIX_BYTES = 1 << 22  # downloaded of a file only to read its header
_POLL_S = 0.2
_JOIN_S = 1.0  # for a cancelled thread to notice


@dataclass(frozen=True, slots=True)
class Shard:
    """A large file of a repository. `header` is a file with its header.

    `cached` is a file of that name and size in the Hugging Face cache.
    """

    remote: RemoteFile
    header: Path
    cached: Path | None = None

    @property
    def name(self) -> str:
        """Its name in the staging folder, which has no subfolders."""
        return self.remote.name.rpartition("/")[2]

    def at(self, path: Path) -> SourceFile:
        """The source file that is or will be at `path`."""
        return SourceFile(path, self.remote.size, sha256=self.remote.sha256, header=self.header)


class ShardProvider:
    """A `file_provider.FileProvider` that downloads. Use it as a context manager.

    Set `shards_at_once`, how many shards may be in `folder` unless all are kept, before calling `start`.
    """

    def __init__(self, repository: Repository, folder: Path, shards: Sequence[Shard], *, keep: bool) -> None:
        self.keep = keep
        self.shards_at_once = 1
        self._repository = repository
        self._folder = folder
        self._shards = {shard.name: shard for shard in shards}
        self._cached = {name: shard.cached for name, shard in self._shards.items() if shard.cached}
        self._slots = threading.Semaphore(0)  # for shards on the disk
        self._in_slot: set[str] = set()
        self._events: queue.SimpleQueue[PipelineEvent | Exception] = queue.SimpleQueue()
        self._stop = threading.Event()
        self._connection = Connection(self._events.put, self._stop)
        self._threads: list[threading.Thread] = []
        self._arrived: set[str] = set()
        self._rejected: set[str] = set()
        self._failure: Exception | None = None

    def __enter__(self) -> ShardProvider:
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        hub.stop_transfers()
        for thread in self._threads:
            thread.join(_JOIN_S)  # a thread that hangs in a socket ends with the process

    @property
    def files(self) -> Mapping[str, SourceFile]:
        return {name: shard.at(self._local(name)) for name, shard in self._shards.items()}

    def start(self, wanted: Sequence[SourceFile]) -> Sequence[SourceFile]:
        """Complete files come first, then those with the most bytes on the disk."""
        self._slots = threading.Semaphore(len(self._shards) if self.keep else self.shards_at_once)
        order = sorted(wanted, key=lambda file: self._download_order(file.path.name))
        self._start_thread([file.path.name for file in order])
        return order

    def take(self, file: SourceFile) -> Generator[PipelineEvent, None, Path]:
        name = file.path.name
        while name not in self._arrived:
            if self._failure:
                raise self._failure
            yield from self._drain(wait=True)
        return self._path(name)

    def poll(self) -> Iterator[PipelineEvent]:
        return self._drain(wait=False)

    def release(self, file: SourceFile) -> None:
        name = file.path.name
        if not self.keep:
            self._local(name).unlink(missing_ok=True)
        if name in self._in_slot:
            self._in_slot.remove(name)
            self._slots.release()

    def reject(self, file: SourceFile) -> None:
        name = file.path.name
        if name in self._rejected:
            raise BadFile(f"{self._path(name)} changed on the disk a second time; check the disk")
        self._rejected.add(name)
        self._arrived.discard(name)
        if self._cached.pop(name, None) is None:
            self._local(name).unlink(missing_ok=True)
        self._start_thread([name], wait_for_slot=False)

    def fetch_missing(self) -> Iterator[PipelineEvent]:
        """For a checkpoint to keep: download the files that an earlier run deleted, unless the cache has them all.

        Raises R1Error when one cannot be downloaded.
        """
        if len(self._cached) == len(self._shards):
            return
        missing = [name for name in self._shards if not self._local(name).exists()]
        self._cached = {name: path for name, path in self._cached.items() if name not in missing}
        self._arrived -= set(missing)
        self._start_thread(missing, wait_for_slot=False)
        for name in missing:
            yield from self.take(self._shards[name].at(self._local(name)))

    def is_cached(self, name: str) -> bool:
        """Whether the Hugging Face cache has this shard."""
        return name in self._cached

    def file_plans(self, already_read: Mapping[str, FileRecord]) -> tuple[FilePlan, ...]:
        """The plan for each shard; `already_read` are the files that an earlier run has finished."""
        return tuple(
            FilePlan(name, shard.remote.size, self._bytes_done(shard, already_read.get(name)))
            for name, shard in self._shards.items()
        )

    def bytes_on_disk(self, name: str) -> int:
        """The bytes of a shard on this disk."""
        for path in (self._cached.get(name), self._local(name), partial_of(self._local(name))):
            if path and path.exists():
                return path.stat().st_size
        return 0

    def _start_thread(self, names: Sequence[str], *, wait_for_slot: bool = True) -> None:
        thread = threading.Thread(target=self._run, args=(names, wait_for_slot), daemon=True, name="fetching")
        self._threads.append(thread)
        thread.start()

    def _run(self, names: Sequence[str], wait_for_slot: bool) -> None:
        """The thread's function."""
        try:
            for name in names:
                self._provide(name, wait_for_slot=wait_for_slot)
        except Stopped:
            pass
        except Exception as exc:
            self._events.put(exc)

    def _provide(self, name: str, *, wait_for_slot: bool) -> None:
        """Find a shard in the cache or the folder, or download it. Raises what `download.fetch` raises."""
        file, cached = self._shards[name].remote, self._cached.get(name)
        if cached and not self._is_intact(file, cached):
            del self._cached[name]
            cached = None
        if cached is None:
            if wait_for_slot:
                self._take_slot(name)
            if not self._local(name).exists():
                fetch(self._repository, file, self._local(name), self._connection)
        self._check_header(name)
        self._events.put(Arrived(name, file.size))

    def _take_slot(self, name: str) -> None:
        """Wait until there may be another shard on the disk. Raises Stopped."""
        while not self._slots.acquire(timeout=_POLL_S):
            if self._stop.is_set():
                raise Stopped
        self._in_slot.add(name)

    def _check_header(self, name: str) -> None:
        """Compare the header used for planning, which could not be verified then, with that of the verified file."""
        header = self._shards[name].header
        with header.open("rb") as planned, self._path(name).open("rb") as file:
            same = planned.read() == file.read(header.stat().st_size)
        if not same:
            header.unlink()
            raise NetworkError(f"{self._repository.name}: the header of {name} arrived damaged; run it again")

    def _is_intact(self, file: RemoteFile, cached: Path) -> bool:
        if file.matches(cached, self._connection.hashed):
            return True
        self._events.put(Rejected(file.name, file.size, f"{cached} is damaged; it was not changed"))
        return False

    def _drain(self, *, wait: bool) -> Iterator[PipelineEvent]:
        """The events so far; with `wait`, if there are none, those of the next `_POLL_S`."""
        while True:
            try:
                event = self._events.get(block=wait, timeout=_POLL_S)
            except queue.Empty:
                return
            wait = False
            if isinstance(event, Exception):
                self._failure = event
            else:
                if isinstance(event, Arrived):
                    self._arrived.add(event.file)
                yield event

    def _bytes_done(self, shard: Shard, record: FileRecord | None) -> int:
        """The bytes of a shard that need no download; a prefix that was read for the header does not count."""
        if record and record.digest == shard.remote.sha256:
            return shard.remote.size
        on_disk = self.bytes_on_disk(shard.name)
        return on_disk if on_disk > _MAX_PREFIX_BYTES or on_disk == shard.remote.size else 0

    def _download_order(self, name: str) -> tuple[bool, int]:
        """The sort key of `start`."""
        on_disk = self.bytes_on_disk(name)
        return on_disk < self._shards[name].remote.size, -on_disk

    def _path(self, name: str) -> Path:
        return self._cached.get(name) or self._local(name)

    def _local(self, name: str) -> Path:
        return self._folder / name
