"""`r1 list`: the models on this machine and the ones to pull."""

from __future__ import annotations

import json
from pathlib import Path

from tests.conftest import Run
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
