"""Instruction sets that make llama.cpp faster, by the names that llama.cpp has for them.

Knows: what Linux, macOS and Windows call them. Does not know: which a processor has, or a build was made for.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

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


def of_linux(flags: Collection[str]) -> frozenset[str]:
    """From the `flags` of /proc/cpuinfo, or its `Features` on ARM (arch/*/kernel/cpu, Documentation/arch/arm64)."""
    return _whose(_X86 | _ARM, {flag.lower() for flag in flags})


def of_apple(sysctl: Callable[[str], str]) -> frozenset[str]:
    """From `sysctl -n NAME`, which says nothing where there is no such name.

    https://developer.apple.com/documentation/kernel/1387446-sysctlbyname/determining_instruction_set_characteristics
    """
    said = f"{sysctl('machdep.cpu.features')} {sysctl('machdep.cpu.leaf7_features')}".lower().split()
    on_arm = {name for name, keys in _APPLE.items() if any(sysctl(key).strip() == "1" for key in keys)}
    return _whose(_APPLE_X86, set(said)) | on_arm


def of_windows(present: Callable[[int], bool]) -> frozenset[str]:
    """From IsProcessorFeaturePresent, which knows few of them; the numbers are winnt.h's."""
    return frozenset(name for name, number in _WINDOWS.items() if present(number))


def _whose(known: dict[str, set[str]], flags: set[str]) -> frozenset[str]:
    return frozenset(name for name, needed in known.items() if needed <= flags)
