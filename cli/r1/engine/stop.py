"""A request to stop, made from any thread, and seen by llama.cpp in the middle of a batch.

Knows: the flag that both sides look at. Does not know: what is being stopped, or why.
"""

from __future__ import annotations

import ctypes
import sys


class Stop:
    """Set by whoever wants an end; cleared by whoever begins something new.

    llama.cpp asks its abort callback before each operation of a graph. A callback in Python would need the
    interpreter's lock every time, and wait for it while the terminal is drawn. So the callback is the C library's
    `strlen`, and the flag a string: empty says go on (0), one character says stop (1).
    """

    def __init__(self) -> None:
        self._flag = ctypes.create_string_buffer(2)

    def __call__(self) -> bool:
        return self._flag.raw[0] != 0

    def set(self) -> None:
        self._flag[0] = b"\x01"

    def clear(self) -> None:
        self._flag[0] = b"\x00"

    @property
    def callback(self) -> int:
        """The address of a `bool (*)(void *)`."""
        library = ctypes.cdll.msvcrt if sys.platform == "win32" else ctypes.CDLL(None)
        return ctypes.cast(library.strlen, ctypes.c_void_p).value or 0

    @property
    def data(self) -> int:
        """The address that the callback is to be given; valid as long as this object lives."""
        return ctypes.addressof(self._flag)
