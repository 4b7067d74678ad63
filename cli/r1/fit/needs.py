"""What a model takes: weights, KV cache, compute buffers, the program. Arithmetic over facts, and nothing else.

The weights are known to the byte. A KV cache has a key and a value a layer, for every 256 tokens begun. A compute
buffer holds what one chunk needs at the same time: by llama.cpp's own plan of its graph (`ggml_gallocr`) three times
the inner width of a layer, four times its outer width, and the attention mask.

Knows: how much everything takes, and where. Does not know: what there is room for (`fit`).
"""

from __future__ import annotations

from fractions import Fraction
from typing import NamedTuple

from r1.fit.shape import Shape

KV_BYTES = {
    "f32": Fraction(4),
    "f16": Fraction(2),
    "bf16": Fraction(2),
    "q8_0": Fraction(34, 32),
    "q5_1": Fraction(24, 32),
    "q5_0": Fraction(22, 32),
    "q4_1": Fraction(20, 32),
    "q4_0": Fraction(18, 32),
    "iq4_nl": Fraction(18, 32),
}
"""Type of a KV cache → bytes a value, from ggml's block sizes."""

CHUNK = 128
"""Tokens prefilled at a time on a CPU. Between two a prefill can be cancelled; longer ones gain nothing there."""

GPU_CHUNK = 512
"""The same where layers are on a GPU, which is only busy with more at a time."""

STEP = 256
"""Tokens by which llama.cpp rounds a context up."""

_IN_PIPELINE = 4  # chunks, by llama.cpp's GGML_SCHED_MAX_COPIES
_PROGRAM = 32_000_000  # bytes: Python, our code, llama.cpp's
_PER_TOKEN_OF_VOCABULARY = 330  # bytes: its text, the tables to find it by, its merge
_SAMPLING = 32  # bytes a token of the vocabulary: its logit, and a candidate of each sampler that is at work


class Needs(NamedTuple):
    """Bytes in main memory and on the GPUs."""

    main: int
    gpu: int

    @property
    def total(self) -> int:
        return self.main + self.gpu


def needs(shape: Shape, context: int, kv_type: str, gpu_layers: int = 0, gpus: int = 0) -> Needs:
    """What a model takes with a context of so many tokens and so many layers on `gpus` GPUs."""
    on_gpu = _layers_on_gpu(shape, gpu_layers) if gpus else 0
    kv = _kv_of_a_layer(shape, context, kv_type)
    program = _PROGRAM + (_PER_TOKEN_OF_VOCABULARY + _SAMPLING) * shape.vocabulary
    if not (gpus and gpu_layers):
        return Needs(program + shape.weights + len(shape.layers) * kv + _compute(shape, context, CHUNK), 0)
    moved = sum(shape.layers[len(shape.layers) - on_gpu :]) + shape.output + (shape.input if shape.tied else 0)
    kept = shape.weights - moved + (shape.input if shape.tied else 0)
    left = len(shape.layers) - on_gpu
    compute = _compute(shape, context, GPU_CHUNK)
    # A layer left on the CPU computes there, and its largest matrix is brought to the GPU for a prefill. Else only a
    # chunk's embeddings, in two buffers, and the mask are in main memory. What goes to the GPU went through a buffer
    # of the largest tensor's size, which stays.
    embeddings, mask = 4 * GPU_CHUNK * shape.embedding, 2 * GPU_CHUNK * context
    host = compute if left else 2 * embeddings + mask
    if gpus > 1 and not left:  # several chunks are under way at a time, each in buffers of its own
        host += (_IN_PIPELINE - 1) * (embeddings + mask)
        compute += (_IN_PIPELINE - 1) * (embeddings + mask)
    staging = max(shape.largest, shape.output)
    logits = 4 * shape.vocabulary
    uneven = (gpus - 1) * max((*shape.layers, shape.output))  # a layer is on one of them, whole
    return Needs(
        program + kept + left * kv + host + staging,
        moved + on_gpu * kv + gpus * (compute + logits + (shape.largest if left else 0)) + uneven,
    )


def _layers_on_gpu(shape: Shape, gpu_layers: int) -> int:
    """The output goes first; then layers, from the last one."""
    return max(0, min(gpu_layers - 1, len(shape.layers)))


def _kv_of_a_layer(shape: Shape, context: int, kv_type: str) -> int:
    rounded = -(-context // STEP) * STEP
    return int((shape.keys + shape.values) * KV_BYTES[kv_type] * rounded)


def _compute(shape: Shape, context: int, chunk: int) -> int:
    """Activations in F32, the mask in F16."""
    rounded = -(-context // STEP) * STEP
    return chunk * (4 * (3 * shape.feed_forward + 4 * shape.embedding) + 2 * rounded)
