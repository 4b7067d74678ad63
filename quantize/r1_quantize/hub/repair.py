"""A damaged model in the store → the one it was, of as few bytes from the hub as that takes.

What was made of a checkpoint is made again where its tensors are not what the manifest says, of the shards they lie in;
of what was fetched as it is only the damaged pieces are fetched.

Knows: what of a file is damaged. Does not know: how anything is fetched (`download`) or made (`pull`).
"""

from __future__ import annotations

import os
import time
from collections.abc import Generator, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import BinaryIO

from r1_quantize.errors import BadFile, NetworkError, UsageError
from r1_quantize.events import Examined, Finished, PipelineEvent
from r1_quantize.files import failed
from r1_quantize.gguf import reader
from r1_quantize.gguf.reader import GGUFFile
from r1_quantize.gguf.split import part_names
from r1_quantize.hub import hub, staging
from r1_quantize.hub.download import Line, attended, fetch_range
from r1_quantize.hub.headers import gguf_parts
from r1_quantize.hub.hub import RevisionGone
from r1_quantize.hub.pull import Pulling, PullOptions
from r1_quantize.hub.repository import RemoteFile, Repository
from r1_quantize.hub.request import request_again, resolved
from r1_quantize.store.manifest import Manifest
from r1_quantize.store.store import Store, StoredModel
from r1_quantize.verify import checksums

_Range = tuple[int, int]


def repair(store: Store, model: StoredModel, threads: int | None = None) -> Generator[PipelineEvent, None, None]:
    """Raises UsageError when nobody knows how it was made, and what `pull.pull` raises."""
    manifest = model.manifest
    if model.quant is None or manifest is None:
        raise UsageError(f"{model.reference} has no manifest, so nobody knows what it should be; get it again")
    request = request_again(model.name, model.quant, manifest, store.catalogue)
    if request is None or manifest.imatrix_sha256:
        raise UsageError(f"{model.reference} was made of {manifest.source} on this machine; make it again: r1 quantize")
    repository = yield from _repository(store, model, manifest)
    pulling = Pulling(store, resolved(request, repository), repository, PullOptions(threads=threads), manifest)
    if request.file and len(part_names(request.file)) == 1:
        yield from _mend(pulling, repository.weights([str(pulling.request.file)])[0], manifest)
    else:
        yield from pulling.run()


def _repository(store: Store, model: StoredModel, manifest: Manifest) -> Generator[PipelineEvent, None, Repository]:
    """At the commit the model was made of."""
    for found in staging.recorded(store, manifest.source):
        if found.commit == manifest.revision:
            return found
    try:
        return (yield from attended(lambda line: line.ask(lambda: hub.look_up(manifest.source, manifest.revision))))
    except RevisionGone as exc:
        anew = f"r1 rm {model.reference}, then r1 pull gets the newest one"
        raise NetworkError(f"the hub no longer has the commit {model.reference} was made of; {anew}") from exc


def _mend(pulling: Pulling, remote: RemoteFile, manifest: Manifest) -> Generator[PipelineEvent, None, None]:
    """A file that was fetched as it is, in its place."""
    started = time.monotonic()
    target = pulling.target
    with ExitStack() as held:
        yield from pulling.hold(held)
        folder = pulling.folder(held)
        (part,) = yield from attended(partial(gguf_parts, pulling.repository, [remote.name], folder))
        header = part.header.read_bytes()
        found = reader.read_file(part.at(target))
        try:
            file = held.enter_context(target.open("r+b", buffering=0))
            if target.stat().st_size > remote.size:
                file.truncate(remote.size)  # a shorter one gets its size with its last piece, to not look whole before
            file.write(header[: found.data_offset])
        except OSError as exc:
            raise failed(target, exc) from exc
        damaged = []
        for tensor, crc in checksums(found):
            yield Examined(tensor.nbytes)
            if crc != manifest.tensor_crc32.get(tensor.name):
                damaged.append((tensor.offset, tensor.offset + tensor.nbytes))
        yield from attended(partial(_fetch, pulling.repository, remote, damaged, file))
        if not remote.is_at(target):
            yield from attended(partial(_fetch, pulling.repository, remote, list(_between(found)), file))
            if not remote.is_at(target):
                staging.tidy(folder, [part], keep=False)  # its beginning may be what is wrong
                raise BadFile(f"{target} is still not what it was; check the disk, or remove it and pull it again")
        staging.tidy(folder, [part], keep=False)
    yield Finished(target, remote.size, time.monotonic() - started)


def _fetch(repository: Repository, remote: RemoteFile, ranges: list[_Range], file: BinaryIO, line: Line) -> None:
    """These pieces of a file, into their places."""
    for start, end in ranges:
        file.seek(start)
        fetch_range(repository, remote, start, end, partial(_put, file), line)
    os.fsync(file.fileno())


def _put(file: BinaryIO, piece: memoryview) -> None:
    try:
        while piece:
            piece = piece[file.write(piece) :]
    except OSError as exc:
        raise failed(Path(file.name), exc) from exc


def _between(found: GGUFFile) -> Iterator[_Range]:
    """Where no tensor lies: the header, which nobody has checked, and the padding after each."""
    starts = [found.data_offset, *(tensor.offset for tensor in found.tensors), found.size]
    ends = [0, found.data_offset, *(tensor.offset + tensor.nbytes for tensor in found.tensors)]
    for end, start in zip(ends, starts, strict=True):
        if end < start:
            yield end, start
