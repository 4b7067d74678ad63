"""Reads a source's files and writes the converted tensors, resuming after an earlier run.

The files are read one after the other, front to back, each byte once: the bytes that are hashed for the manifest are
the bytes that are quantized. Each tensor is written to its place in the result as soon as it is read.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from r1_quantize.errors import BadFile, BadValue
from r1_quantize.events import Advanced, PipelineEvent, Rejected, Resumed, TensorDone
from r1_quantize.file_provider import FileProvider
from r1_quantize.files import Digest, HashedFile, SourceFile
from r1_quantize.ggml import Conversion, Piece, Quantizer
from r1_quantize.journal import FileRecord, JournalContent, TensorRecord
from r1_quantize.plan import ConversionPlan, PlannedTensor
from r1_quantize.source import Source
from r1_quantize.writer import PartialGGUF


class SourceChanged(Exception):
    """A source file is no longer the one from which the finished tensors were made."""

    def __init__(self, path: Path) -> None:
        super().__init__(f"{path} changed after a part of it was converted")


@dataclass(slots=True)
class Converter:
    """Converts the weights of one job. `file_digests` maps the finished source files to their digests."""

    plan: ConversionPlan
    source: Source
    provider: FileProvider
    algorithm: Callable[[], Digest]  # for the digests of the source files
    quantizer: Quantizer
    result: PartialGGUF
    file_digests: dict[str, str] = field(default_factory=dict)
    tensors_done: int = 0

    def run(self) -> Iterator[PipelineEvent]:
        """Convert every unfinished tensor. Raises SourceChanged when a finished one came from another file."""
        if stale := self._stale_tensors():
            self.result.forget(stale)
            yield resumed(self.plan, self.result.progress)
        computed = sum(tensor.source.file is None for tensor in self.plan.tensors)
        self.tensors_done = computed + len(self.result.progress.tensors)
        for file in self.provider.start(self._unfinished_files()):
            self.file_digests[file.path.name] = yield from self._convert_file(file)
            self.provider.release(file)

    def _stale_tensors(self) -> list[str]:
        """The finished tensors whose source file has since been published with another digest."""
        finished = self.result.progress.tensors
        return [
            tensor.name
            for file in self.source.files
            for tensor in (self.plan.of_file(file.path) if file.sha256 else ())
            if tensor.name in finished and finished[tensor.name].source_digest != file.sha256
        ]

    def _unfinished_files(self) -> list[SourceFile]:
        """The files to read; releases those that an earlier run finished."""
        unfinished = []
        for file in self.source.files:
            if digest := self._digest_if_finished(file):
                self.file_digests[file.path.name] = digest
                self.provider.release(file)
            else:
                unfinished.append(file)
        return unfinished

    def _digest_if_finished(self, file: SourceFile) -> str | None:
        """The digest of a file that an earlier run finished; None for any other."""
        progress = self.result.progress
        record = progress.files.get(file.path.name)
        if record is None or any(tensor.name not in progress.tensors for tensor in self.plan.of_file(file.path)):
            return None
        same = record.digest == file.sha256 if file.sha256 else record.stamp == file.stamp
        return record.digest if same else None

    def _convert_file(self, file: SourceFile) -> Generator[PipelineEvent, None, str]:
        """Read one file and write everything made from it; returns its digest."""
        while True:
            path = yield from self.provider.take(file)
            digest = yield from self._convert_attempt(file, path)
            if digest is not None:
                return digest
            self._discard(file)
            self.provider.reject(file)
            reason = f"{path} does not match its published digest"
            yield Rejected(file=file.path.name, size=file.size, reason=reason)
            yield resumed(self.plan, self.result.progress)

    def _convert_attempt(self, file: SourceFile, path: Path) -> Generator[PipelineEvent, None, str | None]:
        """Read one file once; returns its digest, or None when that is not the published one."""
        with HashedFile(path, self.algorithm) as opened:
            if file.sha256 is None and file.stamp and opened.stamp[:2] != file.stamp[:2]:
                raise BadFile(f"{path}: the file changed while others were read; run it again")
            try:
                yield from self._convert_tensors(opened, self.plan.of_file(file.path), file.sha256)
            except BadValue:
                if file.sha256 in {None, opened.finish()}:
                    raise  # the file is as published; otherwise it is damaged, and another copy may be good
            digest = opened.finish()
            if file.sha256 not in {None, digest}:
                return None
            record = FileRecord(stamp=opened.stamp, digest=digest)
            self.result.file_done(file.path.name, record, durable=file.sha256 is not None)
            return digest

    def _discard(self, file: SourceFile) -> None:
        """Forget the tensors made from a file that turned out to be damaged."""
        tensors = self.plan.of_file(file.path)
        self.tensors_done -= sum(tensor.name in self.result.progress.tensors for tensor in tensors)
        self.result.forget(tensor.name for tensor in tensors)

    def _convert_tensors(
        self, file: HashedFile, tensors: list[PlannedTensor], published: str | None
    ) -> Iterator[PipelineEvent]:
        """Convert the tensors of one file. `published` is the digest of the complete file, or None."""
        digest_up_to: dict[str, str] = {}
        values = max((_conversion(tensor).values_at_once for tensor in tensors), default=1)
        pieces = _pieces(file, tensors, self.result.progress, digest_up_to, published=published is not None)
        written = crc = 0
        for piece, data in self.quantizer.convert(pieces, values):
            tensor = piece.tag
            self.result.write_at(tensor.offset + written, data)
            crc = zlib.crc32(data, crc)
            written += len(data)
            yield Advanced(name=tensor.name, bytes_in=piece.nbytes, bytes_out=len(data))
            yield from self.provider.poll()
            if written == tensor.nbytes:
                yield self._finish_tensor(tensor, TensorRecord(crc, published or digest_up_to[tensor.name]))
                written = crc = 0

    def _finish_tensor(self, tensor: PlannedTensor, record: TensorRecord) -> TensorDone:
        self.result.tensor_done(tensor.name, record)
        self.tensors_done += 1
        return TensorDone(
            index=self.tensors_done,
            name=tensor.name,
            ggml_type=tensor.type.name,
            bytes_in=tensor.source.nbytes,
            bytes_out=tensor.nbytes,
        )


def resumed(plan: ConversionPlan, progress: JournalContent) -> Resumed:
    """The event that reports the finished tensors."""
    finished = [tensor for tensor in plan.tensors if tensor.name in progress.tensors]
    return Resumed(
        tensors=len(finished),
        bytes_in=sum(tensor.source.nbytes for tensor in finished),
        bytes_out=sum(tensor.nbytes for tensor in finished),
    )


def _pieces(
    file: HashedFile,
    tensors: list[PlannedTensor],
    progress: JournalContent,
    digest_up_to: dict[str, str],
    *,
    published: bool,
) -> Iterator[Piece[PlannedTensor]]:
    """The pieces of the unfinished tensors, in the order of the file.

    `digest_up_to` receives the digest of the file up to a tensor's end before the tensor's last piece is converted.
    Finished tensors are read too, so that a changed file is noticed, unless the file's digest is `published`.
    """
    for tensor in tensors:
        source = tensor.source
        if record := progress.tensors.get(tensor.name):
            file.skip_to(source.offset + source.nbytes)
            if not published and file.digest != record.source_digest:
                raise SourceChanged(file.path)
            continue
        conversion = _conversion(tensor)
        rows = source.values // conversion.columns
        for first in range(0, rows, conversion.rows_at_once):
            offset = source.offset + source.type.bytes_of(first * conversion.columns)
            count = min(conversion.rows_at_once, rows - first)
            yield Piece(conversion=conversion, rows=count, read=partial(file.read_into, offset), tag=tensor)
        digest_up_to[tensor.name] = file.digest


def _conversion(tensor: PlannedTensor) -> Conversion:
    source = tensor.source
    is_vector = len(source.shape) == 1  # a norm or a bias: treat each of its values, or blocks, as a row
    return Conversion(
        label=source.label,
        columns=source.type.block if is_vector else source.shape[-1],
        source=source.type,
        target=tensor.type,
        head_rows=source.shape[0] // source.rotary_heads if source.rotary_heads else 0,
        imatrix=tensor.imatrix,
    )
