"""Reads a model file from a slow disk into the system's cache, front to back, before llama.cpp maps it.

A mapped file is read page by page in the order it is touched, while llama.cpp waits and reports nothing. Reading it
first runs at the disk's full speed, reports progress, and can be cancelled.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Callable
from pathlib import Path

_STEP = 8 << 20  # bytes per read; a slow disk takes half a second for it
_SAMPLES = 64  # bytes that are tried
_MIN_MISSING = 64 << 20  # bytes; less is read soon enough by llama.cpp itself
_PROT_READ, _MAP_SHARED = 1, 1
_LOWEST_BIT = bytes(byte & 1 for byte in range(256))
"""A table for `bytes.translate`, which looks at the pages of a large file much faster than a loop."""


def read_ahead(path: Path, available: int, on_progress: Callable[[float], bool]) -> bool:
    """Reads the uncached parts of the file, if the file fits `available` bytes of memory.

    `on_progress` is called with the share that is cached (0 to 1); when it returns False, this does too.
    """
    try:
        with path.open("rb", buffering=0) as file:
            size = os.fstat(file.fileno()).st_size
            missing = _missing(file.fileno(), size) if size <= available else []
            if len(missing) * _STEP < _MIN_MISSING:
                return True
            buffer = bytearray(_STEP)
            for done, start in enumerate(missing):
                if not on_progress(max(0.0, 1 - (len(missing) - done) * _STEP / size)):
                    return False
                file.seek(start)
                file.readinto(buffer)
    except OSError:
        pass  # llama.cpp will report what is wrong with the file
    return True


def is_cached(path: Path) -> bool:
    """Whether bytes all over the file can be read without a wait. False where the system does not say."""
    if not hasattr(os, "RWF_NOWAIT"):
        return False
    byte = bytearray(1)
    try:
        with path.open("rb", buffering=0) as file:
            size = os.fstat(file.fileno()).st_size
            for offset in range(0, size, max(size // _SAMPLES, 1)):
                os.preadv(file.fileno(), [byte], offset, os.RWF_NOWAIT)
    except OSError:  # BlockingIOError where it is not cached; or the file system cannot say
        return False
    return True


def _missing(descriptor: int, size: int) -> list[int]:
    """The offsets of the steps with an uncached page; empty where the system does not say."""
    if not size or not sys.platform.startswith(("linux", "android")):
        return []
    flags = _residency(descriptor, size)
    per_step = _STEP // os.sysconf("SC_PAGE_SIZE")
    steps = (flags[start : start + per_step] for start in range(0, len(flags), per_step))
    return [index * _STEP for index, step in enumerate(steps) if b"\0" in step]


def _residency(descriptor: int, size: int) -> bytes:
    """1 for each page of the file that is cached, else 0; empty when mincore fails, whose lowest bit says so."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
    libc.mincore.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_char_p]
    libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
    address = libc.mmap(None, size, _PROT_READ, _MAP_SHARED, descriptor, 0)
    if address in {None, ctypes.c_void_p(-1).value}:
        return b""
    count = -(-size // os.sysconf("SC_PAGE_SIZE"))
    pages = ctypes.create_string_buffer(count)
    succeeded = libc.mincore(address, size, pages) == 0
    libc.munmap(address, size)
    return pages.raw[:count].translate(_LOWEST_BIT) if succeeded else b""
