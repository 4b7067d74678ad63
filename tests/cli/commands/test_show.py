"""`r1 show`: the facts in a GGUF."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from tests.conftest import Run


class TestShow:
    """The facts, and what is left out."""

    def test_has_the_facts_that_matter(self, r1: Run) -> None:
        facts = json.loads(r1("show", "tiny", "--json").stdout)
        assert facts["architecture"] == "qwen2"
        assert facts["parameters"] <= 4_000_000
        assert 8.5 <= facts["bits_per_weight"] < 8.7
        assert facts["pre_tokenizer"] == "deepseek-r1-qwen"
        assert (facts["temperature"], facts["top_p"]) == (0.6, 0.95)
        assert facts["tensors"]["attn_v"] == {"Q8_0": 4}
        assert len(facts["sha256"]) == 64
        assert facts["type"] == "Q8_0"
        assert facts["vocabulary"] == {"tokens": 320, "normal": 261, "control": 5, "user_defined": 2, "unused": 52}
        assert facts["special_tokens"]["eos"] == {"id": 261, "text": "<｜end▁of▁sentence｜>"}

    def test_has_the_published_scores_of_its_checkpoint(self, r1: Run, full_home: Path) -> None:
        facts = json.loads(r1("show", "qwen-7b", "--json", R1_HOME=str(full_home)).stdout)
        assert (facts["aime_pass1"], facts["aime_cons64"]) == (55.5, 83.3)
        lines = r1("show", "qwen-7b", R1_HOME=str(full_home)).stdout.decode().splitlines()
        scores = [line.split(maxsplit=1) for line in lines if "AIME 2024" in line]
        assert scores == [
            ["pass@1", "55.5 % of AIME 2024 (published; one answer, unquantized)"],
            ["cons@64", "83.3 % of AIME 2024 (published; majority of 64, unquantized)"],
        ]

    def test_has_no_scores_where_none_were_published(self, r1: Run, tiny_path: Path, tmp_path: Path) -> None:
        copy = shutil.copy(tiny_path, tmp_path / "qwen-7b.gguf")  # a file of that name need not be that model
        for model in ("tiny", copy):
            assert not [key for key in json.loads(r1("show", model, "--json").stdout) if "aime" in key]

    def test_a_file_outside_the_store_has_no_recorded_origin(self, r1: Run, tiny_path: Path, tmp_path: Path) -> None:
        copy = shutil.copy(tiny_path, tmp_path / "copy.gguf")
        done = r1("show", copy)
        assert done.returncode == 0
        assert "not on record" in done.stdout.decode()

    def test_metadata_of_the_wrong_type_is_left_out(self, r1: Run, tiny_path: Path, tmp_path: Path) -> None:
        data = tiny_path.read_bytes()
        key = b"general.sampling.temp"
        at = data.index(key) + len(key)
        lying = data[:at] + (5).to_bytes(4, "little") + data[at + 4 :]  # an INT32 where a FLOAT32 was
        named = lying.replace(b"R1 Tiny", b"R1\n\x1b[2J")
        (tmp_path / "odd.gguf").write_bytes(named)
        facts = json.loads(r1("show", tmp_path / "odd.gguf", "--json").stdout)
        assert "temperature" not in facts
        assert facts["title"] == "R1 [2J"

    def test_an_error_for_another_kind_of_file_is_one_line(self, r1: Run, tmp_path: Path) -> None:
        (tmp_path / "a.gguf").write_text("hello, this is no model", encoding="utf-8")
        done = r1("show", tmp_path / "a.gguf")
        assert (done.returncode, done.stderr.count(b"\n")) == (7, 1)
