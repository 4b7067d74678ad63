"""`r1.fit.needs`: how much memory a model takes, against llama.cpp's own numbers."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest

from r1.engine.kv_types import CPU_ROWS, GPU_ROWS
from r1.fit.needs import needs
from r1.fit.recommendation import shape_of_checkpoint
from r1.fit.shape import Shape
from r1_quantize import catalog
from tests.fakes.headers import compute_buffer, write_header

GB = 1_000_000_000
SIX = ("qwen-1.5b", "qwen-7b", "qwen-14b", "qwen-32b", "llama-8b", "llama-70b")
KV_F16 = dict(zip(SIX, (28_672, 57_344, 196_608, 262_144, 131_072, 327_680), strict=True))
"""Bytes per token in an F16 cache, from the six config.json."""


EMPTY = Shape((), 0, 0, 0, 0, 0, 0, 0, 0, 4096)
"""A model of nothing: what it takes is the program."""


@cache
def shape(name: str = "qwen-7b") -> Shape:
    """A checkpoint of the catalogue in Q4_K_M."""
    found = shape_of_checkpoint(catalog.load()[name], "Q4_K_M")
    assert found is not None
    return found


class TestNeeds:
    """Bytes in main memory and on GPUs."""

    @pytest.mark.parametrize("name", SIX)
    def test_a_token_of_context_takes_what_the_configuration_implies(self, name: str) -> None:
        mask = 2 * CPU_ROWS.alone
        for kv_type, part in (("f16", 1.0), ("q8_0", 17 / 32), ("q4_0", 9 / 32)):
            grown = needs(shape(name), 8192, kv_type).main - needs(shape(name), 4096, kv_type).main
            assert grown == 4096 * (KV_F16[name] * part + mask)

    @pytest.mark.parametrize("name", SIX)
    @pytest.mark.parametrize("context", [4096, 32_768])
    def test_the_compute_buffer_is_as_large_as_llama_cpp_plans(self, name: str, context: int, tmp_path: Path) -> None:
        path = tmp_path / "header.gguf"
        write_header(path, name, "Q4_K_M")
        for rows, gpus, kv_type in ((CPU_ROWS, 0, "f16"), (GPU_ROWS, 1, "f16"), (CPU_ROWS, 0, "q8_0")):
            theirs = compute_buffer(path, context, kv_type, rows)
            of_a_layer = replace(shape(name), layers=(), input=0, output=0, vocabulary=0)
            empty = replace(of_a_layer, embedding=0, feed_forward=0)
            on_cpu = needs(of_a_layer, context, kv_type).main - needs(empty, 0, kv_type).main
            takes = needs(of_a_layer, context, kv_type, 1, 1).gpu if gpus else on_cpu
            # a quantized cache needs up to one outer width less
            spare = 4 * rows.alone * shape(name).embedding if kv_type == "q8_0" else 0.02 * 2**20
            assert -0.02 * 2**20 <= takes - theirs <= spare

    @pytest.mark.parametrize("sequences", [2, 16, 48, 64])
    @pytest.mark.parametrize("cells", [1024, 16_384])
    def test_more_sequences_take_what_llama_cpp_plans_and_their_samplers(
        self, cells: int, sequences: int, tmp_path: Path
    ) -> None:
        path = tmp_path / "header.gguf"
        write_header(path, "qwen-1.5b", "Q4_K_M")
        compute = [compute_buffer(path, cells, "f16", CPU_ROWS, count) for count in (1, sequences)]
        known = shape("qwen-1.5b")
        # a logit in llama.cpp's output buffer, one after the prompt, and 12 bytes in two lists of candidates
        sampling = (sequences - 1) * known.vocabulary * (4 + 4 + 2 * 12)
        grown = needs(known, cells, "f16", sequences=sequences).main - needs(known, cells, "f16").main
        # where a layer and the output need nearly as much, llama.cpp's buffer is a little larger than either
        assert -1.5 * 2**20 <= grown - (compute[1] - compute[0]) - sampling <= cells * 300 + 2**20

    def test_a_context_is_rounded_up_as_llama_cpp_does(self) -> None:
        assert needs(shape(), 4097, "f16") == needs(shape(), 4352, "f16")

    def test_layers_on_the_gpu_are_not_counted_twice(self) -> None:
        everywhere = needs(shape(), 4096, "f16")
        for layers in range(1, 30):
            split = needs(shape(), 4096, "f16", layers, 1)
            doubled = split.total - everywhere.main
            assert 0 <= doubled < GB  # compute buffers on both sides, and the buffers between them

    def test_the_output_is_the_first_layer_on_the_gpu(self) -> None:
        first = needs(shape(), 4096, "f16", 1, 1)
        assert first.gpu >= shape().output
        second = needs(shape(), 4096, "f16", 2, 1)
        assert second.gpu - first.gpu == shape().layers[-1] + KV_F16["qwen-7b"] * 4096 // 28

    def test_a_tied_matrix_is_on_both_sides(self) -> None:
        untied = shape()
        tied = replace(untied, output=0, tied=True)
        assert needs(tied, 4096, "f16").main == needs(untied, 4096, "f16").main - untied.output
        assert needs(tied, 4096, "f16", 29, 1).gpu == needs(untied, 4096, "f16", 29, 1).gpu - untied.output + tied.input

    @pytest.mark.parametrize("sequences", [1, 8])
    def test_a_draft_model_takes_what_it_would_take_alone_but_the_program(self, sequences: int) -> None:
        draft = shape("qwen-1.5b")
        alone, nothing = (needs(each, 4096, "q8_0", sequences=sequences) for each in (draft, EMPTY))
        both = needs(replace(shape(), draft=draft), 4096, "q8_0", sequences=sequences)
        program = nothing.main - needs(EMPTY, 0, "q8_0").main  # what each has of its own
        assert both.main == needs(shape(), 4096, "q8_0", sequences=sequences).main + alone.main - nothing.main + program
        assert both.gpu == 0

    def test_a_draft_model_is_on_the_gpu_or_in_main_memory(self) -> None:
        draft = shape("qwen-1.5b")
        pair = replace(shape(), draft=draft)
        own = needs(shape(), 4096, "f16", 29, 1)
        beside, apart = (needs(pair, 4096, "f16", 29, 1, draft_on_gpu=on_gpu) for on_gpu in (True, False))
        assert beside.gpu - own.gpu == needs(draft, 4096, "f16", 29, 1).gpu
        assert apart.gpu == own.gpu
        assert apart.main - own.main > draft.weights > beside.main - own.main
