"""`r1.library`: which model or source a name means."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from r1.library import find_model, find_source, known_models, named_by, named_source, open_store, resolve_model
from r1_quantize import catalog
from r1_quantize.errors import BadGGUF, ModelNotFound, UsageError
from r1_quantize.store.store import KEPT, RECORD, Store
from tests.fakes.consoles import console, written
from tests.fakes.ggufs import write_gguf


@pytest.fixture
def own_home(home: Path, tmp_path: Path) -> Path:
    """A copy of the home with tiny, for a test to change."""
    return Path(shutil.copytree(home, tmp_path / "own"))


def add(home: Path, name: str, quant: str, age: int) -> None:
    """Adds a copy of tiny under another name, `age` seconds old."""
    target = home / "models" / name / f"{quant}.gguf"
    target.parent.mkdir(exist_ok=True)
    shutil.copy(home / "models" / "tiny" / "Q8_0.gguf", target)
    then = target.stat().st_mtime - age
    os.utime(target, (then, then))


class TestFindModel:
    """A name, else the model pulled last, else the built-in one."""

    def test_without_any_model_it_is_the_built_in_one_and_a_terminal_gets_a_note(self, own_home: Path) -> None:
        person = console(stderr_is_terminal=True, environ={"R1_HOME": str(own_home), "TERM": "dumb"})
        assert find_model(person, None).reference == "tiny:Q8_0"
        assert written(person.stderr).count("\n") == 1
        assert "r1 pull qwen-1.5b" in written(person.stderr)

    def test_a_script_gets_no_note(self, own_home: Path) -> None:
        script = console(environ={"R1_HOME": str(own_home)})
        find_model(script, None)
        assert written(script.stderr) == ""

    def test_the_model_pulled_last_is_the_default(self, own_home: Path) -> None:
        add(own_home, "qwen-7b", "Q4_K_M", age=100)
        add(own_home, "qwen-1.5b", "Q8_0", age=50)
        assert find_model(console(environ={"R1_HOME": str(own_home)}), None).reference == "qwen-1.5b:Q8_0"

    def test_a_bare_name_means_the_default_quant_else_the_newest(self, own_home: Path) -> None:
        made = console(environ={"R1_HOME": str(own_home)})
        add(own_home, "qwen-7b", "Q8_0", age=10)
        add(own_home, "qwen-7b", "BF16", age=20)
        assert find_model(made, "qwen-7b").quant == "Q8_0"
        add(own_home, "qwen-7b", "Q4_K_M", age=90)
        assert find_model(made, "qwen-7b").quant == "Q4_K_M"

    def test_the_built_in_model_is_made_on_demand(self, tmp_path: Path) -> None:
        for number, reference in enumerate(["tiny", "tiny:Q8_0", "tiny:q8_0"]):
            made = console(environ={"R1_HOME": str(tmp_path / str(number))})
            assert find_model(made, reference).path.is_file()

    def test_an_error_for_a_missing_model_names_the_command_that_gets_it(self, own_home: Path) -> None:
        with pytest.raises(ModelNotFound, match="r1 pull qwen-7b:Q8_0"):
            find_model(console(environ={"R1_HOME": str(own_home)}), "qwen-7b:q8_0")

    @pytest.mark.parametrize("reference", [None, "tiny"])
    def test_the_store_is_opened_once(
        self, own_home: Path, monkeypatch: pytest.MonkeyPatch, reference: str | None
    ) -> None:
        opened: list[Path] = []
        load = catalog.load
        monkeypatch.setattr(catalog, "load", lambda path: opened.append(path) or load(path))
        find_model(console(environ={"R1_HOME": str(own_home)}), reference)
        assert opened == [own_home / "models.toml"]

    def test_a_model_that_r1_cannot_run_is_never_the_default(self, own_home: Path, tmp_path: Path) -> None:
        keys = {"tokenizer.ggml.tokens": ["a", "b"]}
        other = own_home / "models" / "other" / "Q8_0.gguf"
        other.parent.mkdir()
        write_gguf(other, "qwen2", keys, {"output_norm.weight": np.ones(32, np.float32)})
        person = console(stderr_is_terminal=True, environ={"R1_HOME": str(own_home), "TERM": "dumb"})
        assert find_model(person, None).reference == "tiny:Q8_0"
        assert "r1 can run no model here, so using the built-in tiny" in written(person.stderr)
        add(own_home, "qwen-7b", "Q4_K_M", age=100)
        assert find_model(person, None).reference == "qwen-7b:Q4_K_M"

    @pytest.mark.parametrize("place", ["store", "elsewhere"])
    def test_a_vocabulary_that_would_end_the_process_is_refused(
        self, own_home: Path, tmp_path: Path, place: str
    ) -> None:
        data = (own_home / "models" / "tiny" / "Q8_0.gguf").read_bytes()
        old, new = b"\x08\0\0\0\0\0\0\0[PAD300]", b"\x08\0\0\0\0\0\0\0[PAD301]"
        assert data.count(old) == 1
        path = (own_home / "models" / "twice" if place == "store" else tmp_path) / "Q8_0.gguf"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data.replace(old, new))
        reference = "twice" if place == "store" else str(path)
        with pytest.raises(BadGGUF, match=r"the tokens 300 and 301 have the same text, '\[PAD301\]'"):
            find_model(console(environ={"R1_HOME": str(own_home)}), reference)

    def test_the_users_models_toml_extends_the_catalogue(self, own_home: Path) -> None:
        (own_home / "models.toml").write_text('[qwen-7b]\ndefault_quant = "BF16"\n', encoding="utf-8")
        made = console(environ={"R1_HOME": str(own_home)})
        add(own_home, "qwen-7b", "Q4_K_M", age=10)
        add(own_home, "qwen-7b", "BF16", age=20)
        assert find_model(made, "qwen-7b").quant == "BF16"

    def test_an_error_names_a_broken_models_toml(self, own_home: Path) -> None:
        (own_home / "models.toml").write_text("[qwen-7b]\nrepos = 1\n", encoding="utf-8")
        with pytest.raises(UsageError, match=r"models\.toml.*repos"):
            find_model(console(environ={"R1_HOME": str(own_home)}), "tiny")


class TestResolveModel:
    """The full name of the model that would be used."""

    def test_names_the_model_without_making_it(self, tmp_path: Path) -> None:
        made = console(environ={"R1_HOME": str(tmp_path / "new")})
        assert resolve_model(made, None) == resolve_model(made, "tiny") == "tiny:Q8_0"
        assert not (tmp_path / "new").exists()

    def test_a_missing_model_is_an_error(self, tmp_path: Path) -> None:
        with pytest.raises(ModelNotFound, match="r1 pull qwen-7b"):
            resolve_model(console(environ={"R1_HOME": str(tmp_path)}), "qwen-7b")


class TestKnownModels:
    """The models on this machine, and always the built-in one."""

    def test_has_the_built_in_model_once(self, own_home: Path, tmp_path: Path) -> None:
        add(own_home, "qwen-7b", "Q4_K_M", age=10)
        assert sorted(known_models({"R1_HOME": str(own_home)})) == ["qwen-7b:Q4_K_M", "tiny:Q8_0"]
        assert known_models({"R1_HOME": str(tmp_path / "new")}) == ["tiny:Q8_0"]


class TestNamedBy:
    """Which model a word names exactly, for people who know other programs' names."""

    @pytest.mark.parametrize(
        ("word", "model"),
        [
            ("tiny", "tiny"),
            ("tiny:Q8_0", "tiny:Q8_0"),
            ("qwen-7b", "qwen-7b"),
            ("qwen-7b:UD-Q4_K_XL", "qwen-7b:UD-Q4_K_XL"),
            ("deepseek-r1", "qwen-7b"),
            ("deepseek-r1:latest", "qwen-7b"),
            ("deepseek-r1:1.5b", "qwen-1.5b"),
            ("deepseek-r1:70b-llama-distill-q4_K_M", "llama-70b"),
            ("hf:unsloth/DeepSeek-R1-Distill-Llama-8B-GGUF:Q4_K_M", "llama-8b"),
            ("hf.co/bartowski/DeepSeek-R1-Distill-Qwen-32B-GGUF", "qwen-32b"),
            ("deepseek-ai/DeepSeek-R1-Distill-Qwen-14B", "qwen-14b"),
            ("deepseek-r1:671b", None),  # no distill
            ("tiny:what", None),
            ("Tiny", None),
            ("tiny,", None),
            ("", None),
            ("nothing.gguf", None),
            ("/etc/passwd", None),
            ("llama3", None),
        ],
    )
    def test_only_a_models_name_names_one(self, home: Path, word: str, model: str | None) -> None:
        assert named_by({"R1_HOME": str(home)}, word) == model

    def test_a_file_names_itself(self, home: Path, tiny_path: Path) -> None:
        assert named_by({"R1_HOME": str(home)}, str(tiny_path)) == str(tiny_path)


COMMIT = "6a6f4aa4197940add57724a7707d069478df56b1"
SNAPSHOT = f"models--someone--Some-Model/snapshots/{COMMIT}"
KNOWN_SNAPSHOT = f"models--deepseek-ai--DeepSeek-R1-Distill-Qwen-7B/snapshots/{COMMIT}"


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Empty folders and files of many names; a source's content is not looked at before it is quantized."""
    root = tmp_path_factory.mktemp("sources")
    folders = ("My Model", "tiny", "qwen-7b", "模型", "a.b", "home/models", KNOWN_SNAPSHOT, SNAPSHOT)
    for name in (*folders, "models--someone--Some-Model/snapshots/main", "models--x--y--z/snapshots/main"):
        (root / name).mkdir(parents=True)
    for name in ("Mine-Q8_0.gguf", "qwen-7b-Q4_K_M.gguf", "Two-BF16-00001-of-00002.gguf", "日本-Q8_0.gguf"):
        (root / name).write_bytes(b"GGUF")
    (root / "link").symlink_to(SNAPSHOT)
    (root / "to a file").symlink_to("Mine-Q8_0.gguf")
    for repo, record in (("someone--Kept", "{}"), ("deepseek-ai--DeepSeek-R1-Distill-Llama-8B", "{}")):
        folder = root / "home" / "checkpoints" / repo / COMMIT
        folder.mkdir(parents=True)
        (folder / RECORD).write_text(record)
        (folder / KEPT).touch()
    return root


class TestFindSource:
    """A source's own name: its repository's if it is from the hub, else its folder's or file's."""

    @pytest.mark.parametrize(
        ("source", "name", "origin", "revision"),
        [
            ("My Model", "my-model", None, None),
            ("./tiny", "tiny", None, None),
            ("tiny/", "tiny", None, None),
            ("a.b/../a.b", "a.b", None, None),
            (SNAPSHOT, "some-model", "someone/Some-Model", COMMIT),
            (f"{SNAPSHOT}/", "some-model", "someone/Some-Model", COMMIT),
            (f"./{SNAPSHOT}/.", "some-model", "someone/Some-Model", COMMIT),
            ("link", "some-model", "someone/Some-Model", COMMIT),
            ("link/", "some-model", "someone/Some-Model", COMMIT),
            ("models--someone--Some-Model/snapshots/main", "some-model", "someone/Some-Model", None),
            ("models--x--y--z", "y--z", "x/y--z", None),
            (KNOWN_SNAPSHOT, "qwen-7b", "deepseek-ai/DeepSeek-R1-Distill-Qwen-7B", COMMIT),
            (f"home/checkpoints/someone--Kept/{COMMIT}", "kept", "someone/Kept", COMMIT),
            ("home/checkpoints/someone--Kept/", "kept", "someone/Kept", COMMIT),
            (
                f"home/checkpoints/deepseek-ai--DeepSeek-R1-Distill-Llama-8B/{COMMIT}",
                *("llama-8b", "deepseek-ai/DeepSeek-R1-Distill-Llama-8B", COMMIT),
            ),
            ("Mine-Q8_0.gguf", "mine", "Mine-Q8_0.gguf", None),
            ("to a file", "to-a-file", "to a file", None),
            ("qwen-7b-Q4_K_M.gguf", "qwen-7b", "qwen-7b-Q4_K_M.gguf", None),
            ("Two-BF16-00001-of-00002.gguf", "two", "Two-BF16-00001-of-00002.gguf", None),
            ("日本-Q8_0.gguf", "", "日本-Q8_0.gguf", None),
            ("模型", "", None, None),
        ],
    )
    def test_names(
        self,
        folders: Path,
        monkeypatch: pytest.MonkeyPatch,
        source: str,
        name: str,
        origin: str | None,
        revision: str | None,
    ) -> None:
        monkeypatch.chdir(folders)
        for given in (source, f"{folders}/{source}"):
            found = find_source(Store(folders / "home", catalog.load()), given)
            assert (found.name, found.origin, found.revision) == (name, origin, revision)

    def test_inside_a_snapshot(self, folders: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(folders / SNAPSHOT)
        assert find_source(Store(folders / "home", catalog.load()), ".").name == "some-model"

    def test_a_model_in_the_store_by_its_path(self, own_home: Path) -> None:
        store = open_store({"R1_HOME": str(own_home)})
        for source in ("tiny:Q8_0", str(store.path("tiny", "Q8_0"))):
            found = find_source(store, source)
            assert (found.name, found.checkpoint) == ("tiny", store.catalogue["tiny"])

    @pytest.mark.parametrize("source", ["someone/Kept", "hf:someone/Kept"])
    def test_a_kept_checkpoint_by_its_repository(self, folders: Path, source: str) -> None:
        """`r1 list` shows it so, and `r1 rm` takes it so."""
        store = Store(folders / "home", catalog.load())
        found = find_source(store, source)
        assert (found.name, found.origin, found.revision) == ("kept", "someone/Kept", COMMIT)
        with pytest.raises(ModelNotFound, match="hf:someone/Gone is not on this disk; `r1 pull hf:someone/Gone`"):
            find_source(store, "hf:someone/Gone")

    @pytest.mark.parametrize("source", ["x" * 300, "x" * 5000, "a/" * 3000, "/proc/self/mem/x", "~nosuch/x"])
    def test_a_path_that_cannot_be_used_is_one_short_line(self, folders: Path, source: str) -> None:
        with pytest.raises(ModelNotFound) as caught:
            find_source(Store(folders / "home", catalog.load()), source)
        assert "\n" not in str(caught.value)
        assert len(str(caught.value)) < 500

    @pytest.mark.parametrize("source", [".", "..", "x", "x.gguf", "./tiny"])
    def test_a_relative_path_in_a_deleted_folder(
        self, folders: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str
    ) -> None:
        (tmp_path / "gone").mkdir()
        monkeypatch.chdir(tmp_path / "gone")
        (tmp_path / "gone").rmdir()
        store = Store(folders / "home", catalog.load())
        with pytest.raises(UsageError, match=r"the current folder was deleted .*; change to another one"):
            find_source(store, source)
        assert find_source(store, str(folders / "tiny")).name == "tiny"
        assert find_source(store, "tiny").checkpoint is not None


class TestNamedSource:
    """The name of the model in the store."""

    @pytest.mark.parametrize("source", ["./tiny", "./qwen-7b", "qwen-7b-Q4_K_M.gguf"])
    def test_a_name_of_the_catalogue_is_refused_for_anything_else(
        self, folders: Path, monkeypatch: pytest.MonkeyPatch, source: str
    ) -> None:
        monkeypatch.chdir(folders)
        store = Store(folders / "home", catalog.load())
        found = find_source(store, source)
        with pytest.raises(UsageError, match=r" is not .*, whose name is .*; choose another name with --name NAME"):
            named_source(store, found, None)
        assert named_source(store, found, "mine").name == "mine"
        with pytest.raises(UsageError, match="is not R1 Tiny"):
            named_source(store, found, "tiny")

    @pytest.mark.parametrize("source", ["tiny", KNOWN_SNAPSHOT])
    def test_its_own_checkpoint_gets_it(self, folders: Path, monkeypatch: pytest.MonkeyPatch, source: str) -> None:
        monkeypatch.chdir(folders)
        store = Store(folders / "home", catalog.load())
        found = find_source(store, source)
        assert named_source(store, found, None).name == found.name
        assert named_source(store, found, "mine").name == "mine"

    def test_a_source_without_a_usable_name_needs_one(self, folders: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(folders)
        store = Store(folders / "home", catalog.load())
        with pytest.raises(UsageError, match="no letter from a to z and no digit; name the model with --name NAME"):
            named_source(store, find_source(store, "模型"), None)
