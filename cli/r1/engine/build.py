"""This build of llama.cpp: for which instruction sets and backends it was compiled, and which versions it is of.

Knows: how llama.cpp says so. Does not know: what the machine could do besides.
"""

from __future__ import annotations

import ctypes
import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata

from r1.engine.llama import llama
from r1_quantize.binding import function
from r1_quantize.errors import R1Error

BINDING = "llama-cpp-python"

_BACKEND = re.compile(r"(\w+) : ")


@dataclass(frozen=True, slots=True)
class Build:
    """`instructions` are those it was compiled for, by llama.cpp's names; `backends` the kinds of devices it knows."""

    instructions: frozenset[str]
    backends: frozenset[str]
    commit: str
    ggml: str


def build() -> Build:
    """Raises R1Error when llama.cpp cannot be loaded."""
    said = parse_system_info(llama().llama_print_system_info().decode("utf-8", "replace"))
    on = frozenset(name for name, value in said.get("CPU", {}).items() if value != "0")
    count = function("ggml_backend_reg_count", [], ctypes.c_size_t)()
    commit = _version("ggml_commit").removesuffix("-dirty")  # the binding's own changes
    return Build(on, frozenset(map(_backend, range(count))), commit, _version("ggml_version"))


def binding_version() -> str:
    """Of llama-cpp-python; empty when it is not installed as a package."""
    try:
        return metadata.version(BINDING)
    except metadata.PackageNotFoundError:
        return ""


def parse_system_info(text: str) -> Mapping[str, Mapping[str, str]]:
    """`CPU : AVX2 = 1 | FMA = 1 | CUDA : ARCHS = 890 | ` → backend → what it has → value."""
    found: dict[str, dict[str, str]] = {}
    pairs: dict[str, str] = {}
    for part in text.split("|"):
        rest = part.strip()
        while backend := _BACKEND.match(rest):
            pairs = found.setdefault(backend[1], {})
            rest = rest[backend.end() :]
        name, is_pair, value = rest.partition("=")
        if is_pair:
            pairs[name.strip()] = value.strip()
    return found


def _backend(index: int) -> str:
    """What ggml calls one of its backends."""
    registered = function("ggml_backend_reg_get", [ctypes.c_size_t], ctypes.c_void_p)(index)
    return str(function("ggml_backend_reg_name", [ctypes.c_void_p], ctypes.c_char_p)(registered).decode())


def _version(name: str) -> str:
    try:
        said: bytes | None = function(name, [], ctypes.c_char_p)()
    except R1Error:  # an older library
        return ""
    return (said or b"").decode("utf-8", "replace")
