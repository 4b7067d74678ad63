"""How fast this machine reads its memory: what decoding waits for, because each token reads every weight once.

Several threads look for a byte that is not there, each in a buffer of its own, all at once. libc's `memchr` does that
at the speed of the memory, and ctypes lets go of Python's lock meanwhile.

Knows: how that is measured. Does not know: what a model reads.
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

_A_THREAD = 64 << 20  # bytes of buffer: several times what caches keep for one core
_AT_MOST = 1 << 30  # bytes of buffers in all; filling them takes time as well
_SHARE = 8  # of the free memory, one part in so many
_TIMES_CACHE = 4  # with buffers so many times its size, hardly anything is found in a shared cache
_PIECE = 2 << 20  # bytes a call: enough for the calls themselves to take no time worth counting
_PASS = 0.05  # seconds
_PASSES = 9  # others use the memory too, and the best pass is the one they disturbed least
_PATIENCE = 1.2  # seconds after which no further pass begins


@dataclass(frozen=True, slots=True)
class _Read:
    """What one thread read in one pass: bytes, and when it began and ended."""

    count: int
    began: float
    ended: float


def read_bandwidth(threads: int, free: int, root: Path = Path("/")) -> float | None:
    """Bytes a second that so many threads read from main memory together; it takes about a second.

    `free` is the memory that can be had, of which an eighth is used at most; below `root` lies `sys`, on Linux. None
    where that is too little to see past the caches, or there is no `memchr`.
    """
    size = buffer_size(threads, free, shared_cache(root))
    find = _memchr()
    if find is None or not size:
        return None
    try:
        buffers = [mmap.mmap(-1, size) for _ in range(threads)]
    except (OSError, ValueError):  # a limit that `free` did not tell of
        return None
    return _best([_Reader(buffer, find) for buffer in buffers])


def buffer_size(threads: int, free: int, cache_size: int) -> int:
    """Bytes of each thread's buffer, in whole pieces; 0 when there is no room for what caches could not hold."""
    wanted = max(threads * _A_THREAD, _TIMES_CACHE * cache_size)
    total = min(wanted, _AT_MOST, free // _SHARE)
    return 0 if total < max(_A_THREAD, 2 * cache_size) else total // threads // _PIECE * _PIECE


def shared_cache(root: Path = Path("/")) -> int:
    """Bytes of the largest cache that the first core has; 0 where nobody says."""
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
        self._held = (ctypes.c_char * len(buffer)).from_buffer(buffer)
        self._address = ctypes.addressof(self._held)
        self._size = len(buffer)

    def fill(self) -> None:
        """Until they are written to, all pages are one and the same, which a cache holds."""
        ctypes.memset(self._address, 1, self._size)

    def read(self) -> _Read:
        """Goes round the buffer for the time of a pass."""
        began, count = time.perf_counter(), 0
        while (now := time.perf_counter()) < began + _PASS:
            self._find(self._address + count % self._size, 0, _PIECE)
            count += _PIECE
        return _Read(count, began, now)


def _best(readers: list[_Reader]) -> float | None:
    """The best of several passes, in which all begin at once. Bytes a second; None where threads are refused."""
    rounds = _Rounds(time.perf_counter() + _PATIENCE)
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
        together.abort()  # or those that were started would wait for the others for ever
        return None
    for thread in threads:
        thread.join()
    return max(_speed(one_pass) for one_pass in zip(*reads, strict=True))


class _Rounds:
    """How often the threads set off; the last of them to come to the barrier counts, before any goes on."""

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
    """libc's, or None."""
    try:
        library = ctypes.CDLL("ucrtbase" if sys.platform == "win32" else None)
        found = library.memchr
    except (OSError, AttributeError):
        return None
    found.argtypes, found.restype = [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t], ctypes.c_void_p
    return found
