"""`r1.doctor.tables` and `findings`: a diagnosis in words and tables."""

from __future__ import annotations

import io
import json
import re
from dataclasses import replace

import pytest
from rich.console import Console

from r1.doctor.diagnosis import Diagnosis
from r1.doctor.facts import doctor_facts
from r1.doctor.tables import recommended, show, worth_showing
from r1.doctor.warnings import Finding, findings
from r1.fit.choice import Prospect
from r1.machine.graphics import Graphics, Unused
from r1.machine.power import Power
from tests.fakes.diagnoses import GB, HARDWARE, MEMORY, diagnosis

CUDA = Unused(Graphics("NVIDIA", "GeForce RTX 4090"), "-DGGML_CUDA=on", "NVIDIA's CUDA toolkit")


def shown(found: Diagnosis, width: int) -> list[str]:
    """The lines of a terminal so wide."""
    stream = io.StringIO()
    show(found, Console(file=stream, width=width, highlight=False))
    return stream.getvalue().splitlines()


def on(**changes: object) -> Diagnosis:
    """The made-up machine with another piece of hardware in it."""
    return replace(diagnosis(), hardware=replace(HARDWARE, **changes))  # type: ignore[arg-type]


def only(found: Diagnosis) -> Finding:
    (concern,) = findings(found)
    return concern


class TestShow:
    """Fits terminals of any width."""

    @pytest.mark.parametrize("width", [40, 80, 200])
    def test_no_line_is_too_long_and_no_word_broken(self, width: int) -> None:
        found = replace(on(power=Power(True, 50)), unused=[CUDA])
        lines = [line for line in shown(found, width) if not line.startswith("  CMAKE_ARGS")]
        assert max(map(len, lines)) <= width
        words = {word for line in shown(found, 200) for word in line.split()}
        paths = {word for word in words if word.startswith("/")}  # for which a phone has no room
        assert {word for line in lines for word in line.split()} - words <= paths

    @pytest.mark.parametrize("width", [40, 80])
    def test_every_checkpoint_is_in_the_table_with_its_memory_and_speed(self, width: int) -> None:
        table = [line for line in shown(diagnosis(), width) if re.match(r"(qwen|llama)-\S+:Q", line)]
        assert {line.split(":")[0] for line in table} == {
            *("qwen-1.5b", "qwen-7b", "qwen-14b", "qwen-32b", "llama-8b", "llama-70b")
        }
        assert all(" GB" in line and re.search(r"[0-9]$", line.rstrip()) for line in table)

    def test_a_command_is_one_line_however_narrow_it_is(self) -> None:
        found = replace(diagnosis(), unused=[CUDA])
        assert f"  {found.installation.reinstall('-DGGML_CUDA=on')}" in shown(found, 40)

    def test_without_llama_cpp_everything_else_is_there(self) -> None:
        found = replace(diagnosis(), build=None, devices=[], trouble="llama-cpp-python cannot be loaded; reinstall it")
        text = "\n".join(shown(found, 80))
        assert "! llama-cpp-python cannot be loaded; reinstall it" in text
        assert "r1 pull " in text

    def test_names_of_devices_steer_no_terminal(self) -> None:
        found = on(processor=replace(HARDWARE.processor, name="[bold]x\x1b[31m"))
        assert "[bold]x[31m" in "\n".join(shown(found, 80))


class TestWorthShowing:
    """Few rows, and what helps to decide."""

    def test_has_a_larger_type_where_there_is_room_and_a_smaller_where_there_is_not(self) -> None:
        rows = [prospect.reference for prospect in worth_showing(diagnosis().prospects)]
        assert rows[:2] == ["qwen-1.5b:Q8_0", "qwen-1.5b:Q4_K_M"]
        assert [row for row in rows if row.startswith("llama-70b")] == ["llama-70b:Q4_K_M"]
        assert len(rows) <= 12


class TestRecommended:
    """What to take, why, and how."""

    def test_is_pulled_when_it_is_not_here(self) -> None:
        text, command = recommended(diagnosis().recommendation)
        assert text.startswith("Take qwen-1.5b:Q4_K_M: ")  # a 7B would decode 0.85 × 20 GB/s ÷ 4.4 GB = 3.9 tokens
        assert "28.9 %" in text
        assert command == "r1 pull qwen-1.5b:Q4_K_M"

    def test_is_talked_to_when_it_is(self) -> None:
        chosen = diagnosis().recommendation
        assert chosen is not None
        text, command = recommended(replace(chosen, here="qwen-1.5b:Q8_0", better="qwen-7b:Q4_K_M"))
        assert "qwen-1.5b:Q8_0 is here already" in text
        assert "more room on the disk it would be qwen-7b:Q4_K_M" in text
        assert command == "r1 chat qwen-1.5b:Q8_0"

    def test_is_the_built_in_one_where_nothing_else_fits(self) -> None:
        assert recommended(None)[1] == "r1 chat tiny"


class TestConcerns:
    """Each says what is the matter, and what to do."""

    def test_are_none_where_all_is_well(self) -> None:
        assert findings(diagnosis()) == []

    def test_a_gpu_that_goes_unused(self) -> None:
        concern = only(replace(diagnosis(), unused=[CUDA]))
        assert concern.about == "gpu"
        assert "NVIDIA GeForce RTX 4090" in concern.text
        assert "install NVIDIA's CUDA toolkit first" in concern.text
        assert concern.command.startswith('CMAKE_ARGS="-DGGML_CUDA=on" pipx runpip r1-local install ')

    def test_a_gpu_that_the_driver_hides_needs_no_new_build(self) -> None:
        concern = only(replace(diagnosis(), unused=[replace(CUDA, built=True)]))
        assert "driver" in concern.text
        assert concern.command == ""

    def test_a_build_that_lacks_what_the_processor_has(self) -> None:
        found = diagnosis()
        assert found.build is not None
        concern = only(replace(found, build=replace(found.build, instructions=frozenset({"AVX"}))))
        assert "without AVX2, FMA, F16C" in concern.text
        assert '"-DGGML_NATIVE=on"' in concern.command

    def test_a_build_that_has_what_the_processor_lacks(self) -> None:
        found = diagnosis()
        assert found.build is not None
        more = found.build.instructions | {"AVX512", "OPENMP"}
        concern = only(replace(found, build=replace(found.build, instructions=more)))
        assert "compiled for AVX512, which this processor lacks" in concern.text

    def test_avx512_alone_is_no_reason_to_compile_again(self) -> None:
        processor = replace(HARDWARE.processor, has=HARDWARE.processor.has | {"AVX512"})
        found = on(processor=processor)
        assert found.missing == ["AVX512"]
        assert findings(found) == []

    def test_a_battery(self) -> None:
        assert "on battery (41 %)" in only(on(power=Power(True, 41))).text
        assert findings(on(power=Power(None, 41))) == findings(on(power=Power(False, 41))) == []

    def test_swap_in_use(self) -> None:
        assert only(on(swap_used=3 * GB)).text.startswith("3 GB of swap are in use: close ")
        assert findings(on(swap_used=50_000_000)) == []

    def test_limits_on_memory(self) -> None:
        assert "control group" in only(on(memory=replace(MEMORY, limit="cgroup"))).text
        assert only(on(memory=replace(MEMORY, limit="ulimit"))).command == "ulimit -v unlimited"

    def test_other_programs_that_spoil_the_measurement(self) -> None:
        assert "80 % of the processor" in only(on(busy=0.8)).text
        assert findings(on(busy=None)) == []

    def test_a_disk_that_is_nearly_full_is_told_of_once(self) -> None:
        assert HARDWARE.home is not None
        assert HARDWARE.hub_cache is not None
        home, cache = replace(HARDWARE.home, free=2 * GB), replace(HARDWARE.hub_cache, free=2 * GB)
        assert only(on(home=home, hub_cache=cache)).about == "disk"
        assert only(on(hub_cache=replace(cache, device=2))).about == "hub_cache"


class TestFacts:
    """The same for scripts."""

    def test_are_json_in_snake_case_with_numbers(self) -> None:
        found = replace(on(power=Power(True, 50)), unused=[CUDA])
        facts = json.loads(json.dumps(doctor_facts(found)))
        assert facts["memory"]["total_bytes"] == 16 * GB
        assert facts["memory"]["bandwidth_bytes_per_second"] == 20 * GB
        assert facts["power"] == {"on_battery": True, "percent": 50}
        assert [warning["about"] for warning in facts["warnings"]] == ["gpu", "power"]
        assert facts["unused_gpus"][0]["command"] == facts["warnings"][0]["command"]
        assert facts["recommendation"]["command"] == "r1 pull qwen-1.5b:Q4_K_M"
        assert all(re.fullmatch(r"[a-z0-9_]+", key) for key in keys(facts))

    def test_have_every_type(self) -> None:
        models = doctor_facts(diagnosis())["models"]
        assert len(models) == 6 * 6
        assert {type(model["tokens_per_second"]) for model in models} == {float}


def keys(value: object) -> set[str]:
    """Every key of an object and of what is in it."""
    match value:
        case dict():
            return set(value) | {key for inner in value.values() for key in keys(inner)}
        case list():
            return {key for inner in value for key in keys(inner)}
    return set()


def test_a_gpu_makes_speeds_a_lower_bound() -> None:
    def moved(prospect: Prospect) -> Prospect:
        return replace(prospect, on_gpu=True)

    found = replace(diagnosis(), prospects=[moved(prospect) for prospect in diagnosis().prospects])
    text = "\n".join(shown(found, 80))
    assert "+: more, on the GPU" in text
