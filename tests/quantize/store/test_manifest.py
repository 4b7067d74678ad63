"""`r1_quantize.store.manifest`: the record beside a model, read and replaced safely."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from r1_quantize.errors import BadFile
from r1_quantize.store.manifest import Manifest

MANIFEST = Manifest(
    name="qwen-7b",
    quant="Q4_K_M",
    source="deepseek-ai/DeepSeek-R1-Distill-Qwen-7B",
    revision="916b56a44061fd5cd7d6a8fb632557ed4f724f60",
    source_sha256={"config.json": "0" * 64},
    sha256="f" * 64,
    size=4_683_073_184,
    recipe={"Q4_K": 169, "Q6_K": 29},
    tools={"r1-local": "0.1.0"},
    created="2026-11-23T20:53:33+00:00",
)


class TestManifest:
    """Reads back as written; anything else is refused."""

    @pytest.mark.parametrize(
        "manifest",
        [
            MANIFEST,
            replace(MANIFEST, revision=None, source="mein Modell"),
            replace(MANIFEST, imatrix_sha256="0123456789abcdef" * 4),
            replace(MANIFEST, tensor_types=[r"blk\.(0|1)\.ffn_down=Q6_K", "attn_v=Q8_0"]),
            replace(MANIFEST, missing_tokens=[]),
            replace(MANIFEST, missing_tokens=["<think>", "<｜User｜>"]),
            replace(MANIFEST, pretokenizer="qwen2"),
            replace(MANIFEST, tensor_crc32={"blk.0.attn_v.weight": 0, "output.weight": (1 << 32) - 1}),
        ],
    )
    def test_reads_back_as_written(self, tmp_path: Path, manifest: Manifest) -> None:
        (tmp_path / "Q4_K_M.json").write_text(manifest.to_json(), encoding="utf-8")
        assert Manifest.read(tmp_path / "Q4_K_M.json") == manifest

    def test_a_missing_file_is_none(self, tmp_path: Path) -> None:
        assert Manifest.read(tmp_path / "Q4_K_M.json") is None

    def test_has_the_overrides_even_when_empty(self) -> None:
        found = json.loads(MANIFEST.to_json())
        assert (found["imatrix_sha256"], found["tensor_types"]) == (None, [])

    @pytest.mark.parametrize(
        "lacking",
        [
            {"imatrix_sha256"},
            {"tensor_types"},
            {"tensor_crc32"},
            {"missing_tokens"},
            {"imatrix_sha256", "tensor_types", "tensor_crc32", "missing_tokens"},
        ],
    )
    def test_an_older_version_can_be_read(self, lacking: set[str]) -> None:
        found = json.loads(MANIFEST.to_json())
        assert Manifest.from_json(json.dumps({key: found[key] for key in found if key not in lacking})) == MANIFEST

    @pytest.mark.parametrize("key", ["name", "revision", "source_sha256", "sha256", "size", "recipe", "created"])
    def test_any_other_missing_key_is_refused(self, key: str) -> None:
        found = json.loads(MANIFEST.to_json())
        del found[key]
        with pytest.raises(BadFile, match="a manifest must have the keys"):
            Manifest.from_json(json.dumps(found))

    def test_an_unknown_key_is_refused(self) -> None:
        with pytest.raises(BadFile, match="a manifest must have the keys"):
            Manifest.from_json(json.dumps(json.loads(MANIFEST.to_json()) | {"signature": "x"}))

    @pytest.mark.parametrize(
        ("key", "value"),
        [
            ("size", "4683073184"),
            ("size", -1),
            ("size", True),
            ("sha256", "f" * 63),
            ("sha256", "F" * 64),
            ("sha256", None),
            ("source_sha256", []),
            ("source_sha256", {"config.json": 1}),
            ("recipe", {"Q4_K": "many"}),
            ("revision", 7),
            ("name", ["qwen-7b"]),
            ("imatrix_sha256", ""),
            ("imatrix_sha256", "F" * 64),
            ("imatrix_sha256", 7),
            ("imatrix_sha256", []),
            ("tensor_types", None),
            ("tensor_types", "attn_v=Q8_0"),
            ("tensor_types", {"attn_v": "Q8_0"}),
            ("tensor_types", ["attn_v=Q8_0", 7]),
            ("tensor_types", [None]),
            ("tensor_crc32", None),
            ("tensor_crc32", []),
            ("tensor_crc32", {"output.weight": -1}),
            ("tensor_crc32", {"output.weight": "0badf00d"}),
            ("tensor_crc32", {"output.weight": 1.5}),
            ("tensor_crc32", {"output.weight": True}),
        ],
    )
    def test_a_bad_value_is_named(self, key: str, value: Any) -> None:
        text = json.dumps(json.loads(MANIFEST.to_json()) | {key: value})
        with pytest.raises(BadFile, match=f"a bad {key}"):
            Manifest.from_json(text)

    @pytest.mark.parametrize("text", ["", "{", "[]", "{}", "null", "[" * 100_000, '{"name": "x"}'])
    def test_anything_else_is_refused(self, text: str) -> None:
        with pytest.raises(BadFile, match=r"the manifest is not JSON|a manifest must have the keys"):
            Manifest.from_json(text)

    def test_the_file_is_named(self, tmp_path: Path) -> None:
        (tmp_path / "Q8_0.json").write_bytes(b"\xff\xfe")
        with pytest.raises(BadFile, match=r"Q8_0\.json"):
            Manifest.read(tmp_path / "Q8_0.json")


class TestAnnounced:
    """A kill at any moment leaves the manifest of the model that has the final name."""

    @pytest.fixture
    def files(self, tmp_path: Path) -> tuple[Path, Path, Path]:
        """A model with its manifest, and the file about to replace it."""
        model, manifest, coming = tmp_path / "Q8_0.gguf", tmp_path / "Q8_0.json", tmp_path / "Q8_0.gguf.partial"
        model.write_bytes(b"old")
        os.utime(model, ns=(1, 1_000_000_000))
        manifest.write_text(replace(MANIFEST, created="then").to_json(), encoding="utf-8")
        coming.write_bytes(b"new")
        return model, manifest, coming

    def created(self, model: Path) -> str | None:
        found = Manifest.beside(model)
        return found and found.created

    def test_before_the_rename_the_old_one_counts(self, files: tuple[Path, Path, Path]) -> None:
        model, manifest, coming = files
        replace(MANIFEST, created="now").stage(manifest, coming)
        assert self.created(model) == "then"

    def test_after_the_rename_the_new_one_counts(self, files: tuple[Path, Path, Path]) -> None:
        model, manifest, coming = files
        commit = replace(MANIFEST, created="now").stage(manifest, coming)
        coming.replace(model)
        assert self.created(model) == "now"
        commit()
        assert self.created(model) == "now"
        assert {path.name for path in model.parent.iterdir()} == {"Q8_0.gguf", "Q8_0.json"}

    def test_the_first_manifest_of_a_model(self, files: tuple[Path, Path, Path]) -> None:
        model, manifest, coming = files
        model.unlink()
        manifest.unlink()
        replace(MANIFEST, created="now").stage(manifest, coming)
        assert Manifest.beside(model) is None
        coming.replace(model)
        assert self.created(model) == "now"

    def test_a_staged_one_that_was_never_used_is_replaced(self, files: tuple[Path, Path, Path]) -> None:
        model, manifest, coming = files
        replace(MANIFEST, created="never").stage(manifest, coming)
        os.utime(coming, ns=(1, 7_000_000_000))
        commit = replace(MANIFEST, created="now").stage(manifest, coming)
        coming.replace(model)
        commit()
        assert self.created(model) == "now"
