"""How much memory a model takes.

Knows: weights, KV cache, and what else llama.cpp allocates. Does not know: which model is meant, or what is free.
"""

from __future__ import annotations

_F16 = 2  # bytes a value of the KV cache
_BESIDE = 350_000_000  # bytes: logits and activations of one chunk, the vocabulary, the program itself


_CONTEXTS = (32_768, 16_384, 8_192)
_LEAST_CONTEXT = 4_096


def comfortable_context(weights: int, kv_values: int, trained: int, free: int) -> int:
    """The longest of some round contexts that fits `free` bytes, the least of them when none does.

    Never more than the model was `trained` for, or than R1's longest reply needs.
    """
    fits = (length for length in _CONTEXTS if memory_needed(weights, kv_values, length) <= free)
    return min(next(fits, _LEAST_CONTEXT), trained)


def memory_needed(weights: int, kv_values: int, context: int) -> int:
    """Bytes for `weights` bytes of a model and `context` tokens in an F16 cache, `kv_values` values each.

    Rough. More can be resident while there is room: what llama.cpp repacks for the processor stays mapped as well, and
    the system drops that when it needs to.
    """
    return weights + _F16 * kv_values * context + _BESIDE
