"""llama.cpp's library, ready to use: initialised once, its log kept out of the terminal but never lost.

Knows: the binding and its log. Does not know: models, contexts, tokens.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections import deque
from functools import cache
from types import ModuleType

from r1_quantize.binding import binding

_WARN, _ERROR, _CONTINUE = 3, 4, 5  # enum ggml_log_level, from ggml.h


class Log:
    """What llama.cpp says. Its latest complaints are kept; with `echo` every line also goes to stderr."""

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
        """The most telling of the complaints, without the name of the function that made it."""
        telling = [line for line in self.complaints if "error" in line.lower()] or list(self.complaints)
        if not telling:
            return "llama.cpp gave no reason"
        return telling[0].partition(": ")[2].removeprefix("error loading model: ") or telling[0]


log = Log()


def debugging() -> bool:
    """Whether R1_DEBUG asks for what is otherwise kept from people: this log, and tracebacks."""
    return os.environ.get("R1_DEBUG", "0") not in {"", "0"}


@cache
def llama() -> ModuleType:
    """The low-level module, with every function of llama.h; the backends are initialised on the first call.

    Raises R1Error when llama-cpp-python is not there or cannot be loaded.
    """
    module = binding()
    log.echo = debugging()
    module.llama_log_set(_log_callback, None)
    module.llama_backend_init()
    return module


@ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)  # type: ignore[untyped-decorator]
def _log_callback(level: int, text: bytes, _: object) -> None:
    """Lives as long as the module: llama.cpp keeps a bare pointer to it."""
    log.write(level, text.decode("utf-8", "replace"))
