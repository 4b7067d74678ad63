"""What r1 makes is what llama.cpp's own tools make, byte for byte."""

from __future__ import annotations

import ctypes
import json
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

import r1_quantize
from r1_quantize.binding import binding
from r1_quantize.recipe import RECIPES
from tests.fakes import checkpoints
from tests.fakes.checkpoints import Shape
from tests.quantize.canonical import digest
from tests.quantize.conftest import Make

TINY = Path(r1_quantize.__path__[0]) / "tiny"
GOLDEN = json.loads((Path(__file__).parents[1] / "data" / "golden.json").read_text())

SHAPES = {
    "two layers": Shape(),
    "the layers of the 7B": Shape(layers=28, inner=256),
    "the seven heads a group of the 7B": Shape(hidden=448 * 4, heads=28, kv_heads=4, inner=256, layers=1),
    "eleven layers": Shape(layers=11, inner=256),
    "one layer, as many groups as heads": Shape(layers=1, kv_heads=4),
    "tied embeddings": Shape(tied=True),
    "rows of 288: no whole blocks of 256": Shape(hidden=288, heads=4, inner=544),
    "rows of 48: no whole blocks of 32 either": Shape(hidden=48, heads=4, inner=80),
    "tied, rows of 96": Shape(hidden=96, heads=4, inner=160, tied=True),
}


class TestAgainstTheConverter:
    """Plain floats are as convert_hf_to_gguf.py writes them, but for the general.* naming keys."""

    @pytest.mark.parametrize("quant", ["BF16", "F16", "F32"])
    def test_a_made_up_checkpoint(self, fake: Path, make: Make, quant: str) -> None:
        assert digest(make(fake, quant)) == GOLDEN["fake"][quant]

    @pytest.mark.parametrize("quant", ["BF16", "F16", "F32"])
    def test_tiny(self, make: Make, quant: str) -> None:
        found = {path.name: sha256(path.read_bytes()).hexdigest() for path in TINY.iterdir()}
        changed = [file for file, digest in GOLDEN["tiny_files"].items() if found.get(file) != digest]
        assert not changed, "tiny was changed; make its digests again: see scripts/golden/README.md"
        assert digest(make(TINY, quant)) == GOLDEN["tiny"][quant]


class TestAgainstTheQuantizer:
    """Quantized files are as llama_model_quantize makes them of the BF16 file."""

    @pytest.mark.parametrize("quant", ["Q8_0", "Q4_K_M"])
    @pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES.keys())
    def test_same_bytes(self, tmp_path: Path, make: Make, shape: Shape, quant: str) -> None:
        folder = checkpoints.write(tmp_path / "checkpoint", shape)
        ours = make(folder, quant)
        assert ours.read_bytes() == llama_quantize(make(folder, "BF16"), quant).read_bytes()

    @pytest.mark.parametrize("quant", ["Q8_0", "Q4_K_M"])
    def test_tiny(self, make: Make, quant: str) -> None:
        assert make(TINY, quant).read_bytes() == llama_quantize(make(TINY, "BF16"), quant).read_bytes()

    @pytest.mark.parametrize("dtype", ["F32", "F16"])
    def test_checkpoints_of_other_floats(self, tmp_path: Path, make: Make, dtype: str) -> None:
        folder = checkpoints.write(tmp_path / "checkpoint", Shape(), dtype=dtype)
        ours = make(folder, "Q4_K_M")
        assert ours.read_bytes() == llama_quantize(make(folder, "F32"), "Q4_K_M").read_bytes()

    def test_shards_make_no_difference(self, tmp_path: Path, make: Make) -> None:
        whole = checkpoints.write(tmp_path / "whole" / "same", Shape(layers=3))
        sharded = checkpoints.write(tmp_path / "sharded" / "same", Shape(layers=3), shards=3)
        assert make(whole, "Q8_0").read_bytes() == make(sharded, "Q8_0").read_bytes()

    @pytest.mark.parametrize("threads", [1, 3, 8])
    def test_the_number_of_threads_does_not_show(self, fake: Path, gguf: Path, make: Make, threads: int) -> None:
        assert make(fake, "Q8_0", threads=threads).read_bytes() == gguf.read_bytes()


def llama_quantize(source: Path, quant: str) -> Path:
    """llama.cpp's own quantizer."""
    library: Any = binding()
    params = library.llama_model_quantize_default_params()
    params.ftype, params.nthread = RECIPES[quant].number, 2
    target = source.with_suffix(f".{quant}.reference")
    assert library.llama_model_quantize(bytes(source), bytes(target), ctypes.byref(params)) == 0
    return target
