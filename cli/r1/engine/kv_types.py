"""Facts about llama.cpp's KV cache that the engine and the memory planner share. Imports nothing heavy."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

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


class Cut(NamedTuple):
    """How the prompt of a turn is cut into chunks: after every `size` tokens, as long as at least `least` follow.

    What is held up to the end of a chunk serves every prompt that begins like that.
    """

    size: int
    least: int


class Rows(NamedTuple):
    """Tokens of prompts in a batch, at most: of one that is `alone`, of `several`, and of one `beside` replies, which
    wait for it.
    """

    alone: int
    several: int
    beside: int


CPU_CUT = Cut(128, least=64)
"""A CPU computes each token of a batch by itself, so a batch of several chunks gives the same bits as one for each.
Fewer than 64 tokens do not: ggml's flash attention has other code for them.
"""

CPU_ROWS = Rows(alone=512, several=256, beside=128)
"""Batches of 128 tokens were up to 8 % slower than those of 512, and those of 256 up to 5 %."""

GPU_CUT = Cut(512, least=1)
GPU_ROWS = Rows(512, 512, 512)
"""A GPU needs large batches to stay busy. Its kernels depend on their size, so each chunk is a batch."""


def largest_batch(rows: Rows, sequences: int) -> int:
    """Tokens that a batch holds at most: those of prompts, and one of each other sequence."""
    return rows.alone + sequences - 1


MOST_DRAFTED = 63
"""Tokens of a draft at most. With the one before them, it is a pass over 64, from where on attention is quicker."""


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
