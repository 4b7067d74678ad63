"""`r1.engine.kv_types`: facts that must agree with ggml and llama.cpp."""

from __future__ import annotations

import pytest
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType

from r1.engine.context import Context, ContextParams
from r1.engine.kv_types import CONTEXT_STEP, KV_TYPES, bytes_per_value, rounded_up
from r1.engine.llama import llama
from r1.engine.model import Model
from r1.machine.cores import Threads


@pytest.mark.parametrize("name", KV_TYPES)
def test_the_size_of_a_value_equals_ggmls(name: str) -> None:
    values, nbytes = GGML_QUANT_SIZES[GGMLQuantizationType[name.upper()]]
    assert bytes_per_value(name) == nbytes / values


@pytest.mark.parametrize("tokens", [1, 100, CONTEXT_STEP, CONTEXT_STEP + 1])
def test_a_context_is_rounded_up_as_llama_cpp_does(model: Model, tokens: int) -> None:
    with Context(model, ContextParams(tokens, threads=Threads.of(1))) as context:
        assert rounded_up(tokens) == llama().llama_n_ctx(context.handle)
