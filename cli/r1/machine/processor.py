"""The processor: what it is called, and which instruction sets it has.

Knows: where Linux, macOS and Windows say so. Does not know: what llama.cpp was built for (`build`).
"""

from __future__ import annotations

import platform
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from r1.machine import instructions


@dataclass(frozen=True, slots=True)
class Processor:
    """`name` is empty where nobody says it. `has` are instruction sets by llama.cpp's names; `knows_all` says whether
    one that is not among them is not there either."""

    name: str
    architecture: str
    has: frozenset[str] = frozenset()
    knows_all: bool = True

    @property
    def label(self) -> str:
        """Its name, else that of its architecture."""
        return self.name or self.architecture


def processor(root: Path = Path("/")) -> Processor:
    """That of this machine; below `root` lie `proc` and `sys`, on Linux."""
    architecture = platform.machine()
    if sys.platform == "darwin":
        return of_apple(architecture, _sysctl)
    if sys.platform == "win32":
        return of_windows(architecture)
    return of_linux(architecture, root)


def of_linux(architecture: str, root: Path) -> Processor:
    """From /proc/cpuinfo; a board with an ARM processor is named by its device tree."""
    said: dict[str, str] = {}
    for line in _read(root / "proc/cpuinfo").splitlines():
        key, _, value = line.partition(":")
        said.setdefault(key.strip().lower(), value.strip())
    flags = said.get("flags") or said.get("features") or ""
    board = _read(root / "proc/device-tree/model").strip("\0\n ")
    name = said.get("model name") or said.get("hardware") or board
    return Processor(name, architecture, instructions.of_linux(flags.split()), bool(flags))


def of_apple(architecture: str, sysctl: Callable[[str], str]) -> Processor:
    """`sysctl` says what `sysctl -n NAME` does, and nothing where there is no such name.

    A Python for Intel's processors does not see the real one: Rosetta stands between.
    """
    has = instructions.of_apple(sysctl)
    return Processor(sysctl("machdep.cpu.brand_string").strip(), architecture, has, bool(has))


def of_windows(architecture: str) -> Processor:
    """Windows names few instruction sets, and none of them is known not to be there."""
    named = Processor(platform.processor(), architecture, knows_all=False)
    if sys.platform != "win32":
        return named
    import ctypes
    import winreg

    present = ctypes.windll.kernel32.IsProcessorFeaturePresent
    named = replace(named, has=instructions.of_windows(lambda number: bool(present(number))))
    try:
        with winreg.OpenKey(winreg.HKEY_LOCAL_MACHINE, r"HARDWARE\DESCRIPTION\System\CentralProcessor\0") as key:
            return replace(named, name=str(winreg.QueryValueEx(key, "ProcessorNameString")[0]).strip())
    except OSError:
        return named


def _sysctl(name: str) -> str:
    try:
        said = subprocess.run(["/usr/sbin/sysctl", "-n", name], capture_output=True, text=True, check=True, timeout=5)
    except (OSError, subprocess.SubprocessError):
        return ""
    return said.stdout


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
