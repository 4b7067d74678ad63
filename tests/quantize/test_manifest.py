"""`r1_quantize.manifest`: the record beside a model."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from r1_quantize.errors import BadFile
from r1_quantize.manifest import Manifest

WHOLE = Manifest(
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
    """It comes back as it was written, and anything else is refused."""

    @pytest.mark.parametrize("manifest", [WHOLE, replace(WHOLE, revision=None, source="mein Modell")])
    def test_comes_back_as_it_was(self, tmp_path: Path, manifest: Manifest) -> None:
        (tmp_path / "Q4_K_M.json").write_text(manifest.to_json(), encoding="utf-8")
        assert Manifest.read(tmp_path / "Q4_K_M.json") == manifest

    def test_is_none_where_there_is_no_file(self, tmp_path: Path) -> None:
        assert Manifest.read(tmp_path / "Q4_K_M.json") is None

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
        ],
    )
    def test_an_impossible_value_is_named(self, key: str, value: Any) -> None:
        text = json.dumps(json.loads(WHOLE.to_json()) | {key: value})
        with pytest.raises(BadFile, match=f"an impossible {key}"):
            Manifest.from_json(text)

    @pytest.mark.parametrize("text", ["", "{", "[]", "{}", "null", "[" * 100_000, '{"name": "x"}'])
    def test_what_is_no_manifest_is_refused(self, text: str) -> None:
        with pytest.raises(BadFile, match="a manifest"):
            Manifest.from_json(text)

    def test_the_file_is_named(self, tmp_path: Path) -> None:
        (tmp_path / "Q8_0.json").write_bytes(b"\xff\xfe")
        with pytest.raises(BadFile, match=r"Q8_0\.json"):
            Manifest.read(tmp_path / "Q8_0.json")
