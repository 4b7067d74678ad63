"""A converted GGUF gives the checkpoint's results: llama.cpp's logits are those of a forward pass in NumPy.

In an F32 file nothing is rounded, so there the two agree closely, and the smallest mistake in rows, rotation, biases
or frequencies shows. With BF16 weights llama.cpp rounds the other factors to BF16 as well, which hides smaller
mistakes; `test_identity` shows that the weights themselves are the same.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass, replace
from hashlib import shake_256
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from r1_quantize.binding import binding
from tests.fakes import checkpoints
from tests.fakes.checkpoints import Shape
from tests.fakes.paths import TINY
from tests.fakes.reference import Array, Checkpoint, logits
from tests.quantize.conftest import Make

SHAPES = {
    "llama": Shape(llama=True),
    "llama, heads of 128, biases": Shape(llama=True, heads=2, kv_heads=1, biased=True),
    "qwen, tied": Shape(tied=True),
}
TOKENS = list(shake_256(b"tokens").digest(300))
"""Any ids below 256. So many because llama3's scaling changes distant positions, and llama.cpp allows no gaps between
positions."""

TOLERANCE = {"F32": 2e-4, "BF16": 6e-2}
"""The largest difference of a logit, as a share of their standard deviation. Measured: 4e-5 and 3e-2 for tiny, 1e-6
and 2e-2 for the others."""

CLEAR = 20 * TOLERANCE["F32"]
"""Clearly a different result."""


@dataclass(frozen=True, slots=True)
class Case:
    """A checkpoint and its logits."""

    folder: Path
    expected: Array


@pytest.fixture(scope="module", params=["tiny", *SHAPES])
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Case:
    """Each checkpoint. Tests only read it."""
    shape = SHAPES.get(request.param)
    folder = checkpoints.write(tmp_path_factory.mktemp("checkpoint") / "made-up", shape) if shape else TINY
    return Case(folder, logits(Checkpoint.read(folder), TOKENS))


class TestAgainstTheForwardPass:
    """Every logit after every token, from llama.cpp and from the checkpoint itself."""

    @pytest.mark.parametrize("quant", TOLERANCE)
    def test_same_logits(self, case: Case, make: Make, quant: str) -> None:
        assert difference(llama_logits(make(case.folder, quant)), case.expected) < TOLERANCE[quant]

    @pytest.mark.parametrize("quant", TOLERANCE)
    def test_same_next_token_where_one_is_clearly_ahead(self, case: Case, make: Make, quant: str) -> None:
        second, first = np.sort(case.expected)[:, -2:].T
        clear = first - second > TOLERANCE[quant] * case.expected.std()
        assert clear.mean() > 0.5
        found = llama_logits(make(case.folder, quant))
        assert (found.argmax(axis=-1) == case.expected.argmax(axis=-1))[clear].all()


class TestAgainstAWrongForwardPass:
    """Wrong conversions are noticed; otherwise the tests above would show nothing."""

    def test_pairs_of_neighbours_in_place_of_halves(self, case: Case, make: Make) -> None:
        wrong = logits(Checkpoint.read(case.folder), TOKENS, rotate=rotate_neighbours)
        assert difference(llama_logits(make(case.folder, "F32")), wrong) > CLEAR

    @pytest.mark.parametrize("shape", [shape for shape in SHAPES.values() if shape.llama], ids=["plain", "biased"])
    def test_frequencies_without_llama3_scaling(self, tmp_path: Path, make: Make, shape: Shape) -> None:
        folder = checkpoints.write(tmp_path / "checkpoint", shape)
        right = Checkpoint.read(folder)
        wrong = replace(right, config={**right.config, "rope_scaling": None})
        assert difference(llama_logits(make(folder, "F32")), logits(wrong, TOKENS)) > CLEAR


def difference(found: Array, expected: Array) -> float:
    """The largest one, as a share of the standard deviation."""
    return float(np.abs(found - expected).max() / expected.std())


def rotate_neighbours(values: Array, angles: Array) -> Array:
    """llama.cpp's rotation of a Llama: value 2i with value 2i + 1, for which rows are re-ordered."""
    even, odd = values[..., ::2], values[..., 1::2]
    turned = even * np.cos(angles) - odd * np.sin(angles), odd * np.cos(angles) + even * np.sin(angles)
    return np.stack(turned, axis=-1).reshape(values.shape)


def llama_logits(path: Path) -> Array:
    """llama.cpp's logits after each of TOKENS; on one CPU, with a KV cache that rounds nothing."""
    library: Any = binding()
    library.llama_backend_init()
    params = library.llama_model_default_params()
    no_device = (ctypes.c_void_p * 1)(None)
    params.devices, params.n_gpu_layers = ctypes.addressof(no_device), 0
    model = library.llama_model_load_from_file(bytes(path), params)
    assert model
    context = library.llama_init_from_model(model, _context_params(library))
    assert context
    batch = library.llama_batch_init(len(TOKENS), 0, 1)
    batch.n_tokens = len(TOKENS)
    for index, token in enumerate(TOKENS):
        batch.token[index], batch.pos[index], batch.logits[index] = token, index, 1
        batch.n_seq_id[index], batch.seq_id[index][0] = 1, 0
    assert library.llama_decode(context, batch) == 0
    size = library.llama_vocab_n_tokens(library.llama_model_get_vocab(model))
    rows = [library.llama_get_logits_ith(context, index)[:size] for index in range(len(TOKENS))]
    library.llama_batch_free(batch)
    library.llama_free(context)
    library.llama_model_free(model)
    return np.array(rows, np.float64)


def _context_params(library: Any) -> Any:
    params = library.llama_context_default_params()
    params.n_ctx = params.n_batch = params.n_ubatch = len(TOKENS)
    params.n_threads = params.n_threads_batch = 1
    params.flash_attn_type = library.LLAMA_FLASH_ATTN_TYPE_DISABLED
    params.type_k = params.type_v = 0  # GGML_TYPE_F32
    return params
