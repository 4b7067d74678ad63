"""llama.cpp's library: loaded and initialised once, with its log kept off the terminal, and a flag that stops it."""

from __future__ import annotations

import ctypes
import os
import re
import sys
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from types import ModuleType

from r1.engine.pages import populating
from r1_quantize.binding import binding, function
from r1_quantize.errors import ExitStatus, debugging

_SPINS = "30000"
_CACHE_ALLOCATED = re.compile(rb" CPU KV buffer size = +(\d+)\.\d+ MiB")
_WARN, _ERROR, _CONTINUE = 3, 4, 5  # enum ggml_log_level, from ggml.h


class Log:
    """llama.cpp's log. The latest warnings and errors are kept; with `echo` every line also goes to stderr."""

    def __init__(self, *, echo: bool = False) -> None:
        self.echo = echo
        self.complaints: deque[str] = deque(maxlen=20)  # warnings and errors, oldest first
        self._level = 0

    def write(self, level: int, text: str) -> None:
        self._level = self._level if level == _CONTINUE else level
        if self._level in {_WARN, _ERROR} and text.strip():
            self.complaints.append(text.strip())
        if self.echo:
            sys.stderr.write(text)

    def reason(self) -> str:
        """The most informative complaint, without the name of the function that logged it."""
        errors = [line for line in self.complaints if "error" in line.lower()] or list(self.complaints)
        if not errors:
            return "llama.cpp gave no reason"
        return errors[0].partition(": ")[2].removeprefix("error loading model: ") or errors[0]


class Stop:
    """A flag that stops llama.cpp's current computation. Clear it before starting another.

    llama.cpp calls its abort callback before each operation of a graph. A callback in Python would need the
    interpreter's lock every time, and wait for it while the terminal is drawn. So the callback is the C library's
    `strlen`, and the flag is a string: empty means go on (0), one character means stop (1).
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
        """The address to pass to the callback; valid as long as this object lives."""
        return ctypes.addressof(self._flag)


log = Log()

before_abort: list[Callable[[], None]] = []
"""Called before llama.cpp aborts the process, for example to restore the terminal."""


@cache
def llama() -> ModuleType:
    """The binding's low-level module, with every function of llama.h; the first call initialises the backends.

    Raises R1Error when llama-cpp-python is not installed or cannot be loaded.
    """
    log.echo = debugging()
    if not log.echo:
        os.environ.setdefault("GGML_NO_BACKTRACE", "1")  # ggml would start a debugger that prints on stdout
    # NumPy, where it is loaded later, computes no linear algebra; the threads for that would take address space.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    _limit_spinning()
    module = binding()
    module.llama_log_set(_log_callback, None)
    function("ggml_set_abort_callback", [type(_abort_callback)], ctypes.c_void_p)(_abort_callback)
    module.llama_backend_init()
    return module


@contextmanager
def silence() -> Iterator[None]:
    """While entered, llama.cpp's log is lost, unless for debugging. Each of its thousand lines would wait for Python's
    lock while another thread runs.
    """
    module = llama()
    if log.echo:
        yield
        return
    absolute = (ctypes.cdll.msvcrt if sys.platform == "win32" else ctypes.CDLL(None)).abs  # of the level: does nothing
    module.llama_log_set(ctypes.cast(absolute, type(_log_callback)), None)
    try:
        yield
    finally:
        module.llama_log_set(_log_callback, None)


def _limit_spinning() -> None:
    """Lets a thread of GNU OpenMP that waits for others sleep after a tenth of a millisecond, not after milliseconds.

    On an idle machine that is as fast, because llama.cpp's threads wait for each other much shorter. On a busy one, a
    waiting thread leaves its processor to the one it waits for. The library reads the variable when it is loaded.

    https://gcc.gnu.org/onlinedocs/libgomp/GOMP_005fSPINCOUNT.html
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", _SPINS)


@ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)  # type: ignore[untyped-decorator]
def _log_callback(level: int, text: bytes, _: object) -> None:
    """Lives as long as the module: llama.cpp keeps a bare pointer to it."""
    if cache := _CACHE_ALLOCATED.search(text):
        populating.begin(int(cache[1]) << 20, from_end=True)  # it is cleared from the start; the two meet in the middle
    log.write(level, text.decode("utf-8", "replace"))


@ctypes.CFUNCTYPE(None, ctypes.c_char_p)  # type: ignore[untyped-decorator]
def _abort_callback(text: bytes) -> None:
    """Ends the process with one line and an exit code; if this returned, llama.cpp would end it with a signal."""
    for action in before_abort:
        with suppress(Exception):
            action()
    reason = " ".join(text.decode("utf-8", "replace").split())
    lost_server = "RPC server" in reason
    message = "lost the connection to an --rpc server" if lost_server else f"llama.cpp aborted: {reason}"
    with suppress(OSError, ValueError):
        sys.stderr.write(f"r1: {message}\n")
        sys.stderr.flush()
    os._exit(ExitStatus.NETWORK if lost_server else ExitStatus.UNFORESEEN)
