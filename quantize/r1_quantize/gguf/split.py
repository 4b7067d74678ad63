"""What the parts of a GGUF are called: NAME-00001-of-00003.gguf and so on, as llama.cpp's tools write them.

Knows: names. Does not know: which files there are, or what is in them (`gguf_source`).
"""

from __future__ import annotations

import re

from r1_quantize.errors import BadGGUF

MAX_PARTS = 1000
"""More than anybody publishes; a name alone makes nobody look for more files."""

_PART = re.compile(r"(.+)-([0-9]{5})-of-([0-9]{5})\.gguf", re.DOTALL)


def part_names(name: str) -> list[str]:
    """The names of all parts, in order, from that of any; a name that is no part's stands alone.

    Folders before the name stay. Raises BadGGUF for a part that cannot be, and for more than MAX_PARTS.
    """
    if (found := _PART.fullmatch(name)) is None:
        return [name]
    stem, number, count = found[1], int(found[2]), int(found[3])
    if not 1 <= number <= count:
        raise BadGGUF(f"{name}: by its name part {number} of {count}, which there cannot be")
    if count > MAX_PARTS:
        raise BadGGUF(f"{name}: by its name one of {count:,} parts; more than {MAX_PARTS:,} are not read")
    return [f"{stem}-{part:05}-of-{count:05}.gguf" for part in range(1, count + 1)]


def joined_name(name: str) -> str:
    """The name of the file that the parts make; a name that is no part's as it is."""
    found = _PART.fullmatch(name)
    return f"{found[1]}.gguf" if found else name
