"""`r1 list`, `show`, `verify` and `quantize` as scripts and people use them."""

from __future__ import annotations

import json
import os
import shutil
from hashlib import sha256
from pathlib import Path

import pytest

from r1_quantize.recipe import RECIPES
from tests.conftest import R1, Run
from tests.e2e.terminal import Terminal, without_style
from tests.fakes import checkpoints, quantizer, splits
from tests.fakes.checkpoints import Shape
from tests.fakes.paths import TINY
from tests.quantize.test_identity import NEED_IMATRIX

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

    @pytest.mark.parametrize("columns", ["40", "80"])
    def test_a_long_name_costs_no_size(self, environ: dict[str, str], own_home: Path, columns: str) -> None:
        name = "a-name-that-is-longer-than-any-screen-of-a-telephone-is-wide"
        shutil.copytree(own_home / "models" / "tiny", own_home / "models" / name)
        with Terminal([*R1, "list"], {**environ, "R1_HOME": str(own_home), "COLUMNS": columns}) as terminal:
            assert without_style(terminal.read_to_end()).count("2.71 MB") == 2

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
        assert 8.5 <= facts["bits_per_weight"] < 8.7
        assert facts["pre_tokenizer"] == "deepseek-r1-qwen"
        assert (facts["temperature"], facts["top_p"]) == (0.6, 0.95)
        assert facts["tensors"]["attn_v"] == {"Q8_0": 4}
        assert len(facts["sha256"]) == 64
        assert facts["type"] == "Q8_0"
        assert facts["vocabulary"] == {"tokens": 320, "normal": 261, "control": 5, "user_defined": 2, "unused": 52}
        assert facts["special_tokens"]["eos"] == {"id": 261, "text": "<｜end▁of▁sentence｜>"}

    @pytest.mark.parametrize("columns", ["40", "80", "200"])
    def test_a_person_reads_titles_not_keys(self, environ: dict[str, str], columns: str) -> None:
        with Terminal([*R1, "show", "tiny"], {**environ, "COLUMNS": columns}) as terminal:
            screen = terminal.read_to_end()
        assert "bits per weight" in screen
        assert "_tokens" not in screen

    def test_a_file_by_its_path_has_no_origin(self, r1: Run, tiny_path: Path, tmp_path: Path) -> None:
        copy = shutil.copy(tiny_path, tmp_path / "copy.gguf")
        done = r1("show", copy)
        assert done.returncode == 0
        assert "not recorded" in done.stdout.decode()

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

    def test_a_manifest_that_cannot_be_read(self, r1: Run, own_home: Path) -> None:
        (own_home / "models" / "tiny" / "Q8_0.json").write_bytes(b"\0" * 600)
        done = r1("verify", "tiny:Q8_0", R1_HOME=str(own_home))
        assert done.returncode == 7
        assert done.stdout.startswith(b"BAD  manifest")

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

    @pytest.mark.parametrize("quant", [name for name in RECIPES if name not in NEED_IMATRIX])
    def test_every_type_answers(self, r1: Run, own_home: Path, quant: str) -> None:
        made = r1("quantize", "tiny", "-t", quant.lower(), R1_HOME=str(own_home))
        assert made.returncode == 0
        assert made.stdout.decode().startswith(f"tiny:{quant}\t")
        answer = r1("run", "-m", f"tiny:{quant}", "--temp", "0", "What is 17 + 25?", R1_HOME=str(own_home))
        if RECIPES[quant].base.block_bytes / RECIPES[quant].base.block > 0.6:  # with fewer bits so small a model errs
            assert rb"\boxed{42}" in answer.stdout
        assert answer.returncode in {0, 3}

    def test_a_folder_becomes_a_file_where_it_is_wanted(self, r1: Run, own_home: Path, tmp_path: Path) -> None:

        folder = shutil.copytree(TINY, tmp_path / "My Model")
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

    def test_a_repository_of_the_catalogue_is_known_by_its_name_too(self, r1: Run) -> None:
        done = r1("quantize", "deepseek-ai/DeepSeek-R1-Distill-Qwen-7B")
        assert done.returncode == 4
        assert b"is not on this disk; r1 pull qwen-7b quantizes it while it downloads" in done.stderr

    def test_a_snapshot_of_the_hubs_cache_goes_by_its_repositorys_name(
        self, r1: Run, own_home: Path, tmp_path: Path
    ) -> None:
        commit = "6a6f4aa4197940add57724a7707d069478df56b1"
        folder = checkpoints.write(tmp_path / "models--someone--Some-Model" / "snapshots" / commit)
        assert r1("quantize", folder, "-t", "Q8_0", R1_HOME=str(own_home)).returncode == 0
        facts = json.loads(r1("show", "some-model", "--json", R1_HOME=str(own_home)).stdout)
        assert (facts["source"], facts["revision"]) == ("someone/Some-Model", commit)

    def test_one_file_of_a_checkpoint_is_not_enough(self, r1: Run, tmp_path: Path) -> None:
        folder = checkpoints.write(tmp_path / "c")
        done = r1("quantize", folder / "model.safetensors")
        assert done.returncode == 2
        assert b"give its folder" in done.stderr

    def test_a_source_that_cannot_be_used_leaves_nothing_in_the_store(self, r1: Run, own_home: Path) -> None:
        before = sorted(own_home.rglob("*"))
        for source in ("", "README.md", "/", str(own_home)):
            assert r1("quantize", source, R1_HOME=str(own_home)).returncode in {2, 4, 7}
        assert sorted(own_home.rglob("*")) == before

    def test_what_takes_another_files_place_says_so(self, r1: Run, tmp_path: Path) -> None:
        (tmp_path / "a.gguf").write_bytes(b"older")
        done = r1("quantize", "tiny", "-o", tmp_path / "a.gguf")
        assert done.returncode == 0
        assert b"a.gguf is there already; the new one takes its place when it is whole" in done.stderr

    def test_no_folder(self, r1: Run) -> None:
        done = r1("quantize", "./nowhere")
        assert done.returncode == 4
        assert b"./nowhere is neither a file, a folder nor a name of the catalogue" in done.stderr

    def test_a_folder_without_a_checkpoint(self, r1: Run, tmp_path: Path) -> None:
        done = r1("quantize", tmp_path)
        assert done.returncode == 7
        assert done.stderr.count(b"\n") == 1

    def test_a_folder_to_write_to_that_is_not_there(self, r1: Run, tmp_path: Path) -> None:
        done = r1("quantize", "tiny", "-o", tmp_path / "no" / "a.gguf")
        assert done.returncode == 2
        assert b"is not a folder; make it first" in done.stderr

    @pytest.mark.parametrize("columns", ["30", "40", "80", "200"])
    def test_a_terminal_gets_a_bar_and_keeps_nothing_of_it(
        self, environ: dict[str, str], own_home: Path, columns: str
    ) -> None:
        environ = {**environ, "R1_HOME": str(own_home), "COLUMNS": columns}
        with Terminal([*R1, "quantize", "tiny", "-t", "BF16"], environ) as terminal:
            screen = terminal.read_to_end()
            assert terminal.status == 0
        assert "tiny:BF16: 5.07 MB in 0 s; r1 run -m tiny:BF16" in without_style(screen).replace("\r\n", "")
        assert "51 tensors, 5.05 MB in" in " ".join(without_style(screen).split())

    def test_a_script_gets_plain_lines(self, r1: Run, own_home: Path) -> None:
        done = r1("quantize", "tiny", "-t", "BF16", R1_HOME=str(own_home))
        assert done.stderr.decode() == "r1: tiny → BF16: 51 tensors, 5.05 MB in, 5.07 MB out\n"

    def test_a_value_that_is_not_finite_costs_one_line(self, r1: Run, tmp_path: Path) -> None:
        folder = checkpoints.write(tmp_path / "c")
        path = folder / "model.safetensors"
        path.write_bytes(path.read_bytes()[:-2] + b"\xc0\x7f")  # a NaN
        done = r1("quantize", folder, "-o", tmp_path / "a.gguf")
        assert done.returncode == 7
        last = done.stderr.decode().splitlines()
        assert len(last) == 2  # the plan, and what is wrong
        assert "lm_head.weight: it holds a value that is NaN" in last[1]
        assert not list(tmp_path.glob("a.gguf*"))


class TestListTypes:
    """What each type would make of a model, before anything large is read."""

    def test_sizes_are_those_of_the_files(self, r1: Run, own_home: Path) -> None:
        facts = json.loads(r1("quantize", "tiny", "--list-types", "--json", R1_HOME=str(own_home)).stdout)
        sizes = {fact["type"]: fact["bytes"] for fact in facts["types"]}
        assert list(sizes) == list(RECIPES)
        for quant in ("F32", "Q8_0", "Q4_K_M", "Q2_K"):
            made = r1("quantize", "tiny", "-t", quant, "--json", R1_HOME=str(own_home))
            assert json.loads(made.stdout)["bytes"] == sizes[quant]

    def test_of_a_checkpoint_that_is_not_here(self, r1: Run) -> None:
        done = r1("quantize", "llama-70b", "--list-types")
        lines = {line.split("\t")[0]: line.split("\t")[1:] for line in done.stdout.decode().splitlines()}
        assert (done.returncode, done.stderr) == (0, b"")
        assert lines["BF16"][0] == "16.0"
        assert abs(int(lines["BF16"][1]) - 141.1e9) < 0.1e9  # as published
        assert abs(int(lines["Q4_K_M"][1]) - 42.5e9) < 0.1e9
        assert lines["IQ2_M"][2] == "imatrix"
        assert lines["Q2_K"][2] == ""

    @pytest.mark.parametrize("columns", ["40", "80"])
    def test_a_person_sees_a_table(self, environ: dict[str, str], columns: str) -> None:
        command = [*R1, "quantize", "qwen-1.5b", "--list-types"]
        with Terminal(command, {**environ, "COLUMNS": columns}) as terminal:
            screen = without_style(terminal.read_to_end())
        assert all(name in screen for name in RECIPES)
        assert "1.11 GB" in screen
        assert max(map(len, screen.split("\r\n"))) <= int(columns)

    def test_of_a_gguf(self, r1: Run, tiny_path: Path) -> None:
        done = r1("quantize", tiny_path, "--list-types")
        assert f"Q8_0\t8.54\t{tiny_path.stat().st_size}\t" in done.stdout.decode()


class TestRequantize:
    """A GGUF is a source like any other."""

    def test_by_its_path_and_by_its_name(self, r1: Run, own_home: Path, tmp_path: Path) -> None:
        made = tmp_path / "My-Tiny-BF16.gguf"
        assert r1("quantize", "tiny", "-t", "BF16", "-o", made).returncode == 0
        done = r1("quantize", made, "-t", "Q4_K_M", R1_HOME=str(own_home))
        assert done.stdout.decode().startswith("my-tiny:Q4_K_M\t")
        assert r1("quantize", "tiny", "-t", "F16", R1_HOME=str(own_home)).returncode == 0
        again = r1("quantize", "tiny:F16", "-t", "Q5_K_M", R1_HOME=str(own_home))
        assert again.stdout.decode().startswith("tiny:Q5_K_M\t")
        facts = json.loads(r1("show", "my-tiny", "--json", R1_HOME=str(own_home)).stdout)
        assert facts["source"] == "My-Tiny-BF16.gguf"
        assert r1("verify", "my-tiny", R1_HOME=str(own_home)).returncode == 0

    def test_what_is_quantized_already_needs_a_word(self, r1: Run, tiny_path: Path, tmp_path: Path) -> None:
        command = ("quantize", tiny_path, "-t", "Q4_K_M", "-o", tmp_path / "a.gguf")
        refused = r1(*command)
        assert (refused.returncode, refused.stderr.count(b"\n")) == (2, 1)
        assert b"--allow-requantize" in refused.stderr
        assert r1(*command, "--allow-requantize").returncode == 0

    def test_parts_are_joined_or_quantized_by_any_of_them(self, r1: Run, own_home: Path, tmp_path: Path) -> None:
        made, joined = tmp_path / "My-Tiny-BF16.gguf", tmp_path / "joined.gguf"
        assert r1("quantize", "tiny", "-t", "BF16", "-o", made).returncode == 0
        (tmp_path / "parts").mkdir()
        parts = splits.split(made, tmp_path / "parts", 20)
        done = r1("quantize", parts[1], "-t", "copy", "-o", joined)
        assert (done.returncode, done.stdout.decode()) == (0, f"{joined}\t{joined.stat().st_size}\t{joined}\n")
        assert joined.read_bytes() == quantizer.copied(parts[0]).read_bytes()
        done = r1("quantize", parts[2], "-t", "Q4_K_M", R1_HOME=str(own_home))
        assert done.stdout.decode().startswith("my-tiny:Q4_K_M\t")
        parts[0].unlink()
        done = r1("quantize", parts[2], "-t", "COPY", "-o", tmp_path / "a.gguf")
        assert (done.returncode, done.stderr.count(b"\n")) == (7, 1)
        assert f"{parts[0].name} is missing".encode() in done.stderr

    def test_a_copy_has_no_place_in_the_store(self, r1: Run, own_home: Path, tiny_path: Path) -> None:
        before = sorted(own_home.rglob("*"))
        done = r1("quantize", tiny_path, "-t", "COPY", R1_HOME=str(own_home))
        assert (done.returncode, done.stderr.count(b"\n")) == (2, 1)
        assert b"-t COPY needs -o FILE" in done.stderr
        assert sorted(own_home.rglob("*")) == before

    def test_never_into_itself(self, r1: Run, own_home: Path, tmp_path: Path) -> None:
        made = tmp_path / "a.gguf"
        assert r1("quantize", "tiny", "-t", "BF16", "-o", made).returncode == 0
        before = made.read_bytes()
        done = r1("quantize", made, "-t", "Q4_K_M", "-o", made)
        assert (done.returncode, made.read_bytes()) == (2, before)
        assert b"would be made of itself" in done.stderr
        same = r1("quantize", "tiny:Q8_0", "-t", "Q8_0", R1_HOME=str(own_home))
        assert (same.returncode, same.stderr.count(b"\n")) == (2, 1)


class TestOptions:
    """An importance matrix, types for single tensors, a pre-tokenizer by name."""

    def test_an_importance_matrix(self, r1: Run, own_home: Path, tmp_path: Path) -> None:
        folder = checkpoints.write(tmp_path / "c")
        imatrix = quantizer.write_imatrix(tmp_path / "imatrix.gguf", Shape())
        refused = r1("quantize", folder, "-t", "IQ2_M", R1_HOME=str(own_home))
        assert (refused.returncode, refused.stderr.count(b"\n")) == (2, 1)
        done = r1("quantize", folder, "-t", "IQ2_M", "--imatrix", imatrix, R1_HOME=str(own_home))
        assert done.returncode == 0
        facts = json.loads(r1("show", "c:IQ2_M", "--json", R1_HOME=str(own_home)).stdout)
        assert facts["imatrix"] == "imatrix.gguf"
        assert facts["imatrix_sha256"] == sha256(imatrix.read_bytes()).hexdigest()

    @pytest.mark.parametrize("content", [b"", b"GGUF", b"nothing of the kind, but long enough to be one"])
    def test_a_file_that_is_no_importance_matrix(self, r1: Run, tmp_path: Path, content: bytes) -> None:
        (tmp_path / "imatrix.dat").write_bytes(content)
        done = r1("quantize", "tiny", "--imatrix", tmp_path / "imatrix.dat", "-o", tmp_path / "a.gguf")
        assert (done.returncode, done.stderr.count(b"\n")) == (7, 1)

    def test_another_type_for_some_tensors(self, r1: Run, own_home: Path) -> None:
        wishes = ("--tensor-type", "ffn_down=Q8_0", "--tensor-type", "output.weight=f16")
        assert r1("quantize", "tiny", "-t", "Q4_K_M", *wishes, R1_HOME=str(own_home)).returncode == 0
        facts = json.loads(r1("show", "tiny:Q4_K_M", "--json", R1_HOME=str(own_home)).stdout)
        assert facts["tensors"]["ffn_down"] == {"Q8_0": 4}
        assert facts["tensors"]["output"] == {"F16": 1}
        assert facts["tensor_types"] == ["ffn_down=Q8_0", "output.weight=F16"]

    @pytest.mark.parametrize("wish", ["ffn_down", "ffn_down=Q9", "=Q8_0", "(=Q8_0", "nothing=Q8_0"])
    def test_a_wish_that_cannot_be_granted(self, r1: Run, tmp_path: Path, wish: str) -> None:
        done = r1("quantize", "tiny", "-t", "Q4_K_M", "--tensor-type", wish, "-o", tmp_path / "a.gguf")
        assert (done.returncode, done.stderr.count(b"\n")) == (2, 1)

    def test_a_pretokenizer_by_name(self, r1: Run, own_home: Path, tmp_path: Path) -> None:
        folder = checkpoints.write(tmp_path / "c")
        path = folder / "tokenizer.json"
        path.write_text(path.read_text(encoding="utf-8").replace("'ll|'d)", "'ll|'d|'t)"), encoding="utf-8")
        unknown = r1("quantize", folder, R1_HOME=str(own_home))
        assert unknown.returncode == 7
        assert b"--pretokenizer NAME" in unknown.stderr
        assert r1("quantize", folder, "--pretokenizer", "nonsense", R1_HOME=str(own_home)).returncode == 2
        assert r1("quantize", folder, "--pretokenizer", "qwen2", R1_HOME=str(own_home)).returncode == 0
        assert json.loads(r1("show", "c", "--json", R1_HOME=str(own_home)).stdout)["pre_tokenizer"] == "qwen2"
