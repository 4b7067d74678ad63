"""`r1 list`: the models on this machine and those to pull."""

from __future__ import annotations

import json
from pathlib import Path

from tests.conftest import Run

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
