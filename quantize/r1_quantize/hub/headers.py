"""The small files of a repository, and the beginnings of its large ones: enough to know all that will be made of them.

What is fetched of a large file is the first part of its download, and not fetched again.

Knows: how long a header can be. Does not know: what is in the tensors, or where the rest of a file is kept.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from r1_quantize.checkpoint import safetensors
from r1_quantize.checkpoint.checkpoint import shard_names
from r1_quantize.errors import BadFile
from r1_quantize.files import SourceFile, failed, remove
from r1_quantize.gguf import reader
from r1_quantize.gguf.reader import CutShort
from r1_quantize.hub import hub
from r1_quantize.hub.download import Line, fetch, fetch_beginning, partial_of
from r1_quantize.hub.repository import RemoteFile, Repository
from r1_quantize.hub.shards import Shard

_SHARD, _GGUF = 1 << 17, 1 << 22  # bytes that are looked at first
_MOST = 1 << 28  # bytes, more than any header takes


def checkpoint_shards(
    repository: Repository, folder: Path, line: Line, but_not_cached: Collection[str] = ()
) -> list[Shard]:
    """The shards of a checkpoint; its small files are in `folder` afterwards, and what each shard begins with.

    Those named in `but_not_cached` are not taken from the Hugging Face cache. Raises what `download.fetch` raises, and
    BadCheckpoint.
    """
    for file in repository.description():
        _have(repository, file, folder / file.name, line)
    begin = _Beginning(repository, folder, line, _SHARD, _enough_of_a_shard)
    shards = repository.weights(shard_names(folder, repository.files))
    return [begin.of(file, from_cache=file.name not in but_not_cached) for file in shards]


def gguf_parts(
    repository: Repository, names: Sequence[str], folder: Path, line: Line, but_not_cached: Collection[str] = ()
) -> list[Shard]:
    """The parts of a GGUF, and what each begins with. Raises what `download.fetch` raises, and BadFile."""
    begin = _Beginning(repository, folder, line, _GGUF, _enough_of_a_gguf)
    return [begin.of(file, from_cache=file.name not in but_not_cached) for file in repository.weights(names)]


def damaged_in_cache(shards: Iterable[Shard], line: Line) -> list[str]:
    """The names of those that the Hugging Face cache has, and not as the hub says they are."""
    return [
        shard.remote.name for shard in shards if shard.cached and not shard.remote.is_at(shard.cached, line.examined)
    ]


def _have(repository: Repository, file: RemoteFile, target: Path, line: Line) -> None:
    """A small file at `target`, from the cache if that has it."""
    if file.is_at(target):
        return
    remove(target)
    cached = hub.cached_file(repository, file)
    if cached and file.is_at(cached):
        try:
            shutil.copyfile(cached, target)
        except OSError as exc:
            raise failed(target, exc) from exc
    else:
        fetch(repository, file, target, line)


@dataclass(frozen=True, slots=True)
class _Beginning:
    """How the beginnings of files are had: `first` bytes are looked at first, then as many as are `enough`.

    `enough` is where the header ends, or how much more is to be looked at to know it.
    """

    repository: Repository
    folder: Path
    line: Line
    first: int
    enough: Callable[[SourceFile, int], int]

    def of(self, file: RemoteFile, *, from_cache: bool, again: bool = False) -> Shard:
        """A large file, whose header is here afterwards; what makes no sense is fetched once more."""
        own = self.folder / file.name.rpartition("/")[2]
        if own.exists() and own.stat().st_size != file.size:
            remove(own)
        cached = hub.cached_file(self.repository, file) if from_cache else None
        shard = Shard(file, own.with_name(own.name + ".header"), cached)
        if shard.header.exists():
            return shard
        here = cached or (own if own.exists() else None)
        try:
            self._copy(file, here, own, shard.header)
        except BadFile:
            if here and file.is_at(here, self.line.examined):
                raise  # it is what the hub has
            remove(own if here == own else partial_of(own))  # nobody has checked it
            if again:
                raise
            return self.of(file, from_cache=False, again=True)
        return shard

    def _copy(self, file: RemoteFile, here: Path | None, own: Path, header: Path) -> None:
        """As much as is enough; it gets the header's name only when all of it is here."""
        count, looked_at, new = self.first, 0, header.with_name(header.name + ".new")
        while looked_at < (count := min(count, file.size)):
            if here is None:
                fetch_beginning(self.repository, file, partial_of(own), count, self.line)
            _copy_beginning(here or partial_of(own), new, count)
            looked_at = count
            count = self.enough(SourceFile(own, file.size, None, file.sha256, new), count)
        try:
            os.truncate(new, count)  # what follows is looked at when all of the file is here
            new.replace(header)
        except OSError as exc:
            raise failed(header, exc) from exc


def forget(shards: Iterable[Shard], folder: Path) -> None:
    """Of what nothing could be planned with, the next run fetches the beginnings anew: nobody has checked them."""
    for shard in shards:
        with suppress(OSError):
            partial_of(folder / shard.name).unlink(missing_ok=True)
            shard.header.unlink(missing_ok=True)


def _copy_beginning(path: Path, new: Path, count: int) -> None:
    try:
        with path.open("rb") as file:
            beginning = file.read(count)
        new.write_bytes(beginning)
    except OSError as exc:
        raise failed(new, exc) from exc


def _enough_of_a_shard(file: SourceFile, _count: int) -> int:
    with file.beginning() as (beginning, _):
        return safetensors.header_end(beginning.read(8), file.size)


def _enough_of_a_gguf(file: SourceFile, count: int) -> int:
    try:
        return reader.read_file(file).data_offset
    except CutShort:
        if count >= _MOST:
            raise
        return 4 * count
