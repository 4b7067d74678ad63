"""`r1.doctor.tables`: a diagnosis as tables and lines."""

from __future__ import annotations

import io
import re
from dataclasses import replace

import pytest
from rich.console import Console

from r1.doctor.diagnosis import Diagnosis
from r1.doctor.tables import recommended, show, shown_prospects, votes_in_words
from r1.fit.recommendation import Prospect
from r1.fit.votes import VotesInstead
from r1.machine.power import Power
from tests.fakes.diagnoses import CUDA, HARDWARE, diagnosis, diagnosis_with, votes


def shown(found: Diagnosis, width: int) -> list[str]:
    """The lines on a terminal of that width."""
    stream = io.StringIO()
    show(found, Console(file=stream, width=width, highlight=False))
    return stream.getvalue().splitlines()


class TestShow:
    """The report fits terminals of any width."""

    @pytest.mark.parametrize("width", [40, 80, 200])
    def test_no_line_is_too_long_and_no_word_broken(self, width: int) -> None:
        found = replace(diagnosis_with(power=Power(True, 50)), unused=[CUDA])
        lines = [line for line in shown(found, width) if not line.startswith("  CMAKE_ARGS")]
        assert max(map(len, lines)) <= width
        words = {word.rstrip(",") for line in shown(found, 200) for word in line.split()}
        paths = {word for word in words if word.startswith("/")}  # too long for a phone
        assert {word.rstrip(",") for line in lines for word in line.split()} - words <= paths

    def test_the_note_speaks_of_the_columns_that_there_are(self) -> None:
        assert "Memory needed at each context length, and" in " ".join(shown(diagnosis(), 80))
        assert "Memory needed at the context length 16k, and" in " ".join(map(str.strip, shown(diagnosis(), 40)))

    @pytest.mark.parametrize("width", [40, 80])
    def test_every_checkpoint_is_in_the_table_with_its_memory_and_speed(self, width: int) -> None:
        table = [line for line in shown(diagnosis(), width) if re.match(r"(qwen|llama)-\S+:Q", line)]
        assert {line.split(":")[0] for line in table} == {
            *("qwen-1.5b", "qwen-7b", "qwen-14b", "qwen-32b", "llama-8b", "llama-70b")
        }
        assert all(" GB" in line and re.search(r"[0-9]$", line.rstrip()) for line in table)

    def test_a_command_stays_on_one_line_at_any_width(self) -> None:
        found = replace(diagnosis(), unused=[CUDA])
        assert f"  {found.installation.reinstall('-DGGML_CUDA=on')}" in shown(found, 40)

    def test_without_llama_cpp_the_rest_is_still_shown(self) -> None:
        found = replace(
            diagnosis(), build=None, devices=[], llama_cpp_error="cannot load llama-cpp-python; reinstall it"
        )
        text = "\n".join(shown(found, 80))
        assert "! cannot load llama-cpp-python; reinstall it" in text
        assert "r1 pull " in text

    def test_device_names_cannot_control_the_terminal(self) -> None:
        found = diagnosis_with(processor=replace(HARDWARE.processor, name="[bold]x\x1b[31m"))
        assert "[bold]x[31m" in "\n".join(shown(found, 80))


class TestShownProspects:
    """Few rows: the ones that help to decide."""

    def test_has_a_larger_type_if_it_fits_too_and_a_smaller_one_if_the_usual_does_not(self) -> None:
        rows = [prospect.reference for prospect in shown_prospects(diagnosis().prospects)]
        assert rows[:2] == ["qwen-1.5b:Q8_0", "qwen-1.5b:Q4_K_M"]
        assert [row for row in rows if row.startswith("llama-70b")] == ["llama-70b:Q4_K_M"]
        assert len(rows) <= 12


class TestRecommended:
    """Which model, why, and the command."""

    def test_a_model_that_is_not_stored_is_pulled(self) -> None:
        text, command = recommended(diagnosis().recommendation)
        assert text.startswith(
            "Recommended: qwen-1.5b:Q4_K_M, "
        )  # a 7B would decode 0.85 × 20 GB/s ÷ 4.4 GB = 3.9 tokens
        assert "28.9 %" in text
        assert command == "r1 pull qwen-1.5b:Q4_K_M"

    def test_a_stored_model_is_started(self) -> None:
        chosen = diagnosis().recommendation
        assert chosen is not None
        text, command = recommended(replace(chosen, here="qwen-1.5b:Q8_0", better="qwen-7b:Q4_K_M"))
        assert "qwen-1.5b:Q8_0 is on this machine" in text
        assert "With more free disk space: qwen-7b:Q4_K_M" in text
        assert command == "r1 chat qwen-1.5b:Q8_0"

    def test_the_built_in_model_if_no_other_fits(self) -> None:
        assert recommended(None)[1] == "r1 chat tiny"


class TestVotesInWords:
    """An estimate of time, labelled as one, and only scores that were published."""

    def test_says_what_is_estimated_and_what_is_published(self) -> None:
        assert votes_in_words(votes()) == (
            "Estimate: r1 run -m qwen-7b:Q4_K_M --votes 8 takes no longer than one answer of qwen-32b:Q4_K_M. "
            "Published for AIME 2024 (unquantized): qwen-7b 55.5 % with one answer and 83.3 % with 64 votes, "
            "qwen-32b 72.6 % with one answer. 8 votes get part of the gain of 64."
        )

    def test_64_votes_have_a_published_score(self) -> None:
        assert votes_in_words(replace(votes(), votes=64)).endswith("qwen-32b 72.6 % with one answer.")

    @pytest.mark.parametrize("width", [40, 80, 200])
    def test_stands_below_the_recommendation_where_there_are_some(self, width: int) -> None:
        def text(instead: VotesInstead | None) -> str:
            lines = shown(replace(diagnosis(), votes=instead), width)
            assert max(map(len, lines)) <= width
            return " ".join(" ".join(lines).split())

        assert f"r1 pull qwen-1.5b:Q4_K_M {votes_in_words(votes())}" in text(votes())
        assert "Estimate" not in text(None)


def test_a_gpu_makes_speeds_a_lower_bound() -> None:
    def moved(prospect: Prospect) -> Prospect:
        return replace(prospect, on_gpu=True)

    with_gpu = replace(diagnosis(), prospects=[moved(prospect) for prospect in diagnosis().prospects])
    text = "\n".join(shown(with_gpu, 80))
    assert "+: faster, on the GPU" in text
