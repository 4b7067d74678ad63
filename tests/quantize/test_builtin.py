"""`r1_quantize.builtin`: the model that needs no network, made when it is first wanted."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from r1_quantize import catalog
from r1_quantize.gguf import reader
from r1_quantize.builtin import ensure_tiny
from r1_quantize.store.store import Store, StoredModel
from r1_quantize.verify import verify


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """An empty store."""
    return Store(tmp_path / "home", catalog.load())


class TestEnsureTiny:
    """It is made once, and again only when the package brings another checkpoint or the file is gone."""

    def made_again(self, store: Store, before: StoredModel) -> bool:
        os.utime(before.path, (1, 1))
        return ensure_tiny(store).modified != 1

    def test_makes_a_whole_model(self, store: Store) -> None:
        made = ensure_tiny(store)
        assert made.reference == "tiny:Q8_0"
        assert all(check.ok for check in verify(made.path))
        assert reader.read(made.path).metadata["general.name"] == catalog.load()["tiny"].title

    def test_is_quick_when_it_is_there(self, store: Store) -> None:
        assert not self.made_again(store, ensure_tiny(store))

    def test_makes_it_again_when_the_checkpoint_is_another(self, store: Store) -> None:
        made = ensure_tiny(store)
        manifest = store.manifest_path("tiny", "Q8_0")
        assert made.manifest is not None
        digest = made.manifest.source_sha256["model.safetensors"]
        other = manifest.read_text().replace(digest, "0" * 64)
        manifest.write_text(other)
        assert self.made_again(store, made)
        assert manifest.read_text() != other

    @pytest.mark.parametrize("content", [None, b"", b"{}"])
    def test_makes_it_again_when_the_manifest_is_gone_or_damaged(self, store: Store, content: bytes | None) -> None:
        made = ensure_tiny(store)
        manifest = store.manifest_path("tiny", "Q8_0")
        manifest.unlink()
        if content is not None:
            manifest.write_bytes(content)
        assert self.made_again(store, made)

    def test_makes_it_again_when_it_was_cut_short(self, store: Store) -> None:
        made = ensure_tiny(store)
        made.path.write_bytes(made.path.read_bytes()[:-1])
        assert self.made_again(store, made)

    def test_many_processes_at_once_make_it_once(self, store: Store) -> None:
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

    def test_needs_nothing_heavy(self, store: Store) -> None:
        code = (
            "import sys; from pathlib import Path; from r1_quantize import catalog\n"
            "from r1_quantize.builtin import ensure_tiny; from r1_quantize.store.store import Store\n"
            "store = Store(Path(sys.argv[1]), catalog.load())\n"
            "ensure_tiny(store)\n"
            "heavy = ('numpy', 'gguf', 'llama_cpp', 'huggingface_hub')\n"
            "print([name for name in heavy if name in sys.modules])\n"
        )
        done = subprocess.run([sys.executable, "-c", code, str(store.root)], capture_output=True, check=True, text=True)
        assert done.stdout == "[]\n"
