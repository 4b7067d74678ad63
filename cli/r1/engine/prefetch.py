"""A model file from a slow disk into the system's cache, front to back, before llama.cpp maps it.

What is mapped is read a page at a time, in whatever order it is touched; and llama.cpp waits for all of it without a
word. Reading it first is as fast as the disk is, says how far it is, and can be given up.

Knows: files, which pages of one are cached. Does not know: what is in it.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Callable
from pathlib import Path

_STEP = 8 << 20  # bytes at a time; a slow disk needs half a second for so many
_WORTH = 64 << 20  # bytes; what is less comes soon enough by itself
_PROT_READ, _MAP_SHARED = 1, 1


def prefetch(path: Path, room: int, on_progress: Callable[[float], bool]) -> bool:
    """Reads what of the file is not cached, if it fits `room` bytes of memory.

    `on_progress` is called with the share that is cached (0 to 1); when it returns False, this does too.
    """
    try:
        with path.open("rb", buffering=0) as file:
            size = os.fstat(file.fileno()).st_size
            missing = _missing(file.fileno(), size) if size <= room else []
            if len(missing) * _STEP < _WORTH:
                return True
            buffer = bytearray(_STEP)
            for done, start in enumerate(missing):
                if not on_progress(max(0.0, 1 - (len(missing) - done) * _STEP / size)):
                    return False
                file.seek(start)
                file.readinto(buffer)
    except OSError:
        pass  # llama.cpp will say what is wrong with it
    return True


def _missing(descriptor: int, size: int) -> list[int]:
    """Where the steps begin of which some page is not cached; none where the system does not tell."""
    if not size or not sys.platform.startswith(("linux", "android")):
        return []
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
    libc.mincore.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_char_p]
    libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
    address = libc.mmap(None, size, _PROT_READ, _MAP_SHARED, descriptor, 0)
    if address in {None, ctypes.c_void_p(-1).value}:
        return []
    page = os.sysconf("SC_PAGE_SIZE")
    pages = ctypes.create_string_buffer(-(-size // page))
    known = libc.mincore(address, size, pages) == 0
    libc.munmap(address, size)
    per_step, flags = _STEP // page, bytes(pages.raw[: -(-size // page)])
    steps = (flags[start : start + per_step] for start in range(0, len(flags), per_step))
    return [index * _STEP for index, step in enumerate(steps) if known and not all(byte & 1 for byte in step)]
