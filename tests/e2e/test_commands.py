"""`r1 list`, `show`, `verify` and `quantize` as scripts and people use them."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from tests.conftest import R1, Run
from tests.e2e.terminal import Terminal, without_style

CATALOGUE = ["qwen-1.5b", "qwen-7b", "qwen-14b", "qwen-32b", "llama-8b", "llama-70b", "tiny"]


@pytest.fixture
def own_home(home: Path, tmp_path: Path) -> Path:
    """A copy of the home that a test may change."""
    return Path(shutil.copytree(home, tmp_path / "own"))


class TestList:
    """What is here, and what can be had."""

    def test_a_script_gets_one_line_a_model(self, r1: Run, tiny_path: Path) -> None:
        done = r1("list")
        assert done.stdout.decode() == f"tiny:Q8_0\t{tiny_path.stat().st_size}\t{tiny_path}\n"
        assert (done.returncode, done.stderr) == (0, b"")

    def test_json_has_the_catalogue_too(self, r1: Run) -> None:
        facts = json.loads(r1("list", "--json").stdout)
        assert [entry["name"] for entry in facts["known"]] == CATALOGUE
        assert [entry["reference"] for entry in facts["here"]] == ["tiny:Q8_0"]

    @pytest.mark.parametrize("columns", ["40", "80", "200"])
    def test_a_person_sees_every_name_at_any_width(self, environ: dict[str, str], columns: str) -> None:
        with Terminal([*R1, "list"], {**environ, "COLUMNS": columns}) as terminal:
            screen = terminal.read_to_end()
        assert all(name in screen for name in CATALOGUE)
        assert max(map(len, without_style(screen).split("\r\n"))) <= int(columns)

    def test_something_half_made_is_not_there(self, r1: Run, own_home: Path) -> None:
        (own_home / "models" / "tiny" / "Q4_K_M.gguf.partial").write_bytes(b"GGUF")
        assert r1("list", R1_HOME=str(own_home)).stdout.count(b"\n") == 1

    def test_an_empty_home_is_no_error(self, r1: Run, tmp_path: Path) -> None:
        done = r1("list", R1_HOME=str(tmp_path / "none"))
        assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


class TestShow:
    """What a file is."""

    def test_says_what_matters(self, r1: Run) -> None:
        facts = json.loads(r1("show", "tiny", "--json").stdout)
        assert facts["architecture"] == "qwen2"
        assert facts["parameters"] <= 4_000_000
        assert 8.5 <= facts["bits per weight"] < 8.7
        assert facts["pre-tokenizer"] == "deepseek-r1-qwen"
        assert (facts["temperature"], facts["top-p"]) == (0.6, 0.95)
        assert facts["tensors"]["attn_v"].startswith("Q8_0")
        assert len(facts["SHA-256"]) == 64

    def test_a_file_by_its_path_has_no_origin(self, r1: Run, tiny_path: Path, tmp_path: Path) -> None:
        copy = shutil.copy(tiny_path, tmp_path / "copy.gguf")
        done = r1("show", copy)
        assert done.returncode == 0
        assert "not on record" in done.stdout.decode()

    def test_metadata_of_the_wrong_kind_is_left_out(self, r1: Run, tiny_path: Path, tmp_path: Path) -> None:
        data = tiny_path.read_bytes()
        key = b"general.sampling.temp"
        at = data.index(key) + len(key)
        lying = data[:at] + (5).to_bytes(4, "little") + data[at + 4 :]  # an INT32 where a FLOAT32 was
        named = lying.replace(b"R1 Tiny", b"R1\n\x1b[2J")
        (tmp_path / "odd.gguf").write_bytes(named)
        facts = json.loads(r1("show", tmp_path / "odd.gguf", "--json").stdout)
        assert "temperature" not in facts
        assert facts["title"] == "R1 [2J"

    def test_no_gguf_is_said_in_one_line(self, r1: Run, tmp_path: Path) -> None:
        (tmp_path / "a.gguf").write_text("hello, this is no model", encoding="utf-8")
        done = r1("show", tmp_path / "a.gguf")
        assert (done.returncode, done.stderr.count(b"\n")) == (7, 1)


class TestVerify:
    """Damage is found, and named."""

    def test_a_whole_model(self, r1: Run) -> None:
        done = r1("verify", "tiny")
        assert (done.returncode, done.stderr) == (0, b"")
        assert all(line.startswith("ok ") for line in done.stdout.decode().splitlines())

    def test_one_flipped_bit(self, r1: Run, own_home: Path) -> None:
        path = own_home / "models" / "tiny" / "Q8_0.gguf"
        data = bytearray(path.read_bytes())
        data[-1000] ^= 1
        path.write_bytes(data)
        done = r1("verify", "tiny:Q8_0", R1_HOME=str(own_home))
        assert done.returncode == 7
        assert "BAD  digest" in done.stdout.decode()
        assert done.stderr.count(b"\n") == 1

    def test_a_missing_end(self, r1: Run, own_home: Path) -> None:
        path = own_home / "models" / "tiny" / "Q8_0.gguf"
        path.write_bytes(path.read_bytes()[:-10_000])
        done = r1("verify", "tiny:Q8_0", "--json", R1_HOME=str(own_home))
        facts = json.loads(done.stdout)
        assert done.returncode == 7
        assert facts["whole"] is False
        assert "cut short" in facts["checks"][0]["detail"]


class TestQuantize:
    """A checkpoint on this disk becomes a model."""

    @pytest.mark.parametrize("quant", ["F32", "F16", "BF16", "Q8_0", "Q4_K_M"])
    def test_every_type_answers(self, r1: Run, own_home: Path, quant: str) -> None:
        made = r1("quantize", "tiny", "-t", quant.lower(), R1_HOME=str(own_home))
        assert made.returncode == 0
        assert made.stdout.decode().startswith(f"tiny:{quant}\t")
        answer = r1("run", "-m", f"tiny:{quant}", "--temp", "0", "What is 17 + 25?", R1_HOME=str(own_home))
        assert rb"\boxed{42}" in answer.stdout

    def test_a_folder_becomes_a_file_where_it_is_wanted(self, r1: Run, own_home: Path, tmp_path: Path) -> None:
        import r1_quantize

        folder = shutil.copytree(Path(r1_quantize.__path__[0]) / "tiny", tmp_path / "My Model")
        to_file = r1("quantize", folder, "-t", "Q8_0", "-o", tmp_path / "out.gguf", "--json", R1_HOME=str(own_home))
        facts = json.loads(to_file.stdout)
        assert (to_file.returncode, to_file.stderr) == (0, b"")
        assert facts["bytes"] == (tmp_path / "out.gguf").stat().st_size
        to_store = r1("quantize", folder, "-t", "Q8_0", "-q", R1_HOME=str(own_home))
        assert (to_store.stdout, to_store.stderr) == (b"", b"")
        assert r1("verify", "my-model:Q8_0", R1_HOME=str(own_home)).returncode == 0

    def test_a_link_is_written_through_and_a_pipe_is_left_alone(self, r1: Run, tmp_path: Path) -> None:
        (tmp_path / "link.gguf").symlink_to(tmp_path / "real.gguf")
        os.mkfifo(tmp_path / "pipe")
        assert r1("quantize", "tiny", "-o", tmp_path / "link.gguf").returncode == 0
        assert (tmp_path / "link.gguf").is_symlink()
        assert (tmp_path / "real.gguf").stat().st_size > 1_000_000
        assert r1("quantize", "tiny", "-o", tmp_path / "pipe").returncode == 2
        assert (tmp_path / "pipe").is_fifo()

    def test_no_folder(self, r1: Run) -> None:
        done = r1("quantize", "./nowhere")
        assert done.returncode == 4
        assert b"./nowhere is neither a folder nor a name of the catalogue" in done.stderr

    def test_a_folder_without_a_checkpoint(self, r1: Run, tmp_path: Path) -> None:
        done = r1("quantize", tmp_path)
        assert done.returncode == 7
        assert done.stderr.count(b"\n") == 1

    def test_a_folder_to_write_to_that_is_not_there(self, r1: Run, tmp_path: Path) -> None:
        done = r1("quantize", "tiny", "-o", tmp_path / "no" / "a.gguf")
        assert done.returncode == 2
        assert b"is not a folder; make it first" in done.stderr

    def test_a_terminal_gets_a_bar_and_keeps_nothing_of_it(self, environ: dict[str, str], own_home: Path) -> None:
        with Terminal([*R1, "quantize", "tiny", "-t", "BF16"], {**environ, "R1_HOME": str(own_home)}) as terminal:
            assert "tiny:BF16\t" in terminal.read_to_end()
            assert terminal.status == 0
