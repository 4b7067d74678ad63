"""`r1 quantize --list-types`: the size of a model in each type."""

from __future__ import annotations

import json
from pathlib import Path

from r1_quantize.recipe import RECIPES
from tests.conftest import Run


class TestListTypes:
    """Known before anything large is read."""

    def test_sizes_equal_those_of_the_files(self, r1: Run, own_home: Path) -> None:
        facts = json.loads(r1("quantize", "tiny", "--list-types", "--json", R1_HOME=str(own_home)).stdout)
        sizes = {fact["type"]: fact["bytes"] for fact in facts["types"]}
        assert list(sizes) == list(RECIPES)
        for quant in ("F32", "Q8_0", "Q4_K_M", "Q2_K"):
            made = r1("quantize", "tiny", "-t", quant, "--json", "--force", R1_HOME=str(own_home))
            assert json.loads(made.stdout)["bytes"] == sizes[quant]

    def test_a_checkpoint_that_is_not_here_is_estimated(self, r1: Run) -> None:
        done = r1("quantize", "llama-70b", "--list-types")
        lines = {line.split("\t")[0]: line.split("\t")[1:] for line in done.stdout.decode().splitlines()}
        assert (done.returncode, done.stderr) == (0, b"")
        assert lines["BF16"][0] == "16.0"
        assert abs(int(lines["BF16"][1]) - 141.1e9) < 0.1e9  # as published
        assert abs(int(lines["Q4_K_M"][1]) - 42.5e9) < 0.1e9
        assert lines["IQ2_M"][2] == "imatrix"
        assert lines["Q2_K"][2] == ""

    def test_a_gguf_is_a_source_too(self, r1: Run, tiny_path: Path) -> None:
        done = r1("quantize", tiny_path, "--list-types")
        assert f"Q8_0\t8.54\t{tiny_path.stat().st_size}\t" in done.stdout.decode()
