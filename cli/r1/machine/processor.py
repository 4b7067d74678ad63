"""The processor: what it is called, and which instruction sets it has.

Knows: where Linux, macOS and Windows say so. Does not know: what llama.cpp was built for (`build`).
"""

from __future__ import annotations

import platform
import subprocess
import sys
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from pathlib import Path

USEFUL = (
    *("AVX", "AVX2", "FMA", "F16C", "BMI2", "AVX_VNNI", "AVX512", "AVX512_VBMI", "AVX512_VNNI", "AVX512_BF16"),
    *("AMX_INT8", "NEON", "DOTPROD", "MATMUL_INT8", "FP16_VA", "SVE", "SME"),
)
"""Those that its kernels use (ggml/src/ggml-cpu), in the order in which they are shown."""

DECISIVE = frozenset({"AVX", "AVX2", "FMA", "F16C", "NEON", "DOTPROD", "MATMUL_INT8"})
"""Those that most of the speed of its matrix products comes from, on processors that have them."""

_X86 = {
    "AVX": {"avx"},
    "AVX2": {"avx2"},
    "FMA": {"fma"},
    "F16C": {"f16c"},
    "BMI2": {"bmi2"},
    "AVX_VNNI": {"avx_vnni"},
    "AVX512": {"avx512f", "avx512cd", "avx512vl", "avx512dq", "avx512bw"},
    "AVX512_VBMI": {"avx512vbmi"},
    "AVX512_VNNI": {"avx512_vnni"},
    "AVX512_BF16": {"avx512_bf16"},
    "AMX_INT8": {"amx_int8"},
}
_ARM = {
    "NEON": {"asimd"},
    "DOTPROD": {"asimddp"},
    "MATMUL_INT8": {"i8mm"},
    "FP16_VA": {"fphp", "asimdhp"},
    "SVE": {"sve"},
    "SME": {"sme"},
}
_APPLE = {
    "NEON": ("hw.optional.AdvSIMD", "hw.optional.neon"),
    "DOTPROD": ("hw.optional.arm.FEAT_DotProd",),
    "MATMUL_INT8": ("hw.optional.arm.FEAT_I8MM",),
    "FP16_VA": ("hw.optional.arm.FEAT_FP16", "hw.optional.neon_fp16"),
    "SME": ("hw.optional.arm.FEAT_SME",),
}
_APPLE_X86 = {
    "AVX": {"avx1.0"},
    "AVX2": {"avx2"},
    "FMA": {"fma"},
    "F16C": {"f16c"},
    "BMI2": {"bmi2"},
    "AVX512": {"avx512f", "avx512cd", "avx512vl", "avx512dq", "avx512bw"},
    "AVX512_VBMI": {"avx512vbmi"},
    "AVX512_VNNI": {"avx512vnni"},
}
_WINDOWS = {"AVX": 39, "AVX2": 40, "NEON": 19, "DOTPROD": 43}


def instruction_sets_of_linux(flags: Collection[str]) -> frozenset[str]:
    """From the `flags` of /proc/cpuinfo, or its `Features` on ARM (arch/*/kernel/cpu, Documentation/arch/arm64)."""
    return _whose(_X86 | _ARM, {flag.lower() for flag in flags})


def instruction_sets_of_apple(sysctl: Callable[[str], str]) -> frozenset[str]:
    """From `sysctl -n NAME`, which says nothing where there is no such name.

    https://developer.apple.com/documentation/kernel/1387446-sysctlbyname/determining_instruction_set_characteristics
    """
    said = f"{sysctl('machdep.cpu.features')} {sysctl('machdep.cpu.leaf7_features')}".lower().split()
    on_arm = {name for name, keys in _APPLE.items() if any(sysctl(key).strip() == "1" for key in keys)}
    return _whose(_APPLE_X86, set(said)) | on_arm


def instruction_sets_of_windows(present: Callable[[int], bool]) -> frozenset[str]:
    """From IsProcessorFeaturePresent, which knows few of them; the numbers are winnt.h's."""
    return frozenset(name for name, number in _WINDOWS.items() if present(number))


def _whose(known: dict[str, set[str]], flags: set[str]) -> frozenset[str]:
    return frozenset(name for name, needed in known.items() if needed <= flags)


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
    return Processor(name, architecture, instruction_sets_of_linux(flags.split()), bool(flags))


def of_apple(architecture: str, sysctl: Callable[[str], str]) -> Processor:
    """`sysctl` says what `sysctl -n NAME` does, and nothing where there is no such name.

    A Python for Intel's processors does not see the real one: Rosetta stands between.
    """
    has = instruction_sets_of_apple(sysctl)
    return Processor(sysctl("machdep.cpu.brand_string").strip(), architecture, has, bool(has))


def of_windows(architecture: str) -> Processor:
    """Windows names few instruction sets, and none of them is known not to be there."""
    named = Processor(platform.processor(), architecture, knows_all=False)
    if sys.platform != "win32":
        return named
    import ctypes
    import winreg

    present = ctypes.windll.kernel32.IsProcessorFeaturePresent
    named = replace(named, has=instruction_sets_of_windows(lambda number: bool(present(number))))
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
