"""`r1 run` with drafts: the text stays what it is, JSON says what came of them, and what cannot be done is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from r1.machine.memory import Memory
from tests.conftest import Run, printed

QUESTION = "How many r's are in strawberry?"


def report(r1: Run, *options: str | Path, **variables: str) -> dict[str, Any]:
    return json.loads(printed(r1("run", "--json", "--seed", "3", *options, QUESTION, **variables)))  # type: ignore[no-any-return]


class TestText:
    """Drafts change how fast a reply is, not what it says."""

    @pytest.mark.parametrize("temp", ["0", "0.6", "1.5"])
    def test_is_that_without_drafts(self, r1: Run, large_path: Path, temp: str) -> None:
        options = ("-m", large_path, "--temp", temp)
        plain = report(r1, *options, "--speculate", "off")
        assert plain["speculation"] is None
        for more in (["--speculate", "lookup"], ["--draft", "tiny"], ["--speculate", "draft", "--draft", "tiny"]):
            drafted = report(r1, *options, *more)
            assert (drafted["thinking"], drafted["answer"]) == (plain["thinking"], plain["answer"])

    def test_a_draft_model_that_agrees_makes_fewer_passes(self, r1: Run, large_path: Path) -> None:
        made = report(r1, "-m", large_path, "--temp", "0", "--speculate", "draft", "--draft", "tiny")
        found = made["speculation"]
        assert 0.8 * found["proposed"] < found["accepted"] <= found["proposed"]
        assert found["tokens_per_pass"] > 2

    def test_each_line_of_many_says_what_came_of_drafts(self, r1: Run, large_path: Path) -> None:
        lines = b'"What is 17 + 25?"\n"What is 9 - 4?"\n'
        options = ("--jsonl", "--draft", "tiny", "--parallel", "1", "--seed", "3")
        done = r1("run", "-m", large_path, *options, stdin=lines)
        made = [json.loads(line)["speculation"] for line in done.stdout.splitlines()]
        assert [each["proposed"] >= each["accepted"] > 0 and each["tokens_per_pass"] > 1 for each in made] == [True] * 2

    def test_a_vote_counts_the_drafts_of_all_its_samples(self, r1: Run, large_path: Path) -> None:
        several = report(r1, "-m", large_path, "--draft", "tiny", "--votes", "4", "--confidence", "1")["speculation"]
        assert several["proposed"] > 0
        assert several["speedup"] is None, "they share their passes"

    def test_the_environment_names_it_too(self, r1: Run, large_path: Path) -> None:
        made = report(r1, "-m", large_path, R1_DRAFT="tiny", R1_SPECULATE="draft")
        assert made["speculation"]["proposed"] > 0


class TestRefusal:
    """One line and an exit code."""

    def refusal(self, r1: Run, *options: str | Path, status: int, **variables: str) -> str:
        done = r1("run", *options, QUESTION, **variables)
        assert (done.returncode, done.stdout, done.stderr.count(b"\n")) == (status, b"", 1)
        return done.stderr.decode().removeprefix("r1: ").rstrip("\n")

    def test_no_draft_model_is_named(self, r1: Run) -> None:
        line = self.refusal(r1, "--speculate", "draft", status=2)
        assert line == "--speculate draft needs a draft model; name one with --draft MODEL"

    def test_none_is_wanted(self, r1: Run) -> None:
        line = self.refusal(r1, "--speculate", "off", "--draft", "tiny", status=2)
        assert line == "--draft has no effect with --speculate off; leave one of them out"

    def test_there_is_no_such_model(self, r1: Run) -> None:
        line = self.refusal(r1, "-m", "tiny", "--draft", "qwen-1.5b", status=4)
        assert line == (
            "the draft model cannot be used: qwen-1.5b:Q4_K_M is not on this machine; "
            "get it with: r1 pull qwen-1.5b:Q4_K_M"
        )

    def test_another_vocabulary(self, r1: Run, endless_path: Path) -> None:
        line = self.refusal(r1, "-m", "tiny", "--draft", endless_path, status=2)
        assert line.startswith(f"{endless_path} cannot draft for tiny:Q8_0: they have different vocabularies; ")

    def test_says_where_the_model_was_named_if_not_on_the_command_line(
        self, r1: Run, endless_path: Path, tmp_path: Path
    ) -> None:
        line = self.refusal(r1, "-m", "tiny", status=4, R1_DRAFT="qwen-1.5b")
        assert line.startswith("R1_DRAFT: qwen-1.5b:Q4_K_M is not on this machine; ")
        line = self.refusal(r1, "-m", "tiny", status=2, R1_DRAFT=str(endless_path))
        assert line.startswith(f"R1_DRAFT: {endless_path} cannot draft for tiny:Q8_0: ")
        file = tmp_path / "r1" / "config.toml"
        file.parent.mkdir()
        file.write_text('draft = "qwen-1.5b"', encoding="utf-8")
        line = self.refusal(r1, "-m", "tiny", status=4, XDG_CONFIG_HOME=str(tmp_path))
        assert line.startswith(f"{file}: draft: qwen-1.5b:Q4_K_M is not on this machine; ")

    def test_a_damaged_file(self, r1: Run, tiny_path: Path, tmp_path: Path) -> None:
        damaged = tmp_path / "damaged.gguf"
        damaged.write_bytes(tiny_path.read_bytes()[:-1000])
        line = self.refusal(r1, "-m", "tiny", "--draft", damaged, status=7)
        assert line.startswith(f"the draft model cannot be used: {damaged}: cut short")

    def test_memory_that_holds_the_model_but_not_both(
        self, r1: Run, large_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("r1.fit.planner.memory", lambda: Memory(total=68_000_000, free=68_000_000))
        assert r1("run", "-m", large_path, "--ctx", "512", QUESTION).returncode == 0
        line = self.refusal(r1, "-m", large_path, "--ctx", "512", "--draft", "tiny", status=5)
        assert "and the draft model tiny:Q8_0 needs" in line
        assert line.endswith("; without --draft it would fit")
