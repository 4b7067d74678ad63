"""Loads llama.cpp's shared library once and cheaply.

`import llama_cpp` runs the package's `__init__`: its high-level class, chat formats, numpy and jinja2, a quarter of a
second for things r1 does not use. The low-level module inside, which binds all of llama.h, needs only ctypes. So that
module is imported under an empty placeholder for its package, which is removed again: a later import of the real
package works, with the same low-level module and library in it.

Imports only the standard library and `r1_quantize.errors`, because both source roots use it.
"""

from __future__ import annotations

import ctypes
import importlib
import importlib.util
import sys
import threading
from functools import cache
from pathlib import Path
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

    Always the same instance, the one in `sys.modules`. Raises R1Error when llama-cpp-python is not installed or its
    shared library cannot be loaded.
    """
    with _lock:
        try:
            return _load()
        except (ImportError, OSError, RuntimeError, AttributeError) as exc:
            reason = str(exc).splitlines()[0] if str(exc) else type(exc).__name__
            raise R1Error(f"cannot load llama-cpp-python ({reason}); {_REINSTALL}") from exc


def function(name: str, argtypes: list[Any], restype: Any) -> Any:
    """A C function of llama.cpp or ggml that the binding leaves out, by its exported name.

    It comes from the library that is already loaded; opening the file again could load a second copy with its own
    state. Raises R1Error when this build does not export the function.
    """
    for library in _libraries(binding()):
        try:
            symbol = library[name]
        except AttributeError:
            continue
        symbol.argtypes = argtypes
        symbol.restype = restype
        return symbol
    raise R1Error(f"this build of llama-cpp-python lacks {name}; {_REINSTALL}")


@cache
def schema_converter() -> ModuleType:
    """The module `llama_cpp.llama_grammar`, which turns a JSON Schema into a grammar.

    It is loaded from its file, under a name of its own, because it needs neither its package nor the shared library.
    Raises R1Error when llama-cpp-python is not installed or lacks it.
    """
    package = importlib.util.find_spec(_PACKAGE)
    for folder in (package.submodule_search_locations or []) if package else []:
        path = Path(folder) / "llama_grammar.py"
        spec = importlib.util.spec_from_file_location("r1_quantize._llama_grammar", path)
        if spec is not None and spec.loader is not None and path.is_file():
            module = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
            return module
    raise R1Error(f"cannot load llama-cpp-python's converter of JSON Schemas; {_REINSTALL}")


def _load() -> ModuleType:
    if _PACKAGE in sys.modules or _MODULE in sys.modules:
        return importlib.import_module(_MODULE)
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is None:
        raise ImportError("it is not installed")
    sys.modules[_PACKAGE] = importlib.util.module_from_spec(spec)  # created, never executed
    try:
        if sys.platform == "android":
            _patch_loader_for_android()
        return importlib.import_module(_MODULE)
    finally:
        del sys.modules[_PACKAGE]


def _patch_loader_for_android() -> None:
    """Make llama-cpp-python's loader look for the library under its Linux name.

    The loader does not know `sys.platform == "android"`, which Termux's Python has reported since 3.13. Only that
    module sees "linux".
    """
    loader: Any = importlib.import_module(_LOADER)
    loader.sys = SimpleNamespace(platform="linux")


def _libraries(module: ModuleType) -> list[ctypes.CDLL]:
    """The loaded libraries to search for a symbol, in order.

    Searching libllama covers the libraries it depends on, except on Windows, where each has its own symbol table.
    """
    libraries: list[ctypes.CDLL] = [module._lib]
    if sys.platform == "win32":
        handle_of = ctypes.windll.kernel32.GetModuleHandleW
        handle_of.argtypes, handle_of.restype = [ctypes.c_wchar_p], ctypes.c_void_p
        handles = ((name, handle_of(name)) for name in _WINDOWS_LIBRARIES)
        libraries += [ctypes.CDLL(name, handle=handle) for name, handle in handles if handle]
    return libraries
