"""`r1.doctor.warnings`: what is wrong with a machine, in words."""

from __future__ import annotations

from dataclasses import replace

import pytest

from r1.doctor.diagnosis import Diagnosis
from r1.doctor.installation import Installation
from r1.doctor.warnings import Finding, findings, miscompiles_amx, unused_gpu
from r1.machine.graphics import Graphics, Unused
from r1.machine.power import Power
from tests.fakes.diagnoses import CUDA, GB, HARDWARE, MEMORY, diagnosis, diagnosis_with


def only(diagnosed: Diagnosis) -> Finding:
    """The single finding."""
    (finding,) = findings(diagnosed)
    return finding


class TestFindings:
    """Each says what is wrong, and what to do."""

    def test_there_are_none_on_a_machine_without_faults(self) -> None:
        assert findings(diagnosis()) == []

    def test_an_unused_gpu(self) -> None:
        finding = only(replace(diagnosis(), unused=[CUDA]))
        assert finding.about == "gpu"
        assert "the NVIDIA GeForce RTX 4090" in finding.text
        assert "install NVIDIA's CUDA toolkit first" in finding.text
        assert finding.command.startswith('CMAKE_ARGS="-DGGML_CUDA=on" pipx runpip r1-local install ')

    def test_a_gpu_that_the_driver_does_not_show_needs_no_new_build(self) -> None:
        finding = only(replace(diagnosis(), unused=[replace(CUDA, built=True)]))
        assert "driver" in finding.text
        assert finding.command == ""

    def test_a_build_that_lacks_what_the_processor_has(self) -> None:
        found = diagnosis()
        assert found.build is not None
        finding = only(replace(found, build=replace(found.build, instructions=frozenset({"AVX"}))))
        assert "without AVX2, FMA, F16C" in finding.text
        assert '"-DGGML_NATIVE=on"' in finding.command

    def test_a_build_that_has_what_the_processor_lacks(self) -> None:
        found = diagnosis()
        assert found.build is not None
        more = found.build.instructions | {"AVX512", "OPENMP"}
        finding = only(replace(found, build=replace(found.build, instructions=more)))
        assert "compiled for AVX512, which this processor lacks" in finding.text

    @pytest.mark.parametrize(
        ("gcc", "bad"),
        [
            *(((9, 4), True), ((11, 4), True), ((11, 5), False), ((12, 2), True), ((12, 3), True), ((12, 4), False)),
            *(((13, 2), True), ((13, 3), False), ((14, 1), False), ((15, 0), False), (None, False)),
        ],
    )
    def test_a_compiler_that_miscompiles_amx(self, gcc: tuple[int, int] | None, bad: bool) -> None:
        """The versions in which GCC's bug 114098 is fixed: 11.5, 12.4, 13.3 and 14."""
        plain = diagnosis().build
        assert plain is not None
        names = plain.instructions | {"AMX_INT8"}
        assert miscompiles_amx(replace(plain, instructions=names, gcc=gcc)) == bad
        assert not miscompiles_amx(replace(plain, gcc=gcc))

    def test_such_a_build_is_reported_with_the_command(self) -> None:
        processor = replace(HARDWARE.processor, has=HARDWARE.processor.has | {"AMX_INT8"})
        plain = diagnosis().build
        assert plain is not None
        build = replace(plain, instructions=processor.has, gcc=(12, 2))
        found = only(replace(diagnosis(), build=build, hardware=replace(HARDWARE, processor=processor)))
        assert found.text.startswith("GCC 12.2 miscompiles llama.cpp's code for AMX (https://gcc.gnu.org/PR114098)")
        flags = "-mno-amx-tile -mno-amx-int8 -mno-amx-bf16"
        assert found.command.startswith(f'CFLAGS="{flags}" CXXFLAGS="{flags}" CMAKE_ARGS="-DGGML_NATIVE=on" pipx ')

    def test_avx512_alone_is_not_worth_a_new_build(self) -> None:
        processor = replace(HARDWARE.processor, has=HARDWARE.processor.has | {"AVX512"})
        found = diagnosis_with(processor=processor)
        assert found.missing_instructions == ["AVX512"]
        assert findings(found) == []

    def test_a_battery(self) -> None:
        assert "on battery (41 %)" in only(diagnosis_with(power=Power(True, 41))).text
        assert findings(diagnosis_with(power=Power(None, 41))) == findings(diagnosis_with(power=Power(False, 41))) == []

    def test_swap_in_use(self) -> None:
        assert only(diagnosis_with(swap_used=3 * GB)).text.startswith("3 GB of swap in use; close ")
        assert findings(diagnosis_with(swap_used=50_000_000)) == []

    def test_limits_on_memory(self) -> None:
        assert "control group" in only(diagnosis_with(memory=MEMORY._replace(limit="cgroup"))).text
        assert only(diagnosis_with(memory=MEMORY._replace(limit="ulimit"))).command == "ulimit -v unlimited"

    def test_other_programs_that_distort_the_measurement(self) -> None:
        assert "80 % of the processor" in only(diagnosis_with(busy=0.8)).text
        assert findings(diagnosis_with(busy=None)) == []

    def test_a_nearly_full_disk_is_reported_once(self) -> None:
        assert HARDWARE.home is not None
        assert HARDWARE.hub_cache is not None
        home, cache = replace(HARDWARE.home, free=2 * GB), replace(HARDWARE.hub_cache, free=2 * GB)
        assert only(diagnosis_with(home=home, hub_cache=cache)).about == "disk"
        assert only(diagnosis_with(hub_cache=replace(cache, device=2))).about == "hub_cache"

    def test_the_most_serious_comes_first(self) -> None:
        worst = replace(
            diagnosis_with(power=Power(True, 41), swap_used=3 * GB, busy=0.8),
            unused=[CUDA],
            build=None,
            llama_cpp_error="cannot load llama-cpp-python; reinstall it",
        )
        assert [finding.about for finding in findings(worst)] == ["llama_cpp", "gpu", "swap", "power", "busy"]


class TestUnusedGPU:
    """The sentence names the GPU, and ends where the command follows."""

    INSTALLATION = Installation(tool="pip", python="/v/bin/python", name="v", version="0.3.36")

    @pytest.mark.parametrize(
        ("graphics", "name"),
        [
            (Graphics("NVIDIA"), "an NVIDIA GPU"),
            (Graphics("AMD"), "an AMD GPU"),
            (Graphics("NVIDIA", "GeForce GTX 1080"), "the NVIDIA GeForce GTX 1080"),
        ],
    )
    def test_names_it(self, graphics: Graphics, name: str) -> None:
        text = unused_gpu(Unused(graphics, "-DGGML_X=on", ""), self.INSTALLATION).text
        assert text == f"this build of llama.cpp cannot use {name}; run"

    def test_without_llama_cpp_the_command_compiles_it(self) -> None:
        finding = unused_gpu(CUDA, self.INSTALLATION, compiled=False)
        assert finding.text.endswith("install NVIDIA's CUDA toolkit first, then compile llama.cpp for it with")
        assert finding.command == self.INSTALLATION.reinstall("-DGGML_CUDA=on")
