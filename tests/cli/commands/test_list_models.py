"""`r1 list`: the models on this machine and the ones to pull."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from unittest.mock import patch

import pytest

from r1.commands.list_models import list_models
from tests.conftest import Run
from tests.fakes.consoles import console, written
from tests.fakes.homes import REPO, files_in

CATALOGUE = ["qwen-1.5b", "qwen-7b", "qwen-14b", "qwen-32b", "llama-8b", "llama-70b", "tiny"]


class TestList:
    """Lines for scripts, and JSON."""

    def test_a_pipe_gets_one_line_per_model(self, r1: Run, tiny_path: Path) -> None:
        done = r1("list")
        assert done.stdout.decode() == f"tiny:Q8_0\t{tiny_path.stat().st_size}\t{tiny_path}\n"
        assert (done.returncode, done.stderr) == (0, b"")

    def test_json_has_the_catalogue_too(self, r1: Run) -> None:
        facts = json.loads(r1("list", "--json").stdout)
        assert [entry["name"] for entry in facts["known"]] == CATALOGUE
        assert [entry["reference"] for entry in facts["here"]] == ["tiny:Q8_0"]

    def test_an_unfinished_model_is_not_listed(self, r1: Run, own_home: Path) -> None:
        (own_home / "models" / "tiny" / "Q4_K_M.gguf.partial").write_bytes(b"GGUF")
        assert r1("list", R1_HOME=str(own_home)).stdout.count(b"\n") == 1

    def test_an_empty_home_is_no_error(self, r1: Run, tmp_path: Path) -> None:
        done = r1("list", R1_HOME=str(tmp_path / "none"))
        assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


PUBLISHED = {
    "qwen-1.5b": (28.9, 52.7),
    "qwen-7b": (55.5, 83.3),
    "qwen-14b": (69.7, 80.0),
    "qwen-32b": (72.6, 83.3),
    "llama-8b": (50.4, 80.0),
    "llama-70b": (70.0, 86.7),
    "tiny": (None, None),
}
"""AIME 2024, pass@1 and cons@64, from "Distilled Model Evaluation" in the README of DeepSeek-R1."""


def screen(home: Path, columns: int) -> list[str]:
    """The lines on a terminal of that width."""
    found = console(stdout_is_terminal=True, environ={"R1_HOME": str(home)})
    with patch.dict(os.environ, {"COLUMNS": str(columns)}):
        list_models(found, as_json=False)
    return [line.rstrip() for line in written(found.stdout).splitlines()]


class TestScores:
    """What was published for AIME 2024: with one answer, and with the majority of 64."""

    def test_are_in_json_for_the_catalogue_and_for_models_here(self, r1: Run, full_home: Path) -> None:
        facts = json.loads(r1("list", "--json", R1_HOME=str(full_home)).stdout)
        scores = {entry["name"]: (entry["aime_pass1"], entry["aime_cons64"]) for entry in facts["known"]}
        assert scores == PUBLISHED
        here = {entry["reference"]: (entry["aime_pass1"], entry["aime_cons64"]) for entry in facts["here"]}
        assert here == {"qwen-7b:Q4_K_M": (55.5, 83.3), "qwen-7b:Q8_0": (55.5, 83.3), "tiny:Q8_0": (None, None)}

    def test_a_pipe_gets_none(self, r1: Run, full_home: Path) -> None:
        lines = r1("list", R1_HOME=str(full_home)).stdout.decode().splitlines()
        assert {line.count("\t") for line in lines} == {2}

    @pytest.mark.parametrize("columns", [40, 80, 200])
    def test_are_in_the_table_of_models_to_pull_at_any_width(self, full_home: Path, columns: int) -> None:
        lines = screen(full_home, columns)
        for name, (pass1, cons64) in PUBLISHED.items():
            if name not in {"qwen-7b", "tiny"}:
                (row,) = [line for line in lines if line.startswith(f"{name} ")]
                assert re.search(rf" {pass1} % +{cons64} %", row)
        assert max(map(len, lines)) <= columns
        assert " ".join(lines[-2:]).endswith("AIME 2024 as published, one answer and the majority of 64.")

    @pytest.mark.parametrize(("columns", "is_shown"), [(80, False), (120, True)])
    def test_are_in_the_table_of_models_here_where_they_fit(
        self, full_home: Path, columns: int, *, is_shown: bool
    ) -> None:
        (row,) = [line for line in screen(full_home, columns) if line.startswith("qwen-7b:Q8_0")]
        assert ("55.5 %   83.3 %" in row) == is_shown

    def test_a_score_of_zero_is_one(self, own_home: Path) -> None:
        (own_home / "models.toml").write_text("[qwen-7b]\naime_pass1 = 0\n", encoding="utf-8")
        (row,) = [line for line in screen(own_home, 80) if line.startswith("qwen-7b ")]
        assert " 0.0 %   83.3 %" in row


class TestDefault:
    """The model that `r1 run` takes without -m is marked."""

    def marked(self, done: subprocess.CompletedProcess[bytes]) -> tuple[str | None, list[str]]:
        """The default of the JSON, and the models that are marked."""
        facts = json.loads(done.stdout)
        return facts["default"], [model["reference"] for model in facts["here"] if model["default"]]

    @pytest.mark.parametrize(
        ("named", "default"),
        [
            ({}, "qwen-7b:Q4_K_M"),
            ({"R1_MODEL": "tiny"}, "tiny:Q8_0"),
            ({"R1_MODEL": "qwen-7b:q8_0"}, "qwen-7b:Q8_0"),
        ],
    )
    def test_is_the_newest_or_the_one_in_the_environment(
        self, r1: Run, full_home: Path, named: dict[str, str], default: str
    ) -> None:
        os.utime(full_home / "models" / "qwen-7b" / "Q4_K_M.gguf")
        done = r1("list", "--json", R1_HOME=str(full_home), **named)
        assert self.marked(done) == (default, [default])
        assert done.stderr == b""

    def test_is_the_one_in_the_config_file(self, r1: Run, full_home: Path, tmp_path: Path) -> None:
        (tmp_path / "config" / "r1").mkdir(parents=True)
        (tmp_path / "config" / "r1" / "config.toml").write_text('model = "qwen-7b:Q8_0"', encoding="utf-8")
        with patch.dict(os.environ, {"XDG_CONFIG_HOME": str(tmp_path / "config")}):
            done = r1("list", "--json", R1_HOME=str(full_home))
        assert self.marked(done) == ("qwen-7b:Q8_0", ["qwen-7b:Q8_0"])

    def test_is_the_built_in_model_before_it_is_made(self, r1: Run, tmp_path: Path) -> None:
        done = r1("list", "--json", R1_HOME=str(tmp_path / "none"))
        assert self.marked(done) == ("tiny:Q8_0", [])
        assert [known["name"] for known in json.loads(done.stdout)["known"] if known["built_in"]] == ["tiny"]

    def test_may_be_a_file_outside_the_store(self, r1: Run, tiny_path: Path, tmp_path: Path) -> None:
        file = Path(shutil.copy(tiny_path, tmp_path / "m.gguf"))
        assert self.marked(r1("list", "--json", R1_MODEL=str(file))) == (str(file), [])

    def test_that_is_not_here_is_a_warning(self, r1: Run) -> None:
        done = r1("list", "--json", R1_MODEL="qwen-14b")
        assert (done.returncode, self.marked(done)) == (0, (None, []))
        assert done.stderr == (
            b"r1: no default model: qwen-14b:Q4_K_M is not on this machine; get it with: r1 pull qwen-14b:Q4_K_M\n"
        )

    def test_a_setting_that_is_wrong_is_a_warning_about_that_setting(self, r1: Run) -> None:
        done = r1("list", "--json", R1_THREADS="x")
        assert (done.returncode, self.marked(done)) == (0, (None, []))
        assert done.stderr == b"r1: R1_THREADS: 'x' is not a whole number from 1 to 512\n"

    def test_a_model_that_r1_cannot_run_is_marked_and_never_the_default(self, r1: Run, full_home: Path) -> None:
        file = full_home / "models" / "qwen-7b" / "Q4_K_M.json"
        file.write_text(json.dumps({**json.loads(file.read_text()), "missing_tokens": ["<think>"]}))
        os.utime(full_home / "models" / "qwen-7b" / "Q4_K_M.gguf")
        done = r1("list", "--json", R1_HOME=str(full_home))
        lacking = {model["reference"]: model["missing_tokens"] for model in json.loads(done.stdout)["here"]}
        assert lacking == {"qwen-7b:Q4_K_M": ["<think>"], "qwen-7b:Q8_0": [], "tiny:Q8_0": []}
        assert self.marked(done) == ("qwen-7b:Q8_0", ["qwen-7b:Q8_0"])


class TestLeftovers:
    """What uses disk space is listed, models or not."""

    def test_json_has_everything(self, r1: Run, full_home: Path) -> None:
        facts = json.loads(r1("list", "--json", R1_HOME=str(full_home)).stdout)
        assert [item["reference"] for item in facts["here"]] == ["qwen-7b:Q4_K_M", "qwen-7b:Q8_0", "tiny:Q8_0"]
        (unfinished,) = facts["unfinished"]
        assert unfinished["reference"] == "llama-8b:Q6_K"
        assert 1_000_000 < unfinished["bytes"] <= 2_000_003
        assert [(item["repo"], item["whole"]) for item in facts["checkpoints"]] == [
            (REPO, True),
            ("someone/Half", False),
        ]
        assert all(2_000_000 < item["bytes"] <= 3_000_100 for item in facts["checkpoints"])

    def test_a_pipe_gets_only_models(self, r1: Run, full_home: Path) -> None:
        done = r1("list", R1_HOME=str(full_home))
        names = [line.split("\t")[0] for line in done.stdout.decode().splitlines()]
        assert (names, done.stderr) == (["qwen-7b:Q4_K_M", "qwen-7b:Q8_0", "tiny:Q8_0"], b"")

    def test_everything_listed_can_be_removed_by_that_name(self, r1: Run, full_home: Path) -> None:
        facts = json.loads(r1("list", "--json", R1_HOME=str(full_home)).stdout)
        names = [
            item.get("reference") or item["repo"] for item in facts["here"] + facts["unfinished"] + facts["checkpoints"]
        ]
        assert r1("rm", "-y", *names, R1_HOME=str(full_home)).returncode == 0
        assert files_in(full_home) == {}
        left = json.loads(r1("list", "--json", R1_HOME=str(full_home)).stdout)
        assert (left["here"], left["unfinished"], left["checkpoints"]) == ([], [], [])
