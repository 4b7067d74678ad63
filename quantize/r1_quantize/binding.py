"""llama.cpp's shared library, loaded once and cheaply.

`import llama_cpp` runs the package's `__init__`: its high-level class, chat formats, numpy and jinja2, a
quarter of a second for nothing we use. The low-level module inside it, which binds all of llama.h, needs only
ctypes. So that one module is imported under a bare stand-in for its package, and the stand-in is taken away
again: whoever imports the real package afterwards gets it whole, with the very same low-level module and
library in it.

Knows: where llama-cpp-python keeps its low-level module, and in which library a symbol lives.
Does not know: what any function in there does. Imports nothing but the standard library.
"""

from __future__ import annotations

import ctypes
import importlib
import importlib.util
import sys
import threading
from types import ModuleType, SimpleNamespace
from typing import Any

from r1_quantize.errors import R1Error

_PACKAGE = "llama_cpp"
_MODULE = "llama_cpp.llama_cpp"
_LOADER = "llama_cpp._ctypes_extensions"
_REINSTALL = "reinstall it: pip install --force-reinstall --no-cache-dir llama-cpp-python"
_WINDOWS_LIBRARIES = ("ggml-base.dll", "ggml.dll")

_lock = threading.Lock()


def binding() -> ModuleType:
    """The module `llama_cpp.llama_cpp`: every function of llama.h, with its ctypes signature.

    It is the one instance in `sys.modules`, whoever asked first. Raises R1Error when llama-cpp-python is not
    installed or its shared library cannot be loaded.
    """
    with _lock:
        try:
            return _load()
        except (ImportError, OSError, RuntimeError, AttributeError) as exc:
            reason = str(exc).splitlines()[0] if str(exc) else type(exc).__name__
            raise R1Error(f"llama-cpp-python cannot be loaded ({reason}); {_REINSTALL}") from exc


def function(name: str, argtypes: list[Any], restype: Any) -> Any:
    """A C function of llama.cpp or ggml that the binding leaves out, by its exported name.

    It comes from the library that is already loaded: opening a library file again could load a second copy of
    it, with its own state. Raises R1Error when this build does not export it.
    """
    for library in _libraries(binding()):
        try:
            found = library[name]
        except AttributeError:
            continue
        found.argtypes = argtypes
        found.restype = restype
        return found
    raise R1Error(f"this build of llama-cpp-python lacks {name}; {_REINSTALL}")


def _load() -> ModuleType:
    if _PACKAGE in sys.modules or _MODULE in sys.modules:
        return importlib.import_module(_MODULE)
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is None:
        raise ImportError("it is not installed")
    sys.modules[_PACKAGE] = importlib.util.module_from_spec(spec)  # made, never executed
    try:
        if sys.platform == "android":
            _teach_android()
        return importlib.import_module(_MODULE)
    finally:
        del sys.modules[_PACKAGE]


def _teach_android() -> None:
    """llama-cpp-python's loader knows no Android, which Termux's Python has called itself since 3.13.

    Its library is called what it is called on Linux; so that module, and no other, is told that this is Linux.
    """
    loader: Any = importlib.import_module(_LOADER)
    loader.sys = SimpleNamespace(platform="linux")


def _libraries(module: ModuleType) -> list[ctypes.CDLL]:
    """The loaded libraries to look a symbol up in, in order.

    A look-up in libllama covers the libraries it depends on, except on Windows, where each has its own table.
    """
    libraries: list[ctypes.CDLL] = [module._lib]
    if sys.platform == "win32":
        handle_of = ctypes.windll.kernel32.GetModuleHandleW
        handle_of.argtypes, handle_of.restype = [ctypes.c_wchar_p], ctypes.c_void_p
        handles = ((name, handle_of(name)) for name in _WINDOWS_LIBRARIES)
        libraries += [ctypes.CDLL(name, handle=handle) for name, handle in handles if handle]
    return libraries
