"""How much memory a model takes.

Knows: weights, KV cache, and what else llama.cpp allocates. Does not know: which model is meant, or what is free.
"""

from __future__ import annotations

_F16 = 2  # bytes a value of the KV cache
_BESIDE = 350_000_000  # bytes: logits and activations of one chunk, the vocabulary, the program itself


def memory_needed(weights: int, kv_values: int, context: int) -> int:
    """Bytes for `weights` bytes of a model and `context` tokens in an F16 cache, `kv_values` values each.

    Rough. More can be resident while there is room: what llama.cpp repacks for the processor stays mapped as well, and
    the system drops that when it needs to.
    """
    return weights + _F16 * kv_values * context + _BESIDE
