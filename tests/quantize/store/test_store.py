"""`r1_quantize.store.store`: finds, locks and removes the models on this machine."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pytest

from r1_quantize import catalog, files
from r1_quantize.errors import Busy, ModelNotFound, R1Error, UsageError
from r1_quantize.store.removable import allocated_bytes
from r1_quantize.store.store import KEPT, RECORD, Store, home
from tests.fakes.ggufs import write_gguf
from tests.quantize.store.test_manifest import MANIFEST


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """An empty store."""
    return Store(tmp_path / "home", catalog.load())


def put(store: Store, name: str, quant: str, *, age: float = 0) -> Path:
    """A file where a model would be, `age` seconds old."""
    path = store.path(name, quant)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"GGUF")
    os.utime(path, (1_000_000 - age, 1_000_000 - age))
    return path


class TestHome:
    """R1_HOME, else the platform's folder."""

    def test_is_r1_home(self) -> None:
        assert home({"R1_HOME": "/models"}) == Path("/models")

    def test_a_tilde_is_the_users_home(self) -> None:
        assert home({"R1_HOME": "~/models"}) == Path.home() / "models"

    @pytest.mark.parametrize("chosen", ["~nosuchuser", "~nosuchuser/models"])
    def test_a_tilde_without_a_home_is_refused(self, chosen: str) -> None:
        """As a path it would be a folder called ~nosuchuser, in any folder that r1 is started in."""
        with pytest.raises(UsageError, match=f"^R1_HOME: there is no home folder for {chosen}; give the full path"):
            home({"R1_HOME": chosen})

    def test_a_user_without_a_home_is_asked_for_r1_home(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """platformdirs raises RuntimeError; older versions return `~/.local/share`."""

        def refuse(*_: object, **__: object) -> Path:
            raise RuntimeError("could not determine the home directory")

        for answer in (refuse, lambda *_, **__: Path("~/.local/share/r1")):
            monkeypatch.setattr("platformdirs.user_data_path", answer)
            with pytest.raises(UsageError, match=r"^this user has no home folder; set R1_HOME to a folder"):
                home({})

    @pytest.mark.parametrize("environ", [{}, {"R1_HOME": ""}])
    def test_else_the_platforms_folder(self, environ: dict[str, str]) -> None:
        assert home(environ).name == "r1"


class TestModels:
    """Lists finished models only."""

    def test_are_none_in_a_home_that_does_not_exist(self, store: Store) -> None:
        assert store.models() == []
        assert not store.root.exists()

    def test_are_sorted_by_name_then_quant(self, store: Store) -> None:
        for name, quant in (("qwen-7b", "Q8_0"), ("qwen-7b", "Q4_K_M"), ("llama-8b", "Q8_0")):
            put(store, name, quant)
        assert [model.reference for model in store.models()] == ["llama-8b:Q8_0", "qwen-7b:Q4_K_M", "qwen-7b:Q8_0"]

    @pytest.mark.parametrize(
        "left_over", ["Q8_0.gguf.partial", "Q8_0.json", "Q8_0.lock", "q8_0.gguf", ".gguf", "Q8_0.gguf/x"]
    )
    def test_leftovers_are_not_models(self, store: Store, left_over: str) -> None:
        path = store.root / "models" / "tiny" / left_over
        path.parent.mkdir(parents=True)
        path.write_bytes(b"GGUF")
        assert store.models() == []

    def test_have_their_manifest(self, store: Store) -> None:
        put(store, "qwen-7b", "Q4_K_M")
        store.manifest_path("qwen-7b", "Q4_K_M").write_text(MANIFEST.to_json(), encoding="utf-8")
        assert [model.manifest for model in store.models()] == [MANIFEST]

    @pytest.mark.parametrize("damaged", [b"", b"{}", b"\xff", b"[" * 100_000])
    def test_a_damaged_manifest_counts_as_none(self, store: Store, damaged: bytes) -> None:
        put(store, "qwen-7b", "Q4_K_M")
        store.manifest_path("qwen-7b", "Q4_K_M").write_bytes(damaged)
        assert [model.manifest for model in store.models()] == [None]


class TestFind:
    """A reference is NAME, NAME:QUANT or a path."""

    def test_name_and_quant(self, store: Store) -> None:
        path = put(store, "qwen-7b", "Q8_0")
        assert store.find("qwen-7b:Q8_0").path == path

    def test_the_quant_may_be_lower_case(self, store: Store) -> None:
        path = put(store, "qwen-7b", "Q4_K_M")
        assert store.find("qwen-7b:q4_k_m").path == path

    def test_a_name_alone_means_the_catalogues_default(self, store: Store) -> None:
        default = put(store, "qwen-7b", "Q4_K_M", age=100)
        put(store, "qwen-7b", "Q8_0")
        assert store.find("qwen-7b").path == default

    def test_else_the_newest_of_that_name(self, store: Store) -> None:
        put(store, "qwen-7b", "F16", age=100)
        newest = put(store, "qwen-7b", "Q8_0")
        assert store.find("qwen-7b").path == newest

    def test_a_name_outside_the_catalogue(self, store: Store) -> None:
        path = put(store, "my-finetune", "Q8_0")
        assert store.find("my-finetune").path == path

    def test_a_path(self, store: Store, tmp_path: Path) -> None:
        (tmp_path / "some.gguf").write_bytes(b"GGUF")
        found = store.find(str(tmp_path / "some.gguf"))
        assert (found.name, found.quant, found.size, found.manifest) == ("some", None, 4, None)
        assert found.reference == str(tmp_path / "some.gguf")

    def test_a_file_name_without_a_folder_is_a_path(
        self, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "some.gguf").write_bytes(b"GGUF")
        monkeypatch.chdir(tmp_path)
        assert store.find("some.gguf").path == Path("some.gguf")

    @pytest.mark.parametrize(
        ("reference", "said"),
        [
            ("qwen-7b", "qwen-7b:Q4_K_M is not on this machine; get it with: r1 pull qwen-7b:Q4_K_M"),
            ("qwen-7b:q8_0", "qwen-7b:Q8_0 is not on this machine; get it with: r1 pull qwen-7b:Q8_0"),
            ("tiny", "tiny:Q8_0 is not on this machine; get it with: r1 quantize tiny -t Q8_0"),
            ("qwen7b", "no model is called 'qwen7b'; did you mean qwen-7b"),
            ("gpt", "no model is called 'gpt'; r1 knows qwen-1.5b, qwen-7b"),
            ("", "no model is called ''; r1 knows"),
            ("./none.gguf", "none.gguf: No such file"),
            ("./", ": not a file"),
        ],
    )
    def test_the_error_names_the_command(self, store: Store, reference: str, said: str) -> None:
        with pytest.raises(ModelNotFound) as caught:
            store.find(reference)
        assert said in str(caught.value)

    def test_the_error_names_other_quants(self, store: Store) -> None:
        put(store, "qwen-7b", "Q4_K_M")
        with pytest.raises(ModelNotFound, match=r"Q8_0 is not on this machine \(but qwen-7b:Q4_K_M is\)"):
            store.find("qwen-7b:Q8_0")

    @pytest.mark.parametrize("reference", ["..:Q8_0", "qwen-7b:..", "Qwen:Q8_0", "a b:Q8_0", ":Q8_0", "qwen-7b:Q8 0"])
    def test_names_cannot_leave_the_store(self, store: Store, reference: str) -> None:
        with pytest.raises(UsageError, match=r"bad (model name|quant type)"):
            store.find(reference)


class TestNewest:
    """The model stored last is the default, except the built-in one."""

    def test_is_none_with_only_the_built_in_one(self, store: Store) -> None:
        put(store, "tiny", "Q8_0")
        assert store.newest() is None

    def test_is_the_one_stored_last(self, store: Store) -> None:
        put(store, "qwen-7b", "Q4_K_M", age=100)
        newest = put(store, "qwen-1.5b", "Q4_K_M", age=50)
        put(store, "tiny", "Q8_0")
        found = store.newest()
        assert found is not None
        assert found.path == newest

    @pytest.mark.parametrize("recorded", [True, False])
    def test_is_never_one_that_r1_cannot_run(self, store: Store, tmp_path: Path, recorded: bool) -> None:
        """By its manifest if that says so, else by its header."""
        usable = put(store, "mine", "Q8_0", age=100)
        shutil.copy(without_control_tokens(tmp_path), put(store, "other", "Q8_0"))
        if recorded:
            record(store, "other", missing_tokens=["<think>"])
            store.path("other", "Q8_0").write_bytes(b"not read")
        newest = store.newest()
        assert newest is not None
        assert newest.path == usable

    def test_is_none_if_r1_can_run_none_of_them(self, store: Store, tmp_path: Path) -> None:
        shutil.copy(without_control_tokens(tmp_path), put(store, "other", "Q8_0"))
        assert store.newest() is None

    def test_a_damaged_model_stays_the_default(self, store: Store) -> None:
        """The next command says that it is damaged; another model's answers would hide it."""
        put(store, "older", "Q8_0", age=100)
        damaged = put(store, "newer", "Q8_0")
        newest = store.newest()
        assert newest is not None
        assert newest.path == damaged


def without_control_tokens(folder: Path) -> Path:
    """A GGUF with a vocabulary of two tokens."""
    keys = {"tokenizer.ggml.tokens": ["a", "b"]}
    return write_gguf(folder / "other.gguf", "qwen2", keys, {"output_norm.weight": np.ones(32, np.float32)})


def record(store: Store, name: str, **changes: Any) -> None:
    """A manifest for NAME:Q8_0."""
    manifest = replace(MANIFEST, **{"name": name, "quant": "Q8_0", "source": "someone/Other", **changes})
    store.manifest_path(name, "Q8_0").write_text(manifest.to_json(), encoding="utf-8")


class TestIsChecked:
    """Whether the record of a model makes reading its header superfluous."""

    @pytest.mark.parametrize(
        ("changes", "checked"),
        [
            ({"missing_tokens": []}, True),
            ({"missing_tokens": ["<think>"]}, False),
            ({}, False),
            ({"source": "deepseek-ai/DeepSeek-R1-Distill-Qwen-7B"}, True),
        ],
    )
    def test_by_its_manifest(self, store: Store, changes: dict[str, Any], checked: bool) -> None:
        put(store, "qwen-7b", "Q8_0")
        record(store, "qwen-7b", **changes)
        model = store.stored("qwen-7b", "Q8_0")
        assert model is not None
        assert store.is_checked(model) == checked

    def test_without_a_manifest(self, store: Store) -> None:
        put(store, "qwen-7b", "Q8_0")
        model = store.stored("qwen-7b", "Q8_0")
        assert model is not None
        assert not store.is_checked(model)


class TestAt:
    """A model by the path of its file, however that is given."""

    def test_in_the_store(self, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        path = put(store, "mine", "Q8_0")
        (tmp_path / "link.gguf").symlink_to(path)
        monkeypatch.chdir(path.parent)
        for given in (path, Path("Q8_0.gguf"), path.parent / ".." / "mine" / "Q8_0.gguf", tmp_path / "link.gguf"):
            found = store.at(given)
            assert found is not None
            assert found.reference == "mine:Q8_0"

    def test_elsewhere(self, store: Store, tmp_path: Path) -> None:
        (tmp_path / "Q8_0.gguf").write_bytes(b"GGUF")
        assert store.at(tmp_path / "Q8_0.gguf") is None
        assert store.at(tmp_path / "nowhere.gguf") is None


Holder = subprocess.Popen[str]
HOLDER = """
import sys
from collections.abc import Iterator
from pathlib import Path
from r1_quantize.store.store import Store
with Store(Path(sys.argv[1]), {}).lock("qwen-7b", "Q8_0"):
    print("held", flush=True)
    sys.stdin.read()
"""


class TestLock:
    """One process at a time writes a target."""

    @pytest.fixture
    def holder(self, store: Store) -> Iterator[Holder]:
        """Another process that holds the lock of qwen-7b:Q8_0 until its stdin is closed."""
        arguments = [sys.executable, "-c", HOLDER, str(store.root)]
        with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "held\n"
            yield process
            process.kill()

    def test_makes_the_folder(self, store: Store) -> None:
        with store.lock("qwen-7b", "Q8_0"):
            assert store.path("qwen-7b", "Q8_0").parent.is_dir()

    def test_names_the_process_that_holds_it(self, store: Store, holder: Holder) -> None:
        said = f"qwen-7b:Q8_0 is being made by another r1 \\(process {holder.pid}\\)"
        with pytest.raises(R1Error, match=said), store.lock("qwen-7b", "Q8_0"):
            pass

    def test_another_target_is_free(self, store: Store, holder: Holder) -> None:
        with store.lock("qwen-7b", "Q4_K_M"):
            pass

    def test_can_be_waited_for(self, store: Store, holder: Holder) -> None:
        assert holder.stdin is not None
        holder.stdin.close()
        with store.lock("qwen-7b", "Q8_0", wait=True):
            assert holder.wait(timeout=300) == 0

    def test_a_killed_holder_releases_it(self, store: Store, holder: Holder) -> None:
        holder.kill()
        holder.wait()
        with store.lock("qwen-7b", "Q8_0"):
            pass

    def test_a_home_that_cannot_be_created_is_named(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_bytes(b"")
        store = Store(tmp_path / "file", {})
        with pytest.raises(R1Error, match="set R1_HOME to another folder"), store.lock("qwen-7b", "Q8_0"):
            pass


REPO, COMMIT = "some-owner/some-model", "0" * 40


def checkpoint(store: Store, repo: str = REPO, commit: str = COMMIT, *, kept: bool = False, age: float = 0) -> Path:
    """A checkpoint's folder as a pull leaves it, `age` seconds old, with 3,000 bytes of a shard."""
    folder = store.checkpoint_folder(repo, commit)
    folder.mkdir(parents=True)
    (folder / "model.safetensors.partial").write_bytes(b"x" * 3000)
    (folder / RECORD).write_text("{}")
    if kept:
        (folder / KEPT).touch()
    os.utime(folder, (1_000_000 - age, 1_000_000 - age))
    return folder


def unfinished_model(store: Store, name: str, quant: str) -> list[Path]:
    """An unfinished model of 5,000 bytes and its journal."""
    path = store.path(name, quant)
    path.parent.mkdir(parents=True, exist_ok=True)
    paths = [path.with_name(f"{path.name}.partial"), path.with_name(f"{path.name}.partial.journal")]
    paths[0].write_bytes(b"x" * 5000)
    paths[1].write_bytes(b"{}")
    return paths


class TestCheckpointFolders:
    """Each commit of a hub repository has its own folder."""

    def test_is_one_for_each_repository_and_commit(self, store: Store) -> None:
        places = {
            store.checkpoint_folder(repo, commit) for repo in ("a/b", "a/c", "b/a") for commit in ("0" * 40, "1" * 40)
        }
        assert len(places) == 6
        assert all(place.is_relative_to(store.root) for place in places)
        assert store.models() == []

    def test_the_most_recently_changed_comes_first(self, store: Store) -> None:
        older = checkpoint(store, commit="a" * 40, age=100)
        newest = checkpoint(store, commit="b" * 40)
        oldest = checkpoint(store, commit="0" * 40, age=200)
        checkpoint(store, "some-owner/another")
        assert store.checkpoint_folders(REPO) == [newest, older, oldest]

    def test_a_folder_without_a_record_does_not_count(self, store: Store) -> None:
        store.checkpoint_folder(REPO, COMMIT).mkdir(parents=True)
        assert store.checkpoint_folders(REPO) == []
        assert store.checkpoints() == []

    def test_the_kept_one(self, store: Store) -> None:
        assert store.kept_checkpoint(REPO) is None
        checkpoint(store, commit="a" * 40)
        assert store.kept_checkpoint(REPO) is None
        kept = checkpoint(store, commit="b" * 40, kept=True, age=100)
        assert store.kept_checkpoint(REPO) == kept


class TestRemovables:
    """Unfinished models and files of checkpoints take space too."""

    def test_are_none_in_a_home_that_does_not_exist(self, store: Store) -> None:
        assert (store.unfinished(), store.checkpoints()) == ([], [])
        assert not store.root.exists()

    def test_unfinished_models(self, store: Store) -> None:
        paths = unfinished_model(store, "qwen-7b", "Q8_0")
        put(store, "qwen-7b", "Q4_K_M")
        (found,) = store.unfinished()
        assert (found.reference, found.is_complete, set(found.paths)) == ("qwen-7b:Q8_0", False, set(paths))
        assert found.size == sum(map(allocated_bytes, paths)) > 0

    def test_checkpoints(self, store: Store) -> None:
        checkpoint(store, "a/b", commit="a" * 40)
        checkpoint(store, "a/b", commit="b" * 40, kept=True)
        checkpoint(store, "c/d.e_f-g")
        first, second = store.checkpoints()
        assert (first.reference, first.is_complete) == ("a/b", True)
        assert (second.reference, second.is_complete) == ("c/d.e_f-g", False)
        assert first.size > second.size > 0


class TestBeingRepaired:
    """A model with a manifest and an unfinished file is an interrupted repair."""

    def manifest(self, store: Store, name: str, quant: str) -> None:
        store.manifest_path(name, quant).write_text(MANIFEST.to_json(), encoding="utf-8")

    @pytest.mark.parametrize("reference", ["qwen-7b", "qwen-7b:Q8_0", "qwen-7b:q8_0"])
    def test_is_found_by_its_name(self, store: Store, reference: str) -> None:
        unfinished_model(store, "qwen-7b", "Q4_K_M")
        unfinished_model(store, "qwen-7b", "Q8_0")
        self.manifest(store, "qwen-7b", "Q8_0")
        found = store.interrupted_repair(reference)
        assert found is not None
        path = store.path("qwen-7b", "Q8_0")
        assert (found.reference, found.path, found.manifest) == ("qwen-7b:Q8_0", path, MANIFEST)

    def test_is_not_a_finished_or_a_new_model(self, store: Store) -> None:
        unfinished_model(store, "qwen-7b", "Q4_K_M")
        unfinished_model(store, "qwen-7b", "Q8_0")
        put(store, "qwen-7b", "Q8_0")
        self.manifest(store, "qwen-7b", "Q8_0")
        assert store.interrupted_repair("qwen-7b") is None
        assert store.interrupted_repair("qwen-7b:Q5_K_M") is None

    @pytest.mark.parametrize("reference", ["", "..", "../models/qwen-7b", "*", "./a.gguf", "/", "qwen-7b:*", ":Q8_0"])
    def test_is_not_found_by_other_names(self, store: Store, reference: str) -> None:
        unfinished_model(store, "qwen-7b", "Q8_0")
        self.manifest(store, "qwen-7b", "Q8_0")
        assert store.interrupted_repair(reference) is None


class TestRemovable:
    """A reference names one model or checkpoint in the store."""

    def test_a_model_with_all_its_files(self, store: Store) -> None:
        path, left = put(store, "qwen-7b", "Q4_K_M"), unfinished_model(store, "qwen-7b", "Q4_K_M")
        store.manifest_path("qwen-7b", "Q4_K_M").write_text(MANIFEST.to_json(), encoding="utf-8")
        put(store, "qwen-7b", "Q8_0")
        found = store.removable("qwen-7b:q4_k_m")
        assert (found.reference, found.is_complete) == ("qwen-7b:Q4_K_M", True)
        assert found.paths[0] == path
        assert set(found.paths) == {path, path.with_suffix(".json"), *left}

    def test_a_name_with_one_quant(self, store: Store) -> None:
        put(store, "qwen-7b", "Q8_0")
        assert store.removable("qwen-7b").reference == "qwen-7b:Q8_0"
        left = unfinished_model(store, "llama-8b", "Q4_K_M")
        found = store.removable("llama-8b")
        assert (found.reference, found.is_complete, set(found.paths)) == ("llama-8b:Q4_K_M", False, set(left))

    def test_a_name_with_several_quants_is_refused(self, store: Store) -> None:
        put(store, "qwen-7b", "Q8_0")
        unfinished_model(store, "qwen-7b", "Q4_K_M")
        with pytest.raises(UsageError, match=r"choose one of qwen-7b:Q4_K_M, qwen-7b:Q8_0"):
            store.removable("qwen-7b")

    def test_a_longer_name_is_another_model(self, store: Store) -> None:
        put(store, "qwen-7b", "Q8_0")
        unfinished_model(store, "qwen-7b-math", "Q8_0")
        assert store.removable("qwen-7b").reference == "qwen-7b:Q8_0"

    @pytest.mark.parametrize("reference", [REPO, f"hf:{REPO}"])
    def test_a_checkpoint(self, store: Store, reference: str) -> None:
        folder = checkpoint(store, kept=True)
        found = store.removable(reference)
        assert (found.reference, found.is_complete) == (REPO, True)
        assert found.paths == (folder,)

    @pytest.mark.parametrize(
        "reference", ["qwen-7b", "qwen-7b:Q4_K_M", "", ":", ":Q8_0", "..", "..:Q8_0", "*", "qwen-7b:*"]
    )
    def test_a_model_that_is_not_stored(self, store: Store, reference: str) -> None:
        put(store, "llama-8b", "Q8_0")
        with pytest.raises(ModelNotFound, match="is not on this machine; see r1 list"):
            store.removable(reference)

    @pytest.mark.parametrize(
        "reference", ["./a.gguf", "a.gguf", "../../x", "a/b", "some-owner/..", "hf:a/b", "~/a.gguf"]
    )
    def test_a_missing_path(self, store: Store, reference: str) -> None:
        checkpoint(store)
        with pytest.raises(ModelNotFound, match="is not on this machine; see r1 list"):
            store.removable(reference)

    @pytest.mark.parametrize("reference", ["/", "/etc/passwd"])
    def test_a_file_outside_the_store(self, store: Store, reference: str) -> None:
        checkpoint(store)
        with pytest.raises(UsageError, match="is not in the store"):
            store.removable(reference)


REMOVER = """
import sys
from pathlib import Path
from r1_quantize.store.store import Store
store = Store(Path(sys.argv[1]), {})
with store.lock_checkpoint(sys.argv[2]):
    print("held", flush=True)
    sys.stdin.read()
"""


class TestRemove:
    """Removes the item and nothing else."""

    def test_a_model(self, store: Store) -> None:
        put(store, "qwen-7b", "Q4_K_M")
        unfinished_model(store, "qwen-7b", "Q4_K_M")
        other = put(store, "qwen-7b", "Q8_0")
        store.remove(store.removable("qwen-7b:Q4_K_M"))
        assert [model.path for model in store.models()] == [other]
        assert store.unfinished() == []
        assert not [*other.parent.glob("Q4_K_M.g*")]

    @pytest.mark.parametrize(("reason", "kind"), [(errno.EACCES, UsageError), (errno.EIO, R1Error)])
    def test_a_file_that_cannot_be_removed(
        self, store: Store, reason: int, kind: type[R1Error], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = put(store, "qwen-7b", "Q4_K_M")

        def unlink(self: Path, **_: object) -> None:
            raise OSError(reason, os.strerror(reason), str(self))

        monkeypatch.setattr(Path, "unlink", unlink)
        with pytest.raises(R1Error, match=f"cannot remove .*: {os.strerror(reason)}; check the permissions") as caught:
            store.remove(store.removable("qwen-7b:Q4_K_M"))
        assert (type(caught.value), path.exists()) == (kind, True)

    def test_a_checkpoint_at_every_commit(self, store: Store) -> None:
        checkpoint(store, commit="a" * 40, kept=True)
        checkpoint(store, commit="b" * 40)
        other = checkpoint(store, "some-owner/another")
        store.remove(store.removable(REPO))
        assert [item.reference for item in store.checkpoints()] == ["some-owner/another"]
        assert other.is_dir()
        assert store.checkpoint_folders(REPO) == []
        assert [*store.root.rglob("*.partial")] == [other / "model.safetensors.partial"]

    def test_something_already_gone_is_no_error(self, store: Store) -> None:
        put(store, "qwen-7b", "Q4_K_M")
        checkpoint(store)
        found = [store.removable("qwen-7b"), store.removable(REPO)]
        for _ in range(2):
            for item in found:
                store.remove(item)

    def test_not_while_another_process_holds_the_lock(self, store: Store) -> None:
        folder, paths = checkpoint(store), unfinished_model(store, "qwen-7b", "Q8_0")
        with held(HOLDER, store), pytest.raises(Busy, match="qwen-7b:Q8_0 is being made by another r1"):
            store.remove(store.removable("qwen-7b:Q8_0"))
        with held(REMOVER, store, REPO), pytest.raises(Busy, match=f"{REPO} is being pulled by another r1"):
            store.remove(store.removable(REPO))
        assert all(path.exists() for path in (folder, *paths))

    def test_a_waiting_process_gets_the_lock_alone(self, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
        checkpoint(store)
        refused, ready, done = threading.Event(), threading.Event(), threading.Event()
        try_lock = files.try_lock

        def noticed(file: BinaryIO) -> bool:
            """Lock the open file; set `refused` when another process holds the lock."""
            if try_lock(file):
                return True
            refused.set()
            return False

        def wait() -> None:
            with store.lock_checkpoint(REPO, wait=True):
                ready.set()
                done.wait(300)

        monkeypatch.setattr(files, "try_lock", noticed)

        waiting = threading.Thread(target=wait)
        with store.lock_checkpoint(REPO):
            waiting.start()
            assert refused.wait(300)
            for path in store.removable(REPO).paths:
                shutil.rmtree(path)  # like `remove`, which holds the lock
        assert ready.wait(300)
        with pytest.raises(Busy), store.lock_checkpoint(REPO):
            pass
        done.set()
        waiting.join()

    @pytest.mark.skipif(os.name == "nt", reason="links need rights there")
    def test_a_link_is_removed_but_not_its_target(self, store: Store, tmp_path: Path) -> None:
        (tmp_path / "mine.gguf").write_bytes(b"GGUF")
        path = store.path("qwen-7b", "Q8_0")
        path.parent.mkdir(parents=True)
        path.symlink_to(tmp_path / "mine.gguf")
        store.remove(store.removable("qwen-7b"))
        assert not path.is_symlink()
        assert (tmp_path / "mine.gguf").read_bytes() == b"GGUF"

    @pytest.mark.skipif(os.name == "nt", reason="links need rights there")
    def test_a_link_in_a_checkpoint_is_not_followed(self, store: Store, tmp_path: Path) -> None:
        (tmp_path / "mine").mkdir()
        (tmp_path / "mine" / "file").write_bytes(b"mine")
        (checkpoint(store) / "elsewhere").symlink_to(tmp_path / "mine")
        store.remove(store.removable(REPO))
        assert (tmp_path / "mine" / "file").read_bytes() == b"mine"


@contextmanager
def held(program: str, store: Store, *arguments: str) -> Iterator[None]:
    """Another process that holds a lock of this store."""
    command = [sys.executable, "-c", program, str(store.root), *arguments]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield
        process.kill()
