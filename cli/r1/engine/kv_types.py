"""Facts about llama.cpp's KV cache that the engine and the memory planner share. Imports nothing heavy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from r1_quantize.gguf.tensor_type import TensorType

if TYPE_CHECKING:
    from fractions import Fraction

KV_TYPES: dict[str, TensorType] = {
    kind.name.lower(): kind
    for kind in (
        *(TensorType.F32, TensorType.F16, TensorType.BF16, TensorType.Q8_0, TensorType.Q5_1),
        *(TensorType.Q5_0, TensorType.Q4_1, TensorType.Q4_0, TensorType.IQ4_NL),
    )
}
"""The types that keys and values can be stored as, by the names of `--kv-type`."""

CONTEXT_STEP = 256
"""llama.cpp rounds the size of a KV cache up to a multiple of this many tokens."""

CPU_CHUNK = 256
"""Tokens per batch of a prefill on a CPU: 128 were up to 8 % slower, 512 up to 5 % faster. A changed prompt loses up
to a chunk, and a request that comes while the cache is warmed waits for one.
"""

GPU_CHUNK = 512
"""Tokens per batch of a prefill with layers on a GPU, which needs larger batches to stay busy."""

CPU_BESIDE = 128
"""Tokens of a single prompt in a batch with replies on a CPU: they wait for it."""


def largest_batch(chunk: int, sequences: int) -> int:
    """Tokens that a batch holds at most: those of prompts, and one of each other sequence."""
    return chunk + sequences - 1


MOST_DRAFTED = 15
"""Tokens of a draft at most: with the one before them, a pass over sixteen."""


def most_outputs(sequences: int) -> int:
    """Tokens of a batch whose logits are wanted, at most: the last one of each sequence, and those of drafts."""
    return sequences + MOST_DRAFTED


def bytes_per_value(kv_type: str) -> Fraction:
    """The size of one key or value; a fraction, because quantized values are stored in blocks."""
    from fractions import Fraction

    kind = KV_TYPES[kv_type]
    return Fraction(kind.block_bytes, kind.block)


def rounded_up(tokens: int) -> int:
    """The number of tokens that llama.cpp allocates for a cache of `tokens` tokens."""
    return -(-tokens // CONTEXT_STEP) * CONTEXT_STEP
