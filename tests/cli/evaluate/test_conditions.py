"""`r1.evaluate.conditions`: what is added to questions, and which samples may be counted together."""

from __future__ import annotations

from pathlib import Path

import pytest

from r1.evaluate.conditions import Instructions, compared, facts, in_words
from r1.evaluate.problems import CHOICE_INSTRUCTION, INSTRUCTION
from r1.evaluate.sample_log import Cache
from r1.settings import Settings
from r1_quantize.store.model import StoredModel
from tests.cli.evaluate.samples import problem

PLAIN = problem(1)
BOXED = problem(2, question=r"Is 1+1 two? Use \boxed{}.")
CHOICES = problem(3, "A", choices=("red", "green"))


def model(path: Path, *, quant: str | None = None, modified: float = 5.0) -> StoredModel:
    return StoredModel(name="mine", quant=quant, path=path, size=100, modified=modified, manifest=None)


class TestInstructions:
    """DeepSeek's sentence, one for choices, or what the user gives."""

    def test_the_usual_one_depends_on_the_question(self) -> None:
        usual = Instructions()
        assert [usual.of(each) for each in (PLAIN, BOXED, CHOICES)] == [INSTRUCTION, None, CHOICE_INSTRUCTION]
        assert usual.kind == "the usual one"

    def test_one_that_is_given_is_for_all(self) -> None:
        given = Instructions("Be brief.")
        assert [given.of(each) for each in (PLAIN, BOXED, CHOICES)] == ["Be brief."] * 3
        assert given.kind == "Be brief."

    @pytest.mark.parametrize("none", [Instructions(""), Instructions(is_bare=True), Instructions("", is_bare=True)])
    def test_there_may_be_none(self, none: Instructions) -> None:
        assert [none.of(each) for each in (PLAIN, BOXED, CHOICES)] == [None] * 3
        assert none.kind is None

    def test_the_built_in_problems_have_one_if_it_is_given(self) -> None:
        assert Instructions("Be brief.", is_bare=True).of(PLAIN) == "Be brief."

    def test_each_is_counted(self) -> None:
        counted = Instructions().counted([BOXED, PLAIN, PLAIN, CHOICES, CHOICES, CHOICES])
        assert counted == [(CHOICE_INSTRUCTION, 3), (INSTRUCTION, 2), (None, 1)]
        assert Instructions().counted([]) == []


class TestFacts:
    """Samples of which one differs are not counted together."""

    @pytest.mark.parametrize(
        ("some", "others"),
        [
            (Settings(effort="max"), Settings()),
            (Settings(think_budget=1024), Settings(effort="low")),
            (Settings(think_budget=0), Settings(effort="none")),
            (Settings(threads=1, parallel=4), Settings(threads=8)),
        ],
    )
    def test_two_ways_to_say_the_same_are_the_same(self, some: Settings, others: Settings) -> None:
        assert compared(some) == compared(others)

    @pytest.mark.parametrize(
        "other",
        [
            *(Settings(temp=1.0), Settings(top_p=1.0), Settings(seed=1), Settings(max_tokens=5), Settings(system="x")),
            *(Settings(ctx=512), Settings(kv_type="q8_0"), Settings(effort="low"), Settings(reserve=5)),
            Settings(loop_guard=False),
        ],
    )
    def test_each_setting_that_decides_what_a_sample_is(self, other: Settings) -> None:
        assert compared(other) != compared(Settings())

    def test_a_file_is_the_same_by_each_of_its_paths_until_it_changes(self, tmp_path: Path) -> None:
        (tmp_path / "a").mkdir()
        path, detour = tmp_path / "m.gguf", tmp_path / "a" / ".." / "m.gguf"

        def made(used: StoredModel) -> dict[str, object]:
            return facts(used, "ab", Instructions(), Settings())

        assert made(model(detour)) == made(model(path))
        assert made(model(path, modified=6.0)) != made(model(path))
        assert made(model(path, quant="Q8_0"))["model"] == "mine:Q8_0"


class TestInWords:
    """The settings, on one line."""

    @pytest.mark.parametrize(
        ("settings", "cache", "text"),
        [
            (Settings(seed=0), None, "temperature 0.6, top-p 0.95, at most 32,768 tokens, seed 0"),
            (
                Settings(seed=0),
                Cache(34_816, "f16"),
                "temperature 0.6, top-p 0.95, at most 32,768 tokens, seed 0",
            ),
            (
                Settings(seed=0, effort="low", reserve=5, loop_guard=False, system="Be brief."),
                Cache(2048, "f16"),
                "temperature 0.6, top-p 0.95, at most 32,768 tokens in a context of 2,048, 1,024 of them for thinking, "
                "5 kept for the answer, no loop guard, seed 0, system prompt “Be brief.”",
            ),
        ],
    )
    def test_say_what_is_unusual(self, settings: Settings, cache: Cache | None, text: str) -> None:
        assert in_words(settings, cache) == text
