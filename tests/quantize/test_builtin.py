"""`r1_quantize.builtin`: the built-in model is quantized when it is first used."""

from __future__ import annotations

import dataclasses
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from r1_quantize import catalog
from r1_quantize.builtin import ensure_tiny, refuse_foreign
from r1_quantize.errors import UsageError
from r1_quantize.gguf import reader
from r1_quantize.store.model import StoredModel
from r1_quantize.store.store import Store
from r1_quantize.verify import verify


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """An empty store."""
    return Store(tmp_path / "home", catalog.load())


class TestEnsureTiny:
    """It is made once, and again only when the checkpoint changes or the file is missing or damaged."""

    def made_again(self, store: Store, before: StoredModel) -> bool:
        os.utime(before.path, (1, 1))
        return ensure_tiny(store).modified != 1

    def test_makes_a_valid_model(self, store: Store) -> None:
        made = ensure_tiny(store)
        assert made.reference == "tiny:Q8_0"
        assert all(check.ok for check in verify(made.path))
        assert reader.read(made.path).metadata["general.name"] == catalog.load()["tiny"].title

    def test_does_not_make_it_twice(self, store: Store) -> None:
        assert not self.made_again(store, ensure_tiny(store))

    def test_makes_it_again_when_the_checkpoint_changes(self, store: Store) -> None:
        made = ensure_tiny(store)
        manifest = store.manifest_path("tiny", "Q8_0")
        assert made.manifest is not None
        digest = made.manifest.source_sha256["model.safetensors"]
        other = manifest.read_text().replace(digest, "0" * 64)
        manifest.write_text(other)
        assert self.made_again(store, made)
        assert manifest.read_text() != other

    @pytest.mark.parametrize("content", [None, b"", b"{}"])
    def test_makes_it_again_when_the_manifest_is_missing_or_damaged(self, store: Store, content: bytes | None) -> None:
        made = ensure_tiny(store)
        manifest = store.manifest_path("tiny", "Q8_0")
        manifest.unlink()
        if content is not None:
            manifest.write_bytes(content)
        assert self.made_again(store, made)

    def test_makes_it_again_when_the_file_is_cut_short(self, store: Store) -> None:
        made = ensure_tiny(store)
        made.path.write_bytes(made.path.read_bytes()[:-1])
        assert self.made_again(store, made)

    def test_another_model_in_its_place_is_never_replaced(self, store: Store, gguf: Path) -> None:
        """A person may have put it there, or made it with an older version."""
        path = store.path("tiny", "Q8_0")
        path.parent.mkdir(parents=True)
        shutil.copy(gguf, path)
        said = r"tiny/Q8_0\.gguf is not the built-in model; move it .* to keep it, or remove it with: r1 rm tiny:Q8_0"
        for _ in range(2):
            with pytest.raises(UsageError, match=said):
                ensure_tiny(store)
        assert path.read_bytes() == gguf.read_bytes()

    def test_a_folder_in_its_place_is_refused_before_the_work(self, store: Store) -> None:
        store.path("tiny", "Q8_0").mkdir(parents=True)
        with pytest.raises(UsageError, match=r"tiny/Q8_0\.gguf is a folder, so no model can be written there"):
            ensure_tiny(store)
        assert not list(store.path("tiny", "Q8_0").parent.glob("*.partial*"))

    def test_another_title_in_models_toml_is_no_obstacle(self, store: Store) -> None:
        """Neither to the model that was made before, nor to the next version's checkpoint, nor when it is gone."""
        made = ensure_tiny(store)
        tiny = dataclasses.replace(store.catalogue["tiny"], title="My small one")
        renamed = Store(store.root, {**store.catalogue, "tiny": tiny})
        refuse_foreign(renamed, tiny, "Q8_0")
        for _ in range(2):  # the second one replaces a file with the title of models.toml
            made.path.with_suffix(".json").unlink()
            assert self.made_again(renamed, made)
        refuse_foreign(store, store.catalogue["tiny"], "Q8_0")

    def test_several_processes_at_once_make_it_once(self, store: Store) -> None:
        code = (
            "import sys; from pathlib import Path; from r1_quantize import catalog\n"
            "from r1_quantize.builtin import ensure_tiny; from r1_quantize.store.store import Store\n"
            "print(ensure_tiny(Store(Path(sys.argv[1]), catalog.load())).modified)"
        )
        arguments = [sys.executable, "-c", code, str(store.root)]
        processes = [subprocess.Popen(arguments, stdout=subprocess.PIPE) for _ in range(4)]
        said = {process.communicate()[0] for process in processes}
        assert [process.returncode for process in processes] == [0] * 4
        assert len(said) == 1

    def test_needs_nothing_heavy_once_it_is_made(self, store: Store) -> None:
        code = (
            "import sys; from pathlib import Path; from r1_quantize import catalog\n"
            "from r1_quantize.builtin import ensure_tiny; from r1_quantize.store.store import Store\n"
            "store = Store(Path(sys.argv[1]), catalog.load())\n"
            "ensure_tiny(store)\n"
            "heavy = ('numpy', 'gguf', 'llama_cpp', 'huggingface_hub')\n"
            "print([name for name in heavy if name in sys.modules])\n"
        )

        def heavy_modules() -> str:
            command = [sys.executable, "-c", code, str(store.root)]
            return subprocess.run(command, capture_output=True, check=True, text=True).stdout

        assert heavy_modules() == "['numpy', 'gguf']\n"  # which the quantizer needs
        assert heavy_modules() == "[]\n"
