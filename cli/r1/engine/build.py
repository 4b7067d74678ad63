"""This build of llama.cpp: the instruction sets and backends it was compiled for, and its versions."""

from __future__ import annotations

import ctypes
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from r1.engine.llama import llama
from r1_quantize.binding import function
from r1_quantize.errors import R1Error

BINDING = "llama-cpp-python"

_BACKEND = re.compile(r"(\w+) : ")
_GCC = re.compile(rb"GCC: \([^)\0]{1,100}\) (\d{1,3})\.(\d{1,3})\.")


@dataclass(frozen=True, slots=True)
class Build:
    """`instructions` are the instruction sets compiled in, by llama.cpp's names; `backends` its kinds of devices.

    `gcc` is the major and minor version of the GCC that compiled it; None for another compiler.
    """

    instructions: frozenset[str]
    backends: frozenset[str]
    commit: str
    ggml: str
    gcc: tuple[int, int] | None = None


def build() -> Build:
    """Raises R1Error when llama.cpp cannot be loaded."""
    info = parse_system_info(llama().llama_print_system_info().decode("utf-8", "replace"))
    count = function("ggml_backend_reg_count", [], ctypes.c_size_t)()
    return Build(
        instructions=frozenset(name for name, value in info.get("CPU", {}).items() if value != "0"),
        backends=frozenset(map(_backend, range(count))),
        commit=_version("ggml_commit").removesuffix("-dirty"),  # the binding patches llama.cpp
        ggml=ggml_version(),
        gcc=gcc_of(Path(llama()._lib._name)),
    )


def gcc_of(file: Path) -> tuple[int, int] | None:
    """The version of the GCC that compiled a shared library, as its section `.comment` has it; None if none did."""
    try:
        content = file.read_bytes()
    except OSError:
        return None
    found = None if b"clang version" in content else _GCC.search(content)
    return (int(found[1]), int(found[2])) if found else None


def ggml_version() -> str:
    """Empty for a library too old to have one."""
    return _version("ggml_version")


def binding_version() -> str:
    """The version of llama-cpp-python; empty when it is not installed as a package."""
    from importlib import metadata  # here, because it takes longer than all else in this module

    try:
        return metadata.version(BINDING)
    except metadata.PackageNotFoundError:
        return ""


def parse_system_info(text: str) -> Mapping[str, Mapping[str, str]]:
    """`CPU : AVX2 = 1 | FMA = 1 | CUDA : ARCHS = 890 | ` → backend → feature → value."""
    backends: dict[str, dict[str, str]] = {}
    features: dict[str, str] = {}
    for part in text.split("|"):
        rest = part.strip()
        while backend := _BACKEND.match(rest):
            features = backends.setdefault(backend[1], {})
            rest = rest[backend.end() :]
        name, is_pair, value = rest.partition("=")
        if is_pair:
            features[name.strip()] = value.strip()
    return backends


def _backend(index: int) -> str:
    """ggml's name for one of its backends."""
    registry = function("ggml_backend_reg_get", [ctypes.c_size_t], ctypes.c_void_p)(index)
    return str(function("ggml_backend_reg_name", [ctypes.c_void_p], ctypes.c_char_p)(registry).decode())


def _version(name: str) -> str:
    try:
        version: bytes | None = function(name, [], ctypes.c_char_p)()
    except R1Error:  # an older library
        return ""
    return (version or b"").decode("utf-8", "replace")
