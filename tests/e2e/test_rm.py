"""`r1 rm`, and what `r1 list` says of what can be removed, as scripts and people use them."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from r1_quantize.store.store import KEPT, RECORD
from tests.conftest import R1, Run
from tests.e2e.terminal import Terminal, without_style
from tests.quantize.store.test_store import HOLDER

REPO = "deepseek-ai/DeepSeek-R1-Distill-Qwen-7B"


@pytest.fixture
def own(home: Path, tmp_path: Path) -> Path:
    """A home with tiny, a copy of it as qwen-7b in two quantizations, a half-made model and two checkpoints."""
    own = Path(shutil.copytree(home, tmp_path / "own"))
    for quant in ("Q8_0", "Q4_K_M"):
        (own / "models" / "qwen-7b").mkdir(exist_ok=True)
        for suffix in ("gguf", "json"):
            shutil.copy(own / "models" / "tiny" / f"Q8_0.{suffix}", own / "models" / "qwen-7b" / f"{quant}.{suffix}")
    (own / "models" / "llama-8b").mkdir()
    (own / "models" / "llama-8b" / "Q6_K.gguf.partial").write_bytes(b"x" * 2_000_000)
    (own / "models" / "llama-8b" / "Q6_K.gguf.partial.journal").write_bytes(b"{}\n")
    for repo, kept in ((REPO, True), ("someone/Half", False)):
        folder = own / "checkpoints" / repo.replace("/", "--") / ("0" * 40)
        folder.mkdir(parents=True)
        (folder / RECORD).write_text("{}")
        (folder / "model.safetensors").write_bytes(b"x" * 3_000_000)
        if kept:
            (folder / KEPT).touch()
    return own


@pytest.fixture
def rm(r1: Run, own: Path) -> Run:
    """Runs `r1 rm ARGUMENTS` in that home, on pipes."""
    return lambda *arguments, **options: r1("rm", *arguments, R1_HOME=str(own), **options)


def files_in(folder: Path) -> dict[str, bytes]:
    """What a folder holds, but for locks."""
    found = (path for path in sorted(folder.rglob("*")) if path.is_file() and not path.name.endswith("lock"))
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


class TestScripts:
    """With -y what is named is removed, and nothing else; without it nobody can be asked."""

    def test_a_model_goes_with_its_manifest(self, rm: Run, own: Path) -> None:
        before = files_in(own)
        done = rm("-y", "qwen-7b:q8_0")
        size = sum(len(before[f"models/qwen-7b/Q8_0.{suffix}"]) for suffix in ("gguf", "json"))
        assert (done.returncode, done.stdout.decode(), done.stderr) == (0, f"qwen-7b:Q8_0\t{size}\n", b"")
        assert before.items() - files_in(own).items() == {
            (name, before[name]) for name in ("models/qwen-7b/Q8_0.gguf", "models/qwen-7b/Q8_0.json")
        }

    def test_json_says_what_went(self, rm: Run, own: Path) -> None:
        done = rm("-y", "--json", "qwen-7b:Q8_0", "llama-8b", REPO)
        model, half_made, checkpoint = map(json.loads, done.stdout.splitlines())
        assert model["removed"] == "qwen-7b:Q8_0"
        assert model["paths"] == [str(own / "models" / "qwen-7b" / f"Q8_0.{suffix}") for suffix in ("gguf", "json")]
        assert (half_made["removed"], len(half_made["paths"])) == ("llama-8b:Q6_K", 2)
        assert 1_000_000 < half_made["bytes"] <= 2_000_003
        assert checkpoint["removed"] == REPO
        assert not any(Path(path).exists() for item in (model, half_made, checkpoint) for path in item["paths"])

    @pytest.mark.parametrize(
        "references", [["qwen-7b:Q8_0"], ["llama-8b"], [REPO], ["tiny", "llama-8b", "someone/Half"]]
    )
    def test_without_a_word_nothing_goes(self, rm: Run, own: Path, references: list[str]) -> None:
        before = files_in(own)
        for stdin in (None, b"y\n", b"yes\n"):
            done = rm(*references, stdin=stdin)
            assert (done.returncode, done.stdout, done.stderr.count(b"\n")) == (2, b"", 1)
            assert b"nobody can be asked here, so say -y to do it" in done.stderr
            assert b" frees " in done.stderr
        assert files_in(own) == before

    def test_a_name_of_several_is_asked_about(self, rm: Run, own: Path) -> None:
        before = files_in(own)
        done = rm("-y", "qwen-7b")
        assert (done.returncode, done.stdout) == (2, b"")
        assert done.stderr == b"r1: which one? qwen-7b:Q4_K_M, qwen-7b:Q8_0\n"
        assert files_in(own) == before

    def test_what_is_half_made_goes_with_its_journal(self, rm: Run, own: Path) -> None:
        assert rm("-y", "llama-8b").returncode == 0
        assert not [name for name in files_in(own) if "llama-8b" in name]

    @pytest.mark.parametrize("reference", [REPO, f"hf:{REPO}"])
    def test_a_checkpoint_goes_and_the_models_made_of_it_stay(self, rm: Run, own: Path, reference: str) -> None:
        before = files_in(own)
        done = rm("-y", reference)
        assert done.stdout.decode().split("\t")[0] == REPO
        assert {name for name in before if name not in files_in(own)} == {
            name for name in before if "DeepSeek-R1-Distill-Qwen-7B" in name
        }

    def test_the_same_thing_twice_is_one_thing(self, rm: Run, own: Path) -> None:
        done = rm("-y", "tiny", "tiny:Q8_0", "tiny:q8_0", "llama-8b", REPO, f"hf:{REPO}", "llama-8b:Q6_K")
        gone = [line.split("\t")[0] for line in done.stdout.decode().splitlines()]
        assert (done.returncode, gone) == (0, ["tiny:Q8_0", "llama-8b:Q6_K", REPO])

    def test_one_that_is_not_here_keeps_the_others(self, rm: Run, own: Path) -> None:
        before = files_in(own)
        done = rm("-y", "qwen-7b:Q8_0", "qwen-14b")
        assert (done.returncode, done.stderr) == (4, b"r1: qwen-14b is not here; r1 list shows what is\n")
        assert files_in(own) == before

    @pytest.mark.parametrize(
        "reference",
        [
            "{own}/models/qwen-7b/Q8_0.gguf",
            "./Q8_0.gguf",
            "Q8_0.gguf",
            "/",
            "..",
            "../own",
            "../..:Q8_0",
            "models/qwen-7b",
            "{own}",
            "",
        ],
    )
    def test_paths_are_nobodys_business(self, rm: Run, own: Path, reference: str) -> None:
        before = files_in(own.parent)
        done = rm("-y", reference.format(own=own))
        assert done.returncode in {2, 4}
        assert (done.stdout, done.stderr.count(b"\n")) == (b"", 1)
        assert files_in(own.parent) == before

    def test_a_home_that_is_empty(self, r1: Run, tmp_path: Path) -> None:
        assert r1("rm", "-y", "qwen-7b", R1_HOME=str(tmp_path / "none")).returncode == 4
        assert not (tmp_path / "none").exists()

    def test_not_what_another_process_is_at(self, rm: Run, own: Path) -> None:
        before = files_in(own)
        command = [sys.executable, "-c", HOLDER, str(own)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == b"held\n"
            done = rm("-y", "qwen-7b:Q8_0")
            process.kill()
        assert (done.returncode, done.stdout, done.stderr.count(b"\n")) == (1, b"", 1)
        assert f"qwen-7b:Q8_0 is being made by another r1 (process {process.pid})".encode() in done.stderr
        assert files_in(own) == before


class TestPeople:
    """A person is asked, with what it frees; only yes is yes."""

    def answered(self, environ: dict[str, str], own: Path, keys: str, *references: str) -> tuple[int, str]:
        with Terminal([*R1, "rm", *references], {**environ, "R1_HOME": str(own)}) as terminal:
            screen = ""
            while "[y/N]" not in screen:
                screen += terminal.read_some()
            terminal.type(keys)
            screen += terminal.read_to_end()
            return terminal.status, without_style(screen)

    @pytest.mark.parametrize("keys", ["y\n", "Yes\n", " YES \n"])
    def test_yes(self, environ: dict[str, str], own: Path, keys: str) -> None:
        size = (own / "models" / "llama-8b" / "Q6_K.gguf.partial").stat().st_size
        status, screen = self.answered(environ, own, keys, "llama-8b")
        assert status == 0
        assert f"Remove llama-8b:Q6_K? It frees {size // 1_000_000} MB. [y/N]" in screen
        assert "llama-8b:Q6_K is gone; 2 MB are free again" in screen
        assert not [name for name in files_in(own) if "llama-8b" in name]

    @pytest.mark.parametrize("keys", ["\n", "n\n", "no\n", "yesterday\n", "\x04"])
    def test_anything_else(self, environ: dict[str, str], own: Path, keys: str) -> None:
        before = files_in(own)
        status, screen = self.answered(environ, own, keys, "llama-8b", REPO)
        assert status == 0
        assert f"Remove llama-8b:Q6_K, {REPO}?" in screen
        assert "nothing was removed" in screen
        assert files_in(own) == before

    def test_ctrl_c(self, environ: dict[str, str], own: Path) -> None:
        before = files_in(own)
        status, _ = self.answered(environ, own, "\x03", "llama-8b")
        assert status == 130
        assert files_in(own) == before

    def test_nobody_is_asked_with_a_word(self, environ: dict[str, str], own: Path) -> None:
        with Terminal([*R1, "rm", "-y", "llama-8b"], {**environ, "R1_HOME": str(own)}) as terminal:
            screen = terminal.read_to_end()
            assert terminal.status == 0
        assert "[y/N]" not in screen


class TestList:
    """What takes room is shown, whether it is a model or not."""

    def test_json_has_all_of_it(self, r1: Run, own: Path) -> None:
        facts = json.loads(r1("list", "--json", R1_HOME=str(own)).stdout)
        assert [item["reference"] for item in facts["here"]] == ["qwen-7b:Q4_K_M", "qwen-7b:Q8_0", "tiny:Q8_0"]
        (unfinished,) = facts["unfinished"]
        assert unfinished["reference"] == "llama-8b:Q6_K"
        assert 1_000_000 < unfinished["bytes"] <= 2_000_003
        assert [(item["repo"], item["whole"]) for item in facts["checkpoints"]] == [
            (REPO, True),
            ("someone/Half", False),
        ]
        assert all(2_000_000 < item["bytes"] <= 3_000_100 for item in facts["checkpoints"])

    def test_a_script_gets_models_alone(self, r1: Run, own: Path) -> None:
        done = r1("list", R1_HOME=str(own))
        names = [line.split("\t")[0] for line in done.stdout.decode().splitlines()]
        assert (names, done.stderr) == (["qwen-7b:Q4_K_M", "qwen-7b:Q8_0", "tiny:Q8_0"], b"")

    @pytest.mark.parametrize("columns", ["40", "80", "200"])
    def test_a_person_sees_what_each_is(self, environ: dict[str, str], own: Path, columns: str) -> None:
        with Terminal([*R1, "list"], {**environ, "R1_HOME": str(own), "COLUMNS": columns}) as terminal:
            screen = without_style(terminal.read_to_end())
        assert max(map(len, screen.split("\r\n"))) <= int(columns)
        words = " ".join(screen.split())
        assert "llama-8b:Q6_K" in screen
        assert "half-made" in screen
        assert "someone/Half" in screen
        if columns != "40":
            assert "checkpoint, kept" in words
            assert "of a pull that was stopped" in words
            assert REPO in words

    def test_everything_that_is_listed_can_be_removed_by_that_name(self, r1: Run, own: Path) -> None:
        facts = json.loads(r1("list", "--json", R1_HOME=str(own)).stdout)
        names = [
            item.get("reference") or item["repo"] for item in facts["here"] + facts["unfinished"] + facts["checkpoints"]
        ]
        assert r1("rm", "-y", *names, R1_HOME=str(own)).returncode == 0
        assert files_in(own) == {}
        left = json.loads(r1("list", "--json", R1_HOME=str(own)).stdout)
        assert (left["here"], left["unfinished"], left["checkpoints"]) == ([], [], [])
