"""`r1_quantize.store.model`: a model at its place in the store, or anywhere by its path."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from r1_quantize.errors import ModelNotFound
from r1_quantize.store.model import StoredModel, manifest_beside, model_at, model_in_store
from tests.quantize.store.test_manifest import MANIFEST


def put(path: Path, content: bytes = b"1234") -> Path:
    """A file with its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


class TestModelInStore:
    """models/NAME/QUANT.gguf is a model when both names are valid and the file is a regular one."""

    def test_has_name_quant_and_size(self, tmp_path: Path) -> None:
        path = put(tmp_path / "qwen-7b" / "Q4_K_M.gguf")
        os.utime(path, (5, 7))
        assert model_in_store(path) == StoredModel(
            name="qwen-7b", quant="Q4_K_M", path=path, size=4, modified=7, manifest=None
        )

    @pytest.mark.parametrize("name", ["Qwen/Q8_0.gguf", "qwen/q8_0.gguf", "qwen/Q8-0.gguf", ".x/Q8_0.gguf"])
    def test_invalid_names_are_none(self, tmp_path: Path, name: str) -> None:
        assert model_in_store(put(tmp_path / name)) is None

    def test_a_missing_file_or_a_folder_is_none(self, tmp_path: Path) -> None:
        assert model_in_store(tmp_path / "qwen" / "Q8_0.gguf") is None
        (tmp_path / "qwen" / "Q4_0.gguf").mkdir(parents=True)
        assert model_in_store(tmp_path / "qwen" / "Q4_0.gguf") is None


class TestModelAt:
    """Any file can be used by its path, and has no quant."""

    def test_is_referred_to_by_its_path(self, tmp_path: Path) -> None:
        found = model_at(put(tmp_path / "My Model.gguf"))
        assert (found.name, found.quant, found.reference) == ("My Model", None, str(tmp_path / "My Model.gguf"))

    def test_a_missing_file_or_a_folder_is_not_found(self, tmp_path: Path) -> None:
        with pytest.raises(ModelNotFound, match=r"none\.gguf: No such file"):
            model_at(tmp_path / "none.gguf")
        with pytest.raises(ModelNotFound, match="not a file"):
            model_at(tmp_path)


class TestIsComplete:
    """A model is complete when its size is that of its manifest."""

    @pytest.mark.parametrize(("size", "complete"), [(4, True), (3, False), (5, False)])
    def test_by_the_manifest(self, tmp_path: Path, size: int, complete: bool) -> None:
        path = put(tmp_path / "qwen-7b" / "Q8_0.gguf")
        path.with_suffix(".json").write_text(replace(MANIFEST, size=size).to_json(), encoding="utf-8")
        assert model_at(path).is_complete is complete

    @pytest.mark.parametrize("manifest", [None, "{}", "no json"])
    def test_without_a_usable_manifest(self, tmp_path: Path, manifest: str | None) -> None:
        path = put(tmp_path / "qwen-7b" / "Q8_0.gguf")
        if manifest is not None:
            path.with_suffix(".json").write_text(manifest)
        assert manifest_beside(path) is None
        assert model_at(path).is_complete
