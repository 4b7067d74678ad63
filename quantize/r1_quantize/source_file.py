"""One file of a source: here already, or on its way with only its beginning here.

Knows: where a file is, and what its publisher says of it. Does not know: its format, or how it comes here.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO, Self

from r1_quantize.hashed_file import Stamp, stamp_of


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A file of `size` bytes at `path`, or that will be there.

    `stamp` is the file's as it was when its header was read; None while it is not here. `sha256` is what its publisher
    says it hashes to; None when nobody does. Of a file that is on its way the beginning lies at `header`.
    """

    path: Path
    size: int
    stamp: Stamp | None = None
    sha256: str | None = None
    header: Path | None = None

    @classmethod
    def here(cls, path: Path, sha256: str | None = None) -> Self:
        """A file on this disk. Raises OSError."""
        stamp = stamp_of(path.stat())
        return cls(path, stamp[0], stamp, sha256)

    @contextmanager
    def beginning(self) -> Iterator[tuple[BinaryIO, SourceFile]]:
        """Its first bytes, to read its header from, and this file as it is now. Raises OSError."""
        with (self.header or self.path).open("rb") as file:
            if self.header is not None:
                yield file, self
            else:
                stamp = stamp_of(os.fstat(file.fileno()))
                yield file, replace(self, size=stamp[0], stamp=stamp)
