"""Download the small files of a repository, and the headers of its large ones: enough to plan the conversion.

The bytes downloaded from a large file are kept as the first part of its download.
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
from r1_quantize.files import SourceFile, disk_error, remove_file
from r1_quantize.gguf import reader
from r1_quantize.gguf.reader import TruncatedGGUF
from r1_quantize.hub import hub
from r1_quantize.hub.download import Connection, fetch, fetch_prefix, partial_of
from r1_quantize.hub.repository import RemoteFile, Repository
from r1_quantize.hub.shards import Shard

_SAFETENSORS_PREFIX_BYTES, _GGUF_PREFIX_BYTES = 1 << 17, 1 << 22  # read first; more if the header is longer
_MAX_GGUF_HEADER_BYTES = 1 << 28


def checkpoint_shards(
    repository: Repository, folder: Path, connection: Connection, skip_cache: Collection[str] = ()
) -> list[Shard]:
    """Download a checkpoint's small files and the headers of its shards into `folder`; returns the shards.

    Shards named in `skip_cache` are not taken from the Hugging Face cache. Raises what `download.fetch` raises, and
    BadCheckpoint.
    """
    for file in repository.config_files():
        _fetch_small_file(repository, file, folder / file.name, connection)
    headers = _HeaderFetcher(repository, folder, connection, _SAFETENSORS_PREFIX_BYTES, _safetensors_header_end)
    shards = repository.weights(shard_names(folder, repository.files))
    return [headers.fetch(file, use_cache=file.name not in skip_cache) for file in shards]


def gguf_parts(
    repository: Repository,
    names: Sequence[str],
    folder: Path,
    connection: Connection,
    skip_cache: Collection[str] = (),
) -> list[Shard]:
    """Download the headers of a GGUF's parts into `folder`. Raises what `download.fetch` raises, and BadFile."""
    headers = _HeaderFetcher(repository, folder, connection, _GGUF_PREFIX_BYTES, _gguf_header_end)
    return [headers.fetch(file, use_cache=file.name not in skip_cache) for file in repository.weights(names)]


def damaged_in_cache(shards: Iterable[Shard], connection: Connection) -> list[str]:
    """The names of the shards whose copy in the Hugging Face cache does not have the hub's digest."""
    return [
        shard.remote.name
        for shard in shards
        if shard.cached and not shard.remote.matches(shard.cached, connection.hashed)
    ]


def discard_headers(shards: Iterable[Shard], folder: Path) -> None:
    """Delete invalid headers, which could not be verified, so that they are downloaded again."""
    for shard in shards:
        with suppress(OSError):
            partial_of(folder / shard.name).unlink(missing_ok=True)
            shard.header.unlink(missing_ok=True)


def _fetch_small_file(repository: Repository, file: RemoteFile, target: Path, connection: Connection) -> None:
    """Put a small file at `target`, from the Hugging Face cache if that has it undamaged."""
    if file.matches(target):
        return
    remove_file(target)
    cached = hub.cached_file(repository, file)
    if cached and file.matches(cached):
        try:
            shutil.copyfile(cached, target)
        except OSError as exc:
            raise disk_error(target, exc) from exc
    else:
        fetch(repository, file, target, connection)


@dataclass(frozen=True, slots=True)
class _HeaderFetcher:
    """Downloads the headers of large files: `prefix` bytes first, then more until the header is complete.

    `header_end` returns where the header ends, or how many bytes to read next to find that out.
    """

    repository: Repository
    folder: Path
    connection: Connection
    prefix: int
    header_end: Callable[[SourceFile, int], int]

    def fetch(self, file: RemoteFile, *, use_cache: bool, is_retry: bool = False) -> Shard:
        """The shard of a large file, with its header on this disk. An invalid header is fetched once more.

        Raises BadFile when it is still invalid, or when the file has the digest that the hub lists.
        """
        local = self.folder / file.name.rpartition("/")[2]
        if local.exists() and local.stat().st_size != file.size:
            remove_file(local)
        cached = hub.cached_file(self.repository, file) if use_cache else None
        shard = Shard(file, local.with_name(local.name + ".header"), cached)
        if shard.header.exists():
            return shard
        source = cached or (local if local.exists() else None)
        try:
            self._write_header(file, source, local, shard.header)
        except BadFile:
            if source and file.matches(source, self.connection.hashed):
                raise  # the file on the hub is the same
            remove_file(local if source == local else partial_of(local))
            if is_retry:
                raise
            return self.fetch(file, use_cache=False, is_retry=True)
        return shard

    def _write_header(self, file: RemoteFile, source: Path | None, local: Path, header: Path) -> None:
        """Copy the header from `source`, or from the download of `local`. The file gets its name when complete."""
        count, read, new = self.prefix, 0, header.with_name(header.name + ".new")
        while read < (count := min(count, file.size)):
            if source is None:
                fetch_prefix(self.repository, file, partial_of(local), count, self.connection)
            _copy_prefix(source or partial_of(local), new, count)
            read = count
            count = self.header_end(SourceFile(local, file.size, sha256=file.sha256, header=new), count)
        try:
            os.truncate(new, count)  # the rest is read once the file is complete
            new.replace(header)
        except OSError as exc:
            raise disk_error(header, exc) from exc


def _copy_prefix(path: Path, new: Path, count: int) -> None:
    try:
        with path.open("rb") as file:
            prefix = file.read(count)
        new.write_bytes(prefix)
    except OSError as exc:
        raise disk_error(new, exc) from exc


def _safetensors_header_end(file: SourceFile, _count: int) -> int:
    with file.open_header() as (header, _):
        return safetensors.header_end(header.read(8), file.size)


def _gguf_header_end(file: SourceFile, count: int) -> int:
    try:
        return reader.read_file(file).data_offset
    except TruncatedGGUF:
        if count >= _MAX_GGUF_HEADER_BYTES:
            raise
        return 4 * count
