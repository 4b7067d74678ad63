"""`r1_quantize.store`: what is on this machine, and who may write it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from r1_quantize import catalog
from r1_quantize.errors import ModelNotFound, R1Error, UsageError
from r1_quantize.store import Store, home
from tests.quantize.test_manifest import WHOLE


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

    def test_a_tilde_is_the_persons_home(self) -> None:
        assert home({"R1_HOME": "~/models"}) == Path.home() / "models"

    @pytest.mark.parametrize("environ", [{}, {"R1_HOME": ""}])
    def test_else_the_platforms_folder(self, environ: dict[str, str]) -> None:
        assert home(environ).name == "r1"


class TestModels:
    """Whole models are listed; nothing else is."""

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
        store.manifest_path("qwen-7b", "Q4_K_M").write_text(WHOLE.to_json(), encoding="utf-8")
        assert [model.manifest for model in store.models()] == [WHOLE]

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

    def test_the_quant_may_be_in_small_letters(self, store: Store) -> None:
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

    def test_a_name_the_catalogue_does_not_have(self, store: Store) -> None:
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
            ("qwen-7b", "qwen-7b:Q4_K_M is not here; get it with: r1 pull qwen-7b:Q4_K_M"),
            ("qwen-7b:q8_0", "qwen-7b:Q8_0 is not here; get it with: r1 pull qwen-7b:Q8_0"),
            ("tiny", "tiny:Q8_0 is not here; get it with: r1 quantize tiny -t Q8_0"),
            ("qwen7b", "no model is called 'qwen7b'; did you mean qwen-7b"),
            ("gpt", "no model is called 'gpt'; known are qwen-1.5b, qwen-7b"),
            ("", "no model is called ''; known are"),
            ("./none.gguf", "none.gguf: No such file"),
            ("./", ": not a file"),
        ],
    )
    def test_says_what_gets_it(self, store: Store, reference: str, said: str) -> None:
        with pytest.raises(ModelNotFound) as caught:
            store.find(reference)
        assert said in str(caught.value)

    def test_says_what_is_here_instead(self, store: Store) -> None:
        put(store, "qwen-7b", "Q4_K_M")
        with pytest.raises(ModelNotFound, match=r"Q8_0 is not here \(but qwen-7b:Q4_K_M is\)"):
            store.find("qwen-7b:Q8_0")

    @pytest.mark.parametrize("reference", ["..:Q8_0", "qwen-7b:..", "Qwen:Q8_0", "a b:Q8_0", ":Q8_0", "qwen-7b:Q8 0"])
    def test_names_cannot_leave_the_store(self, store: Store, reference: str) -> None:
        with pytest.raises(UsageError, match="cannot be a"):
            store.find(reference)


class TestNewest:
    """The model stored last is the default; the built-in one is not counted."""

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


Holder = subprocess.Popen[str]
HOLDER = """
import sys
from collections.abc import Iterator
from pathlib import Path
from r1_quantize.store import Store
with Store(Path(sys.argv[1]), {}).lock("qwen-7b", "Q8_0"):
    print("held", flush=True)
    sys.stdin.read()
"""


class TestLock:
    """One process writes a target at a time."""

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
            assert holder.wait(timeout=5) == 0

    def test_a_killed_holder_lets_go(self, store: Store, holder: Holder) -> None:
        holder.kill()
        holder.wait()
        with store.lock("qwen-7b", "Q8_0"):
            pass

    def test_a_home_that_cannot_be_made_is_named(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_bytes(b"")
        store = Store(tmp_path / "file", {})
        with pytest.raises(R1Error, match="set R1_HOME to another folder"), store.lock("qwen-7b", "Q8_0"):
            pass
