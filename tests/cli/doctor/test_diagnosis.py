"""`r1.doctor.diagnosis`: the instruction sets of the processor against those of the build."""

from __future__ import annotations

from dataclasses import replace

from r1.doctor.diagnosis import Diagnosis
from tests.fakes.diagnoses import HARDWARE, diagnosis, diagnosis_with


def with_build(*instructions: str) -> Diagnosis:
    build = diagnosis().build
    assert build is not None
    return replace(diagnosis(), build=replace(build, instructions=frozenset(instructions)))


class TestInstructions:
    """Useful sets only, in the order of ggml's list."""

    def test_the_build_of_this_processor_lacks_none(self) -> None:
        assert diagnosis().missing_instructions == diagnosis().unsupported_instructions == []

    def test_missing_are_those_that_only_the_processor_has(self) -> None:
        assert with_build("FMA").missing_instructions == ["AVX", "AVX2", "F16C"]

    def test_unsupported_are_those_that_only_the_build_has(self) -> None:
        found = with_build("AVX", "AVX2", "FMA", "F16C", "AVX512", "OPENMP")
        assert found.unsupported_instructions == ["AVX512"]

    def test_without_a_complete_list_of_the_processor_nothing_is_unsupported(self) -> None:
        partly = replace(HARDWARE.processor, knows_all=False)
        found = replace(diagnosis_with(processor=partly), build=with_build("AVX512").build)
        assert found.unsupported_instructions == []

    def test_without_llama_cpp_there_are_none(self) -> None:
        broken = replace(diagnosis(), build=None)
        assert broken.missing_instructions == broken.unsupported_instructions == []
