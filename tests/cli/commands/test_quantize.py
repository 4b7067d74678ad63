"""`r1 quantize`: a checkpoint or GGUF on this disk becomes a model."""

from __future__ import annotations

import json
import os
import shutil
from hashlib import sha256
from pathlib import Path

import pytest

from r1_quantize.recipe import RECIPES
from tests.conftest import Run
from tests.fakes import checkpoints, quantizer, splits
from tests.fakes.checkpoints import Shape
from tests.fakes.paths import TINY
from tests.quantize.test_identity import NEED_IMATRIX

SMALL = Shape(hidden=32, inner=32, layers=1, heads=1, kv_heads=1)


def without_control_tokens(folder: Path) -> Path:
    """A checkpoint whose vocabulary has other tokens in the place of <think> and </think>."""
    checkpoints.write(folder, SMALL)
    path = folder / "tokenizer.json"
    text = path.read_text(encoding="utf-8").replace('"<think>"', '"<plan>"').replace('"</think>"', '"</plan>"')
    path.write_text(text, encoding="utf-8")
    return folder


class TestQuantize:
    """A checkpoint as the source."""

    @pytest.mark.parametrize("quant", [name for name in RECIPES if name not in NEED_IMATRIX])
    def test_a_model_of_every_type_answers(self, r1: Run, own_home: Path, quant: str) -> None:
        made = r1("quantize", "tiny", "-t", quant.lower(), "--force", R1_HOME=str(own_home))
        assert made.returncode == 0
        assert made.stdout.decode().startswith(f"tiny:{quant}\t")
        answer = r1("run", "-m", f"tiny:{quant}", "--temp", "0", "What is 17 + 25?", R1_HOME=str(own_home))
        if (
            RECIPES[quant].base.block_bytes / RECIPES[quant].base.block > 0.6
        ):  # a model this small makes mistakes with fewer bits
            assert rb"\boxed{42}" in answer.stdout
        assert answer.returncode in {0, 3}

    def test_a_folder_goes_to_a_file_or_to_the_store(self, r1: Run, own_home: Path, tmp_path: Path) -> None:
        folder = shutil.copytree(TINY, tmp_path / "My Model")
        to_file = r1("quantize", folder, "-t", "Q8_0", "-o", tmp_path / "out.gguf", "--json", R1_HOME=str(own_home))
        facts = json.loads(to_file.stdout)
        assert (to_file.returncode, to_file.stderr) == (0, b"")
        assert facts["bytes"] == (tmp_path / "out.gguf").stat().st_size
        to_store = r1("quantize", folder, "-t", "Q8_0", "-q", R1_HOME=str(own_home))
        made = own_home / "models" / "my-model" / "Q8_0.gguf"
        assert to_store.stdout.decode() == f"my-model:Q8_0\t{made.stat().st_size}\t{made}\n"
        assert to_store.stderr == b""
        assert r1("verify", "my-model:Q8_0", R1_HOME=str(own_home)).returncode == 0

    def test_a_link_is_followed_and_a_pipe_is_refused(self, r1: Run, tmp_path: Path) -> None:
        (tmp_path / "link.gguf").symlink_to(tmp_path / "real.gguf")
        os.mkfifo(tmp_path / "pipe")
        assert r1("quantize", "tiny", "-o", tmp_path / "link.gguf").returncode == 0
        assert (tmp_path / "link.gguf").is_symlink()
        assert (tmp_path / "real.gguf").stat().st_size > 1_000_000
        assert r1("quantize", "tiny", "-o", tmp_path / "pipe").returncode == 2
        assert (tmp_path / "pipe").is_fifo()

    def test_a_checkpoint_of_the_catalogue_can_be_named_by_its_repository(self, r1: Run) -> None:
        done = r1("quantize", "deepseek-ai/DeepSeek-R1-Distill-Qwen-7B")
        assert done.returncode == 4
        assert b"is not on this disk; r1 pull qwen-7b quantizes it while it downloads" in done.stderr

    def test_a_snapshot_in_the_hubs_cache_is_named_after_its_repository(
        self, r1: Run, own_home: Path, tmp_path: Path
    ) -> None:
        commit = "6a6f4aa4197940add57724a7707d069478df56b1"
        folder = checkpoints.write(tmp_path / "models--someone--Some-Model" / "snapshots" / commit)
        assert r1("quantize", folder, "-t", "Q8_0", R1_HOME=str(own_home)).returncode == 0
        facts = json.loads(r1("show", "some-model", "--json", R1_HOME=str(own_home)).stdout)
        assert (facts["source"], facts["revision"]) == ("someone/Some-Model", commit)

    def test_a_name_of_the_catalogue_is_refused_for_a_foreign_checkpoint(
        self, r1: Run, own_home: Path, tmp_path: Path
    ) -> None:
        """The built-in model would be put back over it when it is used the next time."""
        folder = checkpoints.write(tmp_path / "tiny", SMALL)
        before = sorted(own_home.rglob("*"))
        refused = r1("quantize", folder, "-t", "Q8_0", R1_HOME=str(own_home))
        assert (refused.returncode, sorted(own_home.rglob("*"))) == (2, before)
        advice = "choose another name with --name NAME, or write a file with -o FILE"
        assert refused.stderr.decode() == f"r1: {folder} is not R1 Tiny, whose name is tiny; {advice}\n"
        named = r1("quantize", folder, "-t", "Q8_0", "--name", "mine", R1_HOME=str(own_home))
        assert named.stdout.decode().startswith("mine:Q8_0\t")
        assert r1("quantize", folder, "-t", "Q8_0", "-o", tmp_path / "a.gguf").returncode == 0
        answer = r1("run", "-m", "tiny", "--temp", "0", "What is 17 + 25?", R1_HOME=str(own_home))
        assert rb"\boxed{42}" in answer.stdout

    def test_so_it_is_for_a_foreign_gguf(self, r1: Run, own_home: Path, tiny_path: Path, tmp_path: Path) -> None:
        shutil.copy(tiny_path, tmp_path / "qwen-7b-Q8_0.gguf")
        command = ("quantize", tmp_path / "qwen-7b-Q8_0.gguf", "-t", "F16", "--allow-requantize")
        assert r1(*command, R1_HOME=str(own_home)).returncode == 2
        assert r1(*command, "--name", "mine", R1_HOME=str(own_home)).stdout.startswith(b"mine:F16\t")

    @pytest.mark.parametrize("options", [("--name", "x", "-o", "y.gguf"), ("--name", "X Y"), ("--name", "qwen-7b")])
    def test_a_name_that_cannot_be_used(self, r1: Run, tmp_path: Path, options: tuple[str, ...]) -> None:
        folder = checkpoints.write(tmp_path / "c", SMALL)
        done = r1("quantize", folder, *options)
        assert (done.returncode, done.stderr.count(b"\n")) == (2, 1)

    def test_a_name_of_the_catalogue_wins_over_a_folder_of_that_name_and_says_so(
        self, r1: Run, own_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        checkpoints.write(tmp_path / "tiny", SMALL)
        monkeypatch.chdir(tmp_path)
        done = r1("quantize", "tiny", "-t", "F16", R1_HOME=str(own_home))
        assert b"tiny is the name of R1 Tiny; for the folder of that name, type ./tiny\n" in done.stderr
        assert b"51 tensors" in done.stderr

    def test_a_model_that_r1_cannot_run_is_announced_and_never_the_default(
        self, r1: Run, own_home: Path, tmp_path: Path
    ) -> None:
        folder = without_control_tokens(tmp_path / "other")
        done = r1("quantize", folder, "-t", "Q8_0", R1_HOME=str(own_home))
        assert done.returncode == 0
        _, *warnings = done.stderr.decode().splitlines()
        assert len(warnings) == 2  # in the plan and at the end
        for warning in warnings:
            assert (
                "r1 cannot run it: it is no DeepSeek-R1 distill, as its vocabulary lacks <think>, </think>" in warning
            )
        answer = r1("run", "--temp", "0", "What is 17 + 25?", R1_HOME=str(own_home))
        assert (answer.returncode, rb"\boxed{42}" in answer.stdout) == (0, True)
        chosen = r1("run", "-m", "other", "hi", R1_HOME=str(own_home))
        assert chosen.returncode == 7
        assert b"its vocabulary lacks <think>, </think>); choose another model with -m" in chosen.stderr
        checked = r1("verify", "other", R1_HOME=str(own_home))
        assert checked.returncode == 7
        assert b"other:Q8_0 is not damaged, but r1 cannot run it" in checked.stderr

    def test_so_it_is_with_json_and_quietly(self, r1: Run, own_home: Path, tmp_path: Path) -> None:
        folder = without_control_tokens(tmp_path / "other")
        done = r1("quantize", folder, "-t", "Q8_0", "--json", R1_HOME=str(own_home))
        assert json.loads(done.stdout)["missing_tokens"] == ["<think>", "</think>"]
        quiet = r1("quantize", folder, "-t", "F16", "-q", R1_HOME=str(own_home))
        assert (quiet.stdout.count(b"\n"), quiet.stderr.count(b"\n")) == (1, 1)

    @pytest.mark.parametrize("content", [b"", b"\n", b"null", b"null\n"])
    def test_a_generation_config_without_content_is_as_good_as_none(
        self, r1: Run, tmp_path: Path, content: bytes
    ) -> None:
        folder = checkpoints.write(tmp_path / "c", SMALL)
        (folder / "generation_config.json").write_bytes(content)
        assert r1("quantize", folder, "-t", "F32", "-o", tmp_path / "a.gguf").returncode == 0
        assert "top_p" not in json.loads(r1("show", tmp_path / "a.gguf", "--json").stdout)

    def test_one_file_of_a_checkpoint_is_refused(self, r1: Run, tmp_path: Path) -> None:
        folder = checkpoints.write(tmp_path / "c")
        done = r1("quantize", folder / "model.safetensors")
        assert done.returncode == 2
        assert b"give its folder" in done.stderr

    def test_a_bad_source_leaves_nothing_in_the_store(self, r1: Run, own_home: Path) -> None:
        before = sorted(own_home.rglob("*"))
        for source in ("", "README.md", "/", str(own_home)):
            assert r1("quantize", source, R1_HOME=str(own_home)).returncode in {2, 4, 7}
        assert sorted(own_home.rglob("*")) == before

    def test_a_file_is_replaced_only_with_force(self, r1: Run, tmp_path: Path) -> None:
        (tmp_path / "a.gguf").write_bytes(b"older")
        refused = r1("quantize", "tiny", "-o", tmp_path / "a.gguf")
        assert (refused.returncode, (tmp_path / "a.gguf").read_bytes()) == (2, b"older")
        assert b"a.gguf exists already; --force replaces it" in refused.stderr
        assert r1("quantize", "tiny", "-o", tmp_path / "a.gguf", "--force").returncode == 0
        assert (tmp_path / "a.gguf").read_bytes()[:4] == b"GGUF"

    def test_a_model_in_the_store_is_replaced_only_with_force(self, r1: Run, own_home: Path, tmp_path: Path) -> None:
        folder = checkpoints.write(tmp_path / "mine")
        command = ("quantize", folder, "-t", "Q8_0")
        assert r1(*command, R1_HOME=str(own_home)).returncode == 0
        made = own_home / "models" / "mine" / "Q8_0.gguf"
        before = made.stat()
        refused = r1(*command, R1_HOME=str(own_home))
        assert (refused.returncode, refused.stdout, made.stat()) == (2, b"", before)
        assert refused.stderr == b"r1: mine:Q8_0 exists already; --force replaces it\n"
        assert r1(*command, "--force", R1_HOME=str(own_home)).returncode == 0
        assert made.stat().st_ino != before.st_ino

    def test_a_missing_source(self, r1: Run) -> None:
        done = r1("quantize", "./nowhere")
        assert done.returncode == 4
        assert b"./nowhere is neither a file, a folder nor a name in the catalogue" in done.stderr

    def test_a_folder_without_a_checkpoint(self, r1: Run, tmp_path: Path) -> None:
        done = r1("quantize", tmp_path)
        assert done.returncode == 7
        assert done.stderr.count(b"\n") == 1

    def test_a_missing_output_folder(self, r1: Run, tmp_path: Path) -> None:
        done = r1("quantize", "tiny", "-o", tmp_path / "no" / "a.gguf")
        assert done.returncode == 2
        assert b"is not a folder; create it first" in done.stderr

    def test_a_pipe_gets_plain_lines(self, r1: Run, own_home: Path) -> None:
        done = r1("quantize", "tiny", "-t", "BF16", R1_HOME=str(own_home))
        assert done.stderr.decode() == "r1: tiny → BF16: 51 tensors, 5.05 MB in, 5.07 MB out\n"


class TestRequantize:
    """A GGUF as the source."""

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

    def test_an_already_quantized_source_needs_an_option(self, r1: Run, tiny_path: Path, tmp_path: Path) -> None:
        command = ("quantize", tiny_path, "-t", "Q4_K_M", "-o", tmp_path / "a.gguf")
        refused = r1(*command)
        assert (refused.returncode, refused.stderr.count(b"\n")) == (2, 1)
        assert b"--allow-requantize" in refused.stderr
        assert r1(*command, "--allow-requantize").returncode == 0

    def test_any_part_of_a_split_gguf_names_all_of_it(self, r1: Run, own_home: Path, tmp_path: Path) -> None:
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

    def test_a_copy_needs_an_output_file(self, r1: Run, own_home: Path, tiny_path: Path) -> None:
        before = sorted(own_home.rglob("*"))
        done = r1("quantize", tiny_path, "-t", "COPY", R1_HOME=str(own_home))
        assert (done.returncode, done.stderr.count(b"\n")) == (2, 1)
        assert b"-t COPY cannot write to the store" in done.stderr
        assert b"add -o FILE" in done.stderr
        assert sorted(own_home.rglob("*")) == before

    def test_a_source_is_never_its_own_output(self, r1: Run, own_home: Path, tmp_path: Path) -> None:
        made = tmp_path / "a.gguf"
        assert r1("quantize", "tiny", "-t", "BF16", "-o", made).returncode == 0
        before = made.read_bytes()
        done = r1("quantize", made, "-t", "Q4_K_M", "-o", made)
        assert (done.returncode, made.read_bytes()) == (2, before)
        assert b"is part of the source" in done.stderr
        same = r1("quantize", "tiny:Q8_0", "-t", "Q8_0", R1_HOME=str(own_home))
        assert (same.returncode, same.stderr.count(b"\n")) == (2, 1)


class TestOptions:
    """An importance matrix, types of single tensors, the name of a pre-tokenizer."""

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
    def test_a_file_that_is_not_an_importance_matrix(self, r1: Run, tmp_path: Path, content: bytes) -> None:
        (tmp_path / "imatrix.dat").write_bytes(content)
        done = r1("quantize", "tiny", "--imatrix", tmp_path / "imatrix.dat", "-o", tmp_path / "a.gguf")
        assert (done.returncode, done.stderr.count(b"\n")) == (7, 1)

    def test_other_types_for_some_tensors(self, r1: Run, own_home: Path) -> None:
        options = ("--tensor-type", "ffn_down=Q8_0", "--tensor-type", "output.weight=f16")
        assert r1("quantize", "tiny", "-t", "Q4_K_M", *options, R1_HOME=str(own_home)).returncode == 0
        facts = json.loads(r1("show", "tiny:Q4_K_M", "--json", R1_HOME=str(own_home)).stdout)
        assert facts["tensors"]["ffn_down"] == {"Q8_0": 4}
        assert facts["tensors"]["output"] == {"F16": 1}
        assert facts["tensor_types"] == ["ffn_down=Q8_0", "output.weight=F16"]

    @pytest.mark.parametrize("option", ["ffn_down", "ffn_down=Q9", "=Q8_0", "(=Q8_0", "nothing=Q8_0"])
    def test_an_invalid_tensor_type(self, r1: Run, tmp_path: Path, option: str) -> None:
        done = r1("quantize", "tiny", "-t", "Q4_K_M", "--tensor-type", option, "-o", tmp_path / "a.gguf")
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
