"""A GGUF on its way to disk: the header once, then tensor after tensor, front to back.

Sizes follow from types and shapes, so every offset is known before the first weight, and nothing is written
twice. The bytes go to NAME.gguf.partial; they get their name only when all of them are there and on the disk.

Knows: the layout of a GGUF (version 3), and what a full disk looks like.
Does not know: what the keys mean, or where the bytes of a tensor come from.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import struct
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from r1_quantize.errors import NotEnoughRoom, R1Error
from r1_quantize.filelock import try_lock
from r1_quantize.metadata import encode_text
from r1_quantize.plan import Plan, PlannedTensor
from r1_quantize.reader import DEFAULT_ALIGNMENT, MAGIC

_VERSION = 3
_FULL = {errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)}


def header_of(plan: Plan) -> bytes:
    """Everything before the first tensor, padding included."""
    parts = [MAGIC, struct.pack("<IQQ", _VERSION, len(plan.tensors), len(plan.entries))]
    parts += [entry.encode() for entry in plan.entries]
    offset = 0
    for tensor in plan.tensors:
        dimensions = tensor.shape[::-1]  # a GGUF has the row length first
        parts.append(encode_text(tensor.name))
        parts.append(struct.pack(f"<I{len(dimensions)}Q", len(dimensions), *dimensions))
        parts.append(struct.pack("<IQ", tensor.type, offset))
        offset += _padded(tensor.nbytes)
    header = b"".join(parts)
    return header.ljust(_padded(len(header)), b"\0")


def size_of(header: bytes, tensors: Sequence[PlannedTensor]) -> int:
    """The size of the whole file in bytes."""
    return len(header) + sum(_padded(tensor.nbytes) for tensor in tensors)


class GGUFWriter:
    """A file being made. Leaving the context without `rename` removes what there is of it."""

    def __init__(self, target: Path, size: int) -> None:
        """Raises NotEnoughRoom when the disk has no `size` bytes left, R1Error when it cannot be written to."""
        self.target = target
        self.partial = target.with_name(target.name + ".partial")
        self.size = size
        self._digest = hashlib.sha256()
        self._written = 0
        self._finished = False
        try:
            free = shutil.disk_usage(target.parent).free
            if free < size:
                raise NotEnoughRoom(f"{target}: {size:,} bytes are needed on this disk, {free:,} are free")
            self._file = self._open()
        except OSError as exc:
            raise R1Error(f"{self.partial}: {exc.strerror}") from exc

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(OSError):  # on a full disk closing fails like writing did, and that is already being said
            self._file.close()
        if not self._finished:
            self.partial.unlink(missing_ok=True)

    @property
    def sha256(self) -> str:
        """The digest of what has been written so far."""
        return self._digest.hexdigest()

    def write(self, data: bytes | memoryview) -> None:
        """Append. Raises NotEnoughRoom when the disk is full, R1Error when it fails otherwise."""
        try:
            self._file.write(data)
        except OSError as exc:
            raise self._failed(exc) from exc
        self._digest.update(data)
        self._written += len(data)

    def pad(self) -> None:
        """Zeros up to where the next tensor may begin."""
        self.write(bytes(_padded(self._written) - self._written))

    def flush(self) -> None:
        """Put all bytes on the disk; there are `size` of them."""
        assert self._written == self.size
        try:
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as exc:
            raise self._failed(exc) from exc

    def rename(self) -> None:
        """Give the file its name, in place of whatever had it."""
        if os.name == "nt":
            self._file.close()  # Windows renames no open file; elsewhere the lock is held until it has its name
        try:
            self.partial.replace(self.target)
            _sync_folder(self.target.parent)
        except OSError as exc:
            raise R1Error(f"{self.target}: {exc.strerror}") from exc
        self._finished = True

    def _open(self) -> BinaryIO:
        """The partial file, emptied and locked, so that no two processes ever mix their bytes in it."""
        file = self.partial.open("ab")
        if not (try_lock(file) and os.path.samestat(self.partial.stat(), os.fstat(file.fileno()))):
            file.close()
            raise R1Error(f"{self.partial}: another process is writing it")
        file.truncate(0)
        return file

    def _failed(self, exc: OSError) -> R1Error:
        if exc.errno not in _FULL:
            return R1Error(f"{self.partial}: {exc.strerror}")
        free, missing = shutil.disk_usage(self.target.parent).free, self.size - self._written
        return NotEnoughRoom(f"{self.target}: {exc.strerror}: {missing:,} bytes are missing, {free:,} are free")


def _sync_folder(folder: Path) -> None:
    """Make the renaming outlive a power cut. Windows has no such call, and needs none."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _padded(offset: int) -> int:
    return offset + -offset % DEFAULT_ALIGNMENT
