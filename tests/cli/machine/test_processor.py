"""`r1.machine.processor`: its name, and its instruction sets by llama.cpp's names."""

from __future__ import annotations

from pathlib import Path

import pytest

from r1.engine.build import build
from r1.machine.processor import (
    USEFUL,
    instruction_sets_of_linux,
    instruction_sets_of_windows,
    of_apple,
    of_linux,
    processor,
)

SKYLAKE = """processor\t: 0
vendor_id\t: GenuineIntel
model name\t: Intel(R) Core(TM) i7-8550U CPU @ 1.80GHz
flags\t\t: fpu sse sse2 ht pni ssse3 fma sse4_1 sse4_2 popcnt aes avx f16c rdrand abm bmi1 avx2 smep bmi2

processor\t: 1
model name\t: another
"""
CORTEX_A76 = """processor\t: 0
BogoMIPS\t: 108.00
Features\t: fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp
CPU implementer\t: 0x41
CPU part\t: 0xd0b
"""
M2 = {
    "machdep.cpu.brand_string": "Apple M2\n",
    "hw.optional.AdvSIMD": "1\n",
    "hw.optional.arm.FEAT_DotProd": "1\n",
    "hw.optional.arm.FEAT_I8MM": "1\n",
    "hw.optional.arm.FEAT_FP16": "1\n",
    "hw.optional.arm.FEAT_SME": "0\n",
}


def root_with(folder: Path, cpuinfo: str, board: str = "") -> Path:
    """Writes a /proc below `folder`."""
    (folder / "proc/device-tree").mkdir(parents=True)
    (folder / "proc/cpuinfo").write_text(cpuinfo)
    (folder / "proc/device-tree/model").write_text(board)
    return folder


class TestLinux:
    """/proc/cpuinfo on x86 and on ARM."""

    def test_an_intel_has_avx2_but_no_avx512(self, tmp_path: Path) -> None:
        found = of_linux("x86_64", root_with(tmp_path, SKYLAKE))
        assert found.name == "Intel(R) Core(TM) i7-8550U CPU @ 1.80GHz"
        assert found.has == {"AVX", "AVX2", "FMA", "F16C", "BMI2"}

    def test_avx512_needs_all_its_parts(self, tmp_path: Path) -> None:
        parts = "avx512f avx512cd avx512vl avx512dq"
        assert not instruction_sets_of_linux(parts.split())  # such as a Knights Mill
        assert instruction_sets_of_linux([*parts.split(), "avx512bw"]) == {"AVX512"}

    def test_an_arm_board_takes_its_name_from_the_device_tree(self, tmp_path: Path) -> None:
        found = of_linux("aarch64", root_with(tmp_path, CORTEX_A76, "Raspberry Pi 5 Model B Rev 1.0\0"))
        assert found.name == "Raspberry Pi 5 Model B Rev 1.0"
        assert found.has == {"NEON", "DOTPROD", "FP16_VA"}

    def test_without_proc_nothing_is_known(self, tmp_path: Path) -> None:
        found = of_linux("x86_64", tmp_path)
        assert (found.name, found.has, found.knows_all) == ("", frozenset(), False)


class TestApple:
    """sysctl, which prints nothing for unknown names."""

    def test_an_m2_has_i8mm_but_no_sme(self) -> None:
        found = of_apple("arm64", lambda name: M2.get(name, ""))
        assert found.name == "Apple M2"
        assert found.has == {"NEON", "DOTPROD", "MATMUL_INT8", "FP16_VA"}

    def test_an_intel_mac_has_two_lists_of_features(self) -> None:
        features = {
            "machdep.cpu.features": "FPU SSE3 FMA AVX1.0 F16C\n",
            "machdep.cpu.leaf7_features": "BMI1 AVX2 BMI2\n",
        }
        assert of_apple("x86_64", lambda name: features.get(name, "")).has == {"AVX", "AVX2", "FMA", "F16C", "BMI2"}

    def test_without_output_nothing_is_known(self) -> None:
        assert not of_apple("arm64", lambda _: "").knows_all


class TestWindows:
    """IsProcessorFeaturePresent, by winnt.h's numbers."""

    def test_avx2_is_number_40(self) -> None:
        assert instruction_sets_of_windows(lambda number: number in {39, 40}) == {"AVX", "AVX2"}


class TestThisMachine:
    """The machine the tests run on, against code that asks the processor itself."""

    def test_numpy_finds_the_same_instruction_sets_by_cpuid(self) -> None:
        umath = pytest.importorskip("numpy._core._multiarray_umath")
        names = {"AVX": "AVX", "AVX2": "AVX2", "FMA3": "FMA", "F16C": "F16C", "ASIMD": "NEON", "ASIMDDP": "DOTPROD"}
        names |= {"AVX512_SKX": "AVX512", "AVX512VNNI": "AVX512_VNNI", "AVX512BF16": "AVX512_BF16", "SVE": "SVE"}
        known = {
            ours: there for theirs, ours in names.items() if (there := umath.__cpu_features__.get(theirs)) is not None
        }
        found = processor()
        if not found.knows_all:
            pytest.skip("this system does not list its processor's instruction sets")
        assert {name for name, there in known.items() if there} == found.has & known.keys()

    def test_llama_cpp_was_compiled_for_no_more_than_it_has(self) -> None:
        found = processor()
        if not found.knows_all:
            pytest.skip("this system does not list its processor's instruction sets")
        assert build().instructions & set(USEFUL) <= found.has
