"""Memory bandwidth: the limit of decoding speed, because each token reads every weight once.

Several threads search for a byte that does not occur, each in its own buffer, all at the same time. libc's
`memchr` does this at the speed of the memory, and ctypes releases Python's lock meanwhile.
"""

from __future__ import annotations

import ctypes
import mmap
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

_BUFFER_PER_THREAD = 64 << 20  # bytes: several times the cache of one core
_MAX_BUFFERS = 1 << 30  # bytes in total, because filling them takes time too
_PART_OF_FREE = 8  # use at most an eighth of the free memory
_TIMES_CACHE = 4  # with buffers of four times its size, a shared cache has hardly any hits
_PIECE = 2 << 20  # bytes per call: enough to make the overhead of a call negligible
_PASS_S = 0.05
_PASSES = 9  # the best pass is the one that other programs disturbed least
_TIMEOUT_S = 1.2  # no further pass begins after that


@dataclass(frozen=True, slots=True)
class _Read:
    """One pass of one thread: the bytes read, and its begin and end in seconds."""

    count: int
    began: float
    ended: float


def read_bandwidth(threads: int, free: int, root: Path = Path("/")) -> float | None:
    """Bytes per second that `threads` threads together read from main memory. Takes about a second.

    `free` is the free memory in bytes; `root` is the folder that holds `sys`, on Linux. None if there is too little
    memory for buffers larger than the caches, or `memchr` is missing.
    """
    size = buffer_size(threads, free, shared_cache(root))
    find = _memchr()
    if find is None or not size:
        return None
    try:
        buffers = [mmap.mmap(-1, size) for _ in range(threads)]
    except (OSError, ValueError):  # `free` does not account for every limit
        return None
    return _best([_Reader(buffer, find) for buffer in buffers])


def buffer_size(threads: int, free: int, cache_size: int) -> int:
    """Bytes of each thread's buffer, a multiple of `_PIECE`; 0 if only buffers that caches can hold would fit."""
    wanted = max(threads * _BUFFER_PER_THREAD, _TIMES_CACHE * cache_size)
    total = min(wanted, _MAX_BUFFERS, free // _PART_OF_FREE)
    return 0 if total < max(_BUFFER_PER_THREAD, 2 * cache_size) else total // threads // _PIECE * _PIECE


def shared_cache(root: Path = Path("/")) -> int:
    """Bytes of the largest cache of the first core; 0 if unknown."""
    sizes = [_size_in(file) for file in (root / "sys/devices/system/cpu/cpu0/cache").glob("index*/size")]
    return max(sizes, default=0)


def _size_in(file: Path) -> int:
    """`32768K` → 33554432."""
    try:
        text = file.read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return 0
    number, unit = text.rstrip("KMG"), text[-1:]
    return int(number) << {"K": 10, "M": 20, "G": 30}.get(unit, 0) if number.isdigit() else 0


class _Reader:
    """One thread's buffer."""

    def __init__(self, buffer: mmap.mmap, find: Any) -> None:
        self._find = find
        self._array = (ctypes.c_char * len(buffer)).from_buffer(buffer)
        self._address = ctypes.addressof(self._array)
        self._size = len(buffer)

    def fill(self) -> None:
        """Writes to every page. Until then all pages are the same zero page, which fits in a cache."""
        ctypes.memset(self._address, 1, self._size)

    def read(self) -> _Read:
        """Reads the buffer for the duration of one pass, starting over at its end."""
        began, count = time.perf_counter(), 0
        while (now := time.perf_counter()) < began + _PASS_S:
            self._find(self._address + count % self._size, 0, _PIECE)
            count += _PIECE
        return _Read(count=count, began=began, ended=now)


def _best(readers: list[_Reader]) -> float | None:
    """Bytes per second in the best of several passes, which all threads begin together; None if threads are refused."""
    rounds = _Rounds(time.perf_counter() + _TIMEOUT_S)
    together = threading.Barrier(len(readers), rounds.next)
    reads: list[list[_Read]] = [[] for _ in readers]

    def work(reader: _Reader, mine: list[_Read]) -> None:
        reader.fill()
        with suppress(threading.BrokenBarrierError):
            while together.wait() >= 0 and not rounds.over:
                mine.append(reader.read())

    threads = [threading.Thread(target=work, args=pair) for pair in zip(readers, reads, strict=True)]
    try:
        for thread in threads:
            thread.start()
    except RuntimeError:
        together.abort()  # otherwise the threads that did start would wait forever
        return None
    for thread in threads:
        thread.join()
    return max(_speed(one_pass) for one_pass in zip(*reads, strict=True))


class _Rounds:
    """Counts the passes: the barrier calls `next` when all threads have arrived, before it releases any."""

    def __init__(self, until: float) -> None:
        self._until = until
        self._passes = 0
        self.over = False

    def next(self) -> None:
        late = time.perf_counter() > self._until
        self.over = self._passes >= _PASSES or (late and self._passes > 0)
        self._passes += 1


def _speed(one_pass: tuple[_Read, ...]) -> float:
    seconds = max(read.ended for read in one_pass) - min(read.began for read in one_pass)
    return sum(read.count for read in one_pass) / seconds


@cache
def _memchr() -> Any:
    """libc's `memchr`, or None."""
    try:
        library = ctypes.CDLL("ucrtbase" if sys.platform == "win32" else None)
        memchr = library.memchr
    except (OSError, AttributeError):
        return None
    memchr.argtypes, memchr.restype = [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t], ctypes.c_void_p
    return memchr
