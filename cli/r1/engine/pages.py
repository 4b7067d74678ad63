"""The pages of memory behind a model's weights, where the system lets a program say what will become of them: Linux."""

from __future__ import annotations

import ctypes
import re
import sys
import threading
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

IS_SUPPORTED = sys.platform.startswith(("linux", "android"))

_MIN_POPULATED, _MIN_RELEASED = 32 << 20, 256 << 20  # bytes; with less there is little to gain
_STEP = 8 << 20  # bytes
_DONTNEED, _POPULATE_WRITE = 4, 23  # Linux's values of MADV_…


class Populating:
    """Gives new areas of memory their pages in threads, ahead of llama.cpp, which is about to fill them.

    A new page interrupts the one that writes to it first: that is half the time of repacking weights, and nearly all of
    clearing a KV cache. It does no harm where an area is in use, or is freed meanwhile.
    """

    def __init__(self) -> None:
        self._known: list[tuple[int, int]] = []

    def note(self) -> None:
        """Notes the areas that there are, before llama.cpp allocates others."""
        self._new_areas()

    def begin(self, most: int, *, from_end: bool = False) -> None:
        """Begins with the areas that are new since the last call, and ends when `most` bytes have pages."""
        areas = self._new_areas()
        if areas:
            with suppress(RuntimeError):  # no thread can start
                arguments = [areas, most, from_end]
                threading.Thread(target=_populate, args=arguments, name="r1-populate", daemon=True).start()

    def _new_areas(self) -> list[tuple[int, int]]:
        before = self._known
        with suppress(OSError):  # no /proc
            mappings = _mappings(_MIN_POPULATED) if IS_SUPPORTED else ()
            self._known = [(start, end) for start, end, rights, file in mappings if rights == "rw-p" and not file]
        return [part for area in self._known for part in without(area, before)]


populating = Populating()


def without(area: tuple[int, int], others: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """The parts of an area that are in no other one: the system joins neighbours."""
    parts = [area]
    for low, high in others:
        cut = [(max(start, at), min(end, to)) for start, end in parts for at, to in ((start, low), (high, end))]
        parts = [(start, end) for start, end in cut if start < end]
    return parts


def _populate(areas: Iterable[tuple[int, int]], most: int, from_end: bool) -> None:
    for start, end in areas:
        steps = range(start, end, _STEP)
        for at in reversed(steps) if from_end else steps:
            size = min(end - at, _STEP)
            most -= size
            if most < 0 or _advise(at, size, _POPULATE_WRITE):
                return  # an old kernel, or it was freed, or no memory is left, which llama.cpp will notice


class Releasing:
    """Drops a file's pages from this process in a thread, because weights that llama.cpp has copied (repacked for the
    processor, or moved to a GPU) would count twice. Pages used in place come back from the system's cache when they are
    touched, which delays the first token; a small file is not worth that.
    """

    def __init__(self, path: Path) -> None:
        """Raises RuntimeError if no thread can start."""
        self._path = path
        self._thread = threading.Thread(target=self._run, name="r1-release", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        prefix = re.sub(r"-\d{5}-of-\d{5}\.gguf$", "-", str(self._path.resolve()))  # of all parts of a split file
        with suppress(OSError):  # no /proc
            for start, end, rights, file in _mappings(_MIN_RELEASED):
                if file.startswith(prefix) and rights == "r--s":
                    _advise(start, end - start, _DONTNEED)

    def wait(self) -> None:
        """To be called before the file is unmapped: something else may get its addresses."""
        self._thread.join()


def _mappings(least: int) -> Iterator[tuple[int, int, str, str]]:
    """Start, end, rights and file of each mapping of at least so many bytes; an anonymous one has the file ""."""
    with open("/proc/self/maps", encoding="utf-8", errors="surrogateescape") as maps:  # noqa: PTH123
        lines = [line.rstrip("\n").split(maxsplit=5) for line in maps]
    for addresses, rights, _, _, _, *file in lines:
        start, end = (int(part, 16) for part in addresses.split("-"))
        if end - start >= least:
            yield start, end, rights, file[0] if file else ""


def _advise(start: int, size: int, advice: int) -> bool:
    """Whether it failed."""
    madvise = ctypes.CDLL(None).madvise
    madvise.argtypes, madvise.restype = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int], ctypes.c_int
    return bool(madvise(start, size, advice))
