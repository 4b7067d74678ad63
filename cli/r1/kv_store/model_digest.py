"""Tells the weights of one GGUF from those of another, without reading all of a file that may have 40 GB.

A SHA-256 of the whole file would take minutes. The one in a model's manifest says what the file was when it was made,
and not what it is now. So the digest covers what changes whenever a file is written: its size and its times, of which a
program cannot set the last (`ctime`), except on Windows, where there is none. There, and after a change of the clock,
two files can have the same size and times; the digest of a few blocks still tells most of them apart.
"""

from __future__ import annotations

import os
from pathlib import Path

from r1_quantize.files import stamp_of
from r1_quantize.gguf.split import part_names

_BLOCK = 4096  # bytes
_BLOCKS = 16


def model_digest(path: Path) -> str:
    """The digest of a model's weights, in all its parts. Take it before they are loaded. Raises OSError, BadGGUF."""
    from hashlib import blake2b  # here, because it loads OpenSSL

    digest = blake2b(digest_size=16)
    for part in map(path.parent.joinpath, part_names(path.name)):
        with part.open("rb", buffering=0) as file:
            stamp = stamp_of(os.fstat(file.fileno()))
            digest.update(repr(stamp).encode())
            for number in range(_BLOCKS):
                file.seek(max(stamp[0] - _BLOCK, 0) * number // (_BLOCKS - 1))
                digest.update(file.read(_BLOCK))
    return digest.hexdigest()
