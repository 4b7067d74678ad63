"""How much memory a model takes: weights, KV cache, compute buffers, the program itself. Pure arithmetic.

The weights are known to the byte. A KV cache has keys and values per layer, for a rounded-up number of tokens. A
compute buffer holds what one batch needs at the same time: according to llama.cpp's graph allocator (`ggml_gallocr`),
three times a layer's inner width, four times its outer width, and the attention mask; with many sequences, their logits
may be more than that. A batch has as many tokens of a prompt as `Rows` allows, and one of every other sequence. A draft
model takes the same again, for a cache of as many tokens.
"""

from __future__ import annotations

from typing import NamedTuple

from r1.engine.kv_types import CPU_ROWS, GPU_ROWS, Rows, bytes_per_value, largest_batch, most_outputs, rounded_up
from r1.fit.shape import Shape

_PIPELINED = 4  # chunks, llama.cpp's GGML_SCHED_MAX_COPIES
_PROGRAM = 44_000_000  # bytes: Python, r1, llama.cpp and NumPy
_VOCABULARY = 330  # bytes per token of the vocabulary: its text, lookup tables, its merge
_LOGIT = 4  # bytes
_SAMPLING = 28
"""Bytes per sequence and token of the vocabulary: its logit after the prompt (the engine keeps those), a candidate of
12 bytes in the sampler chain, and one in top-p."""

_CELL = 256  # bytes that llama.cpp and the engine note about each token in the cache; for one sequence, in _PROGRAM


class Needs(NamedTuple):
    """Bytes in main memory and on the GPUs."""

    main: int
    gpu: int

    @property
    def total(self) -> int:
        return self.main + self.gpu


def needs(  # noqa: PLR0913
    shape: Shape,
    cells: int,
    kv_type: str,
    gpu_layers: int = 0,
    gpus: int = 0,
    sequences: int = 1,
    *,
    draft_on_gpu: bool = False,
) -> Needs:
    """The memory for a cache of `cells` tokens that `sequences` share, with `gpu_layers` layers on `gpus` GPUs.

    With `draft_on_gpu`, every layer of the draft model is on them, too.
    """
    if gpus and gpu_layers:
        own = _with_gpus(shape, cells, kv_type, gpu_layers, gpus, sequences)
    else:
        kv = len(shape.layers) * _kv_of_a_layer(shape, cells, kv_type)
        compute = _compute(shape, cells, CPU_ROWS, sequences)
        own = Needs(main=_program(shape, cells, sequences) + shape.weights + kv + compute, gpu=0)
    if shape.draft is None:
        return own
    layers = len(shape.draft.layers) + 1 if draft_on_gpu else 0
    draft = needs(shape.draft, cells, kv_type, layers, gpus, sequences)
    return Needs(main=own.main + draft.main - _PROGRAM, gpu=own.gpu + draft.gpu)


def _program(shape: Shape, cells: int, sequences: int) -> int:
    """With what each model has for its tokens, for the notes about its cache, and for its logits."""
    notes = _CELL * cells * (sequences - 1) // sequences
    logits = _LOGIT * most_outputs(sequences)
    return _PROGRAM + notes + (_VOCABULARY + logits + sequences * _SAMPLING) * shape.vocabulary


def _with_gpus(shape: Shape, cells: int, kv_type: str, gpu_layers: int, gpus: int, sequences: int) -> Needs:
    on_gpu = _layers_on_gpu(shape, gpu_layers)
    on_cpu = len(shape.layers) - on_gpu
    kv = _kv_of_a_layer(shape, cells, kv_type)
    # tied embeddings are needed on both sides
    moved = sum(shape.layers[on_cpu:]) + shape.output + (shape.input if shape.tied else 0)
    kept = shape.weights - moved + (shape.input if shape.tied else 0)
    compute = _compute(shape, cells, GPU_ROWS, sequences)
    # A layer on the CPU computes there, and its largest matrix is copied to the GPU for a prefill. Otherwise main
    # memory holds only a batch's embeddings, in two buffers, and the mask.
    batch = _batch(GPU_ROWS, sequences)
    embeddings, mask = 4 * batch * shape.embedding, 2 * batch * cells
    host = compute if on_cpu else 2 * embeddings + mask
    if gpus > 1 and not on_cpu:  # several batches are computed at a time, each in its own buffers
        host += (_PIPELINED - 1) * (embeddings + mask)
        compute += (_PIPELINED - 1) * (embeddings + mask)
    upload = max(shape.largest, shape.output)  # the buffer that weights pass through on their way; it is never freed
    logits = most_outputs(sequences) * _LOGIT * shape.vocabulary
    uneven = (gpus - 1) * max((*shape.layers, shape.output))  # a layer is never split over two GPUs
    return Needs(
        main=_program(shape, cells, sequences) + kept + on_cpu * kv + host + upload,
        gpu=moved + on_gpu * kv + gpus * (compute + logits + (shape.largest if on_cpu else 0)) + uneven,
    )


def _layers_on_gpu(shape: Shape, gpu_layers: int) -> int:
    """The output goes first; then layers, from the last one."""
    return max(0, min(gpu_layers - 1, len(shape.layers)))


def _kv_of_a_layer(shape: Shape, cells: int, kv_type: str) -> int:
    return int((shape.keys + shape.values) * bytes_per_value(kv_type) * rounded_up(cells))


def _compute(shape: Shape, cells: int, rows: Rows, sequences: int) -> int:
    """Activations in F32, the mask in F16."""
    batch = _batch(rows, sequences)
    layer = 4 * batch * (3 * shape.feed_forward + 4 * shape.embedding) + 2 * batch * rounded_up(cells)
    output = 4 * most_outputs(sequences) * (shape.vocabulary + 5 * shape.embedding)
    return max(layer, output)


def _batch(rows: Rows, sequences: int) -> int:
    """Tokens in the largest batch, which llama.cpp rounds up to the same number for each sequence."""
    return -(-largest_batch(rows, sequences) // sequences) * sequences
