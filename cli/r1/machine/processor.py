"""The processor: its name, and which of the instruction sets that matter to llama.cpp it has."""

from __future__ import annotations

import platform
import subprocess
import sys
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

USEFUL = (
    *("AVX", "AVX2", "FMA", "F16C", "BMI2", "AVX_VNNI", "AVX512", "AVX512_VBMI", "AVX512_VNNI", "AVX512_BF16"),
    *("AMX_INT8", "NEON", "DOTPROD", "MATMUL_INT8", "FP16_VA", "SVE", "SME"),
)
"""The instruction sets that llama.cpp's kernels use (ggml/src/ggml-cpu), by its names, in the order shown."""

DECISIVE = frozenset({"AVX", "AVX2", "FMA", "F16C", "NEON", "DOTPROD", "MATMUL_INT8"})
"""The ones that account for most of the speed of matrix products, on processors that have them."""

# llama.cpp's name → the flags or features that a system reports; all of them must be present
_LINUX_X86 = {
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
_LINUX_ARM = {
    "NEON": {"asimd"},
    "DOTPROD": {"asimddp"},
    "MATMUL_INT8": {"i8mm"},
    "FP16_VA": {"fphp", "asimdhp"},
    "SVE": {"sve"},
    "SME": {"sme"},
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
# llama.cpp's name → sysctl names; one of them must be 1
_APPLE_ARM = {
    "NEON": ("hw.optional.AdvSIMD", "hw.optional.neon"),
    "DOTPROD": ("hw.optional.arm.FEAT_DotProd",),
    "MATMUL_INT8": ("hw.optional.arm.FEAT_I8MM",),
    "FP16_VA": ("hw.optional.arm.FEAT_FP16", "hw.optional.neon_fp16"),
    "SME": ("hw.optional.arm.FEAT_SME",),
}
_WINDOWS = {"AVX": 39, "AVX2": 40, "NEON": 19, "DOTPROD": 43}  # winnt.h


@dataclass(frozen=True, slots=True)
class Processor:
    """`name` is empty where the system does not say. `has` are instruction sets by llama.cpp's names.

    `knows_all`: the system lists every instruction set, so one missing from `has` is missing from the processor.
    """

    name: str
    architecture: str
    has: frozenset[str] = frozenset()
    knows_all: bool = True

    @property
    def label(self) -> str:
        """The name, else the architecture."""
        return self.name or self.architecture


def processor(root: Path = Path("/")) -> Processor:
    """This machine's processor. On Linux `proc` and `sys` are read below `root`."""
    architecture = platform.machine()
    if sys.platform == "darwin":
        return of_apple(architecture, _sysctl)
    if sys.platform == "win32":
        return of_windows(architecture)
    return of_linux(architecture, root)


def of_linux(architecture: str, root: Path) -> Processor:
    """From /proc/cpuinfo; a board with an ARM processor takes its name from its device tree."""
    fields: dict[str, str] = {}
    for line in _read(root / "proc/cpuinfo").splitlines():
        key, _, value = line.partition(":")
        fields.setdefault(key.strip().lower(), value.strip())
    flags = fields.get("flags") or fields.get("features") or ""
    board = _read(root / "proc/device-tree/model").strip("\0\n ")
    name = fields.get("model name") or fields.get("hardware") or board
    return Processor(name, architecture, has=instruction_sets_of_linux(flags.split()), knows_all=bool(flags))


def of_apple(architecture: str, sysctl: Callable[[str], str]) -> Processor:
    """`sysctl` returns the output of `sysctl -n NAME`, empty for an unknown name.

    Under Rosetta, a Python built for Intel sees Rosetta's processor instead of the real one.
    """
    has = instruction_sets_of_apple(sysctl)
    name = sysctl("machdep.cpu.brand_string").strip()
    return Processor(name, architecture, has=has, knows_all=bool(has))


def of_windows(architecture: str) -> Processor:
    """Windows reports few instruction sets, so none can be called missing."""
    unnamed = Processor(platform.processor(), architecture, knows_all=False)
    if sys.platform != "win32":
        return unnamed
    import ctypes
    import winreg

    present = ctypes.windll.kernel32.IsProcessorFeaturePresent
    unnamed = replace(unnamed, has=instruction_sets_of_windows(lambda number: bool(present(number))))
    try:
        with winreg.OpenKey(winreg.HKEY_LOCAL_MACHINE, r"HARDWARE\DESCRIPTION\System\CentralProcessor\0") as key:
            return replace(unnamed, name=str(winreg.QueryValueEx(key, "ProcessorNameString")[0]).strip())
    except OSError:
        return unnamed


def instruction_sets_of_linux(flags: Collection[str]) -> frozenset[str]:
    """From the `flags` of /proc/cpuinfo, or its `Features` on ARM (arch/*/kernel/cpu, Documentation/arch/arm64)."""
    return _complete(_LINUX_X86 | _LINUX_ARM, {flag.lower() for flag in flags})


def instruction_sets_of_apple(sysctl: Callable[[str], str]) -> frozenset[str]:
    """From `sysctl -n NAME`, which prints nothing for an unknown name.

    https://developer.apple.com/documentation/kernel/1387446-sysctlbyname/determining_instruction_set_characteristics
    """
    features = f"{sysctl('machdep.cpu.features')} {sysctl('machdep.cpu.leaf7_features')}".lower().split()
    on_arm = {name for name, keys in _APPLE_ARM.items() if any(sysctl(key).strip() == "1" for key in keys)}
    return _complete(_APPLE_X86, set(features)) | on_arm


def instruction_sets_of_windows(present: Callable[[int], bool]) -> frozenset[str]:
    """From IsProcessorFeaturePresent, which knows only a few; the numbers are winnt.h's."""
    return frozenset(name for name, number in _WINDOWS.items() if present(number))


def _complete(known: Mapping[str, set[str]], flags: set[str]) -> frozenset[str]:
    """The instruction sets whose flags are all present."""
    return frozenset(name for name, needed in known.items() if needed <= flags)


def _sysctl(name: str) -> str:
    try:
        done = subprocess.run(["/usr/sbin/sysctl", "-n", name], capture_output=True, text=True, check=True, timeout=5)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
