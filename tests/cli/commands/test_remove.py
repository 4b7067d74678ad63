"""`r1 rm` in a script."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from r1.kv_store.kv_folder import KvFolder
from tests.conftest import Run, printed
from tests.fakes.homes import REPO, files_in
from tests.quantize.store.test_store import HOLDER


@pytest.fixture
def rm(r1: Run, full_home: Path) -> Run:
    """Runs `r1 rm ARGUMENTS` in that home, on pipes."""
    return lambda *arguments, **options: r1("rm", *arguments, R1_HOME=str(full_home), **options)


class TestScripts:
    """-y removes exactly what is named; without it, a pipe is refused."""

    def test_a_model_is_removed_with_its_manifest(self, rm: Run, full_home: Path) -> None:
        before = files_in(full_home)
        done = rm("-y", "qwen-7b:q8_0")
        size = sum(len(before[f"models/qwen-7b/Q8_0.{suffix}"]) for suffix in ("gguf", "json"))
        assert (done.returncode, done.stdout.decode(), done.stderr) == (0, f"qwen-7b:Q8_0\t{size}\n", b"")
        assert before.items() - files_in(full_home).items() == {
            (name, before[name]) for name in ("models/qwen-7b/Q8_0.gguf", "models/qwen-7b/Q8_0.json")
        }

    def test_json_has_what_was_removed(self, rm: Run, full_home: Path) -> None:
        done = rm("-y", "--json", "qwen-7b:Q8_0", "llama-8b", REPO)
        model, unfinished, checkpoint = map(json.loads, done.stdout.splitlines())
        assert model["removed"] == "qwen-7b:Q8_0"
        assert model["paths"] == [
            str(full_home / "models" / "qwen-7b" / f"Q8_0.{suffix}") for suffix in ("gguf", "json")
        ]
        assert (unfinished["removed"], len(unfinished["paths"])) == ("llama-8b:Q6_K", 2)
        assert 1_000_000 < unfinished["bytes"] <= 2_000_003
        assert checkpoint["removed"] == REPO
        assert not any(Path(path).exists() for item in (model, unfinished, checkpoint) for path in item["paths"])

    @pytest.mark.parametrize(
        "references", [["qwen-7b:Q8_0"], ["llama-8b"], [REPO], ["tiny", "llama-8b", "someone/Half"]]
    )
    def test_without_the_option_nothing_is_removed(self, rm: Run, full_home: Path, references: list[str]) -> None:
        before = files_in(full_home)
        for stdin in (None, b"y\n", b"yes\n"):
            done = rm(*references, stdin=stdin)
            assert (done.returncode, done.stdout, done.stderr.count(b"\n")) == (2, b"", 1)
            assert b"not a terminal; pass -y to confirm" in done.stderr
            assert b" frees " in done.stderr
        assert files_in(full_home) == before

    def test_an_ambiguous_name_is_refused(self, rm: Run, full_home: Path) -> None:
        before = files_in(full_home)
        done = rm("-y", "qwen-7b")
        assert (done.returncode, done.stdout) == (2, b"")
        assert done.stderr == b"r1: qwen-7b has several types; choose one of qwen-7b:Q4_K_M, qwen-7b:Q8_0\n"
        assert files_in(full_home) == before

    def test_an_unfinished_model_is_removed_with_its_journal(self, rm: Run, full_home: Path) -> None:
        assert rm("-y", "llama-8b").returncode == 0
        assert not [name for name in files_in(full_home) if "llama-8b" in name]

    @pytest.mark.parametrize("reference", [REPO, f"hf:{REPO}"])
    def test_a_checkpoint_is_removed_and_its_models_stay(self, rm: Run, full_home: Path, reference: str) -> None:
        before = files_in(full_home)
        done = rm("-y", reference)
        assert done.stdout.decode().split("\t")[0] == REPO
        assert {name for name in before if name not in files_in(full_home)} == {
            name for name in before if "DeepSeek-R1-Distill-Qwen-7B" in name
        }

    def test_two_names_of_one_thing_remove_it_once(self, rm: Run, full_home: Path) -> None:
        done = rm("-y", "tiny", "tiny:Q8_0", "tiny:q8_0", "llama-8b", REPO, f"hf:{REPO}", "llama-8b:Q6_K")
        removed = [line.split("\t")[0] for line in done.stdout.decode().splitlines()]
        assert (done.returncode, removed) == (0, ["tiny:Q8_0", "llama-8b:Q6_K", REPO])

    def test_a_missing_model_keeps_the_others(self, rm: Run, full_home: Path) -> None:
        before = files_in(full_home)
        done = rm("-y", "qwen-7b:Q8_0", "qwen-14b")
        assert (done.returncode, done.stderr) == (4, b"r1: qwen-14b is not on this machine; see r1 list\n")
        assert files_in(full_home) == before

    def test_an_empty_name_is_as_none(self, rm: Run, full_home: Path) -> None:
        """A script's variable that is not set must not remove what stands beside it."""
        before = files_in(full_home)
        done = rm("-y", "qwen-7b:Q8_0", "")
        assert (done.returncode, done.stdout) == (2, b"")
        assert done.stderr.startswith(b"r1: no MODEL given; ")
        assert files_in(full_home) == before

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
    def test_paths_are_refused(self, rm: Run, full_home: Path, reference: str) -> None:
        before = files_in(full_home.parent)
        done = rm("-y", reference.format(own=full_home))
        assert done.returncode in {2, 4}
        assert (done.stdout, done.stderr.count(b"\n")) == (b"", 1)
        assert files_in(full_home.parent) == before

    def test_an_empty_home(self, r1: Run, tmp_path: Path) -> None:
        assert r1("rm", "-y", "qwen-7b", R1_HOME=str(tmp_path / "none")).returncode == 4
        assert not (tmp_path / "none").exists()

    def test_a_locked_model_is_refused(self, rm: Run, full_home: Path) -> None:
        before = files_in(full_home)
        command = [sys.executable, "-c", HOLDER, str(full_home)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == b"held\n"
            done = rm("-y", "qwen-7b:Q8_0")
            process.kill()
        assert (done.returncode, done.stdout, done.stderr.count(b"\n")) == (1, b"", 1)
        assert f"qwen-7b:Q8_0 is being made by another r1 (process {process.pid})".encode() in done.stderr
        assert files_in(full_home) == before


class TestCache:
    """`--cache` removes the KV caches on disk, and nothing else."""

    @pytest.fixture
    def folder(self, full_home: Path) -> KvFolder:
        folder = KvFolder(full_home / "kv-cache", 10**6, min_free=0)
        for size in (1000, 2000):
            with folder.new_file("chat 1", "model", size) as path:
                path.write_bytes(bytes(size))
        return folder

    def test_removes_all(self, rm: Run, full_home: Path, folder: KvFolder) -> None:
        before = files_in(full_home)
        assert printed(rm("-y", "--cache")) == "cache\t3000\n"
        assert folder.files() == []
        gone = before.keys() - files_in(full_home).keys()
        assert len(gone) == 2
        assert all(name.startswith("kv-cache/") for name in gone)
        assert printed(rm("-y", "--cache")) == "cache\t0\n"

    def test_json(self, rm: Run, folder: KvFolder) -> None:
        assert json.loads(printed(rm("-y", "--cache", "--json"))) == {
            "removed": "cache",
            "bytes": 3000,
            "paths": [str(folder.path)],
        }

    def test_without_the_option_nothing_is_removed(self, rm: Run, folder: KvFolder) -> None:
        done = rm("--cache", stdin=b"y\n")
        assert (done.returncode, done.stdout) == (2, b"")
        assert b"It frees 3 kB." in done.stderr
        assert len(folder.files()) == 2

    def test_a_model_goes_with_it(self, rm: Run, folder: KvFolder) -> None:
        lines = printed(rm("-y", "--cache", "qwen-7b:Q8_0")).splitlines()
        assert [line.partition("\t")[0] for line in lines] == ["cache", "qwen-7b:Q8_0"]
        assert folder.files() == []

    def test_what_a_killed_process_left_counts(self, rm: Run, folder: KvFolder) -> None:
        (folder.path / "0-1-2-9000.partial").write_bytes(bytes(500))
        assert b"It frees 3.5 kB." in rm("--cache").stderr
        assert printed(rm("-y", "--cache")) == "cache\t3500\n"

    def test_without_any_there_is_nothing_to_ask(self, rm: Run) -> None:
        done = rm("--cache")
        assert (done.returncode, done.stdout, done.stderr) == (0, b"cache\t0\n", b"")

    def test_a_file_in_the_place_of_the_folder_is_named(self, rm: Run, full_home: Path) -> None:
        (full_home / "kv-cache").write_bytes(b"x")
        done = rm("-y", "--cache")
        assert done.returncode == 2
        assert f"{full_home / 'kv-cache'} is a file, and KV caches are kept in a folder".encode() in done.stderr

    def test_where_nothing_was_kept_nothing_is_made(self, rm: Run, full_home: Path) -> None:
        assert printed(rm("-y", "--cache")) == "cache\t0\n"
        assert not (full_home / "kv-cache").exists()
