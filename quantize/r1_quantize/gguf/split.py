"""The file names of a split GGUF: NAME-00001-of-00003.gguf and so on, as llama.cpp's tools write them."""

from __future__ import annotations

import re

from r1_quantize.errors import BadGGUF

MAX_PARTS = 1000
"""More than any published model has; limits how many files one name can make r1 look for."""

_PART = re.compile(r"(.+)-([0-9]{5})-of-([0-9]{5})\.gguf", re.DOTALL)


def part_names(name: str) -> list[str]:
    """The names of all parts, in order, given any of them; just `name` when it is not a part's name.

    Keeps the folders before the name. Raises BadGGUF for an impossible part number and for more than MAX_PARTS.
    """
    if (match := _PART.fullmatch(name)) is None:
        return [name]
    stem, number, count = match[1], int(match[2]), int(match[3])
    if not 1 <= number <= count:
        raise BadGGUF(f"{name}: the name says part {number} of {count}, which is impossible")
    if count > MAX_PARTS:
        raise BadGGUF(f"{name}: the name says {count:,} parts; r1 reads at most {MAX_PARTS:,}")
    return [f"{stem}-{part:05}-of-{count:05}.gguf" for part in range(1, count + 1)]


def joined_name(name: str) -> str:
    """The name of the file the parts would be joined into; `name` itself when it is not a part's name."""
    match = _PART.fullmatch(name)
    return f"{match[1]}.gguf" if match else name
