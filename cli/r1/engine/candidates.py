"""The logits of a token, and the table of candidates that a sampler makes of them."""

from __future__ import annotations

import ctypes
from array import array
from functools import cache
from typing import Any, TypeAlias

from r1.engine.context import Context
from r1.engine.llama import llama

Logits: TypeAlias = "memoryview[float]"
"""A number for each token of the vocabulary."""

_WORDS = 3  # of 4 bytes in a llama_token_data: an id, a logit, a probability


def logits_at(context: Context, place: int) -> Logits:
    """The logits of the token at `place` in the batch that `context` decoded last, in llama.cpp's own memory.

    The next batch overwrites them.
    """
    pointer = llama().llama_get_logits_ith(context.handle, place)
    row = (ctypes.c_float * context.model.vocabulary_size).from_address(ctypes.addressof(pointer.contents))
    return memoryview(row).cast("B").cast("f")


def kept(logits: Logits) -> Logits:
    """A copy that later batches leave as it is."""
    return memoryview(array("f", logits.tobytes()))


class Candidates:
    """An id and a logit for each token of the vocabulary, for one sampler at a time."""

    def __init__(self, vocabulary_size: int) -> None:
        native = llama()
        self._table = (native.llama_token_data * vocabulary_size)()
        self._unsorted = _numbered(vocabulary_size)
        self.logits = memoryview(self._table).cast("B").cast("f")[1::_WORDS]  # in the order of the table
        data = ctypes.cast(self._table, native.llama_token_data_p)
        self._native = native.llama_token_data_array(data=data)

    def fill(self, logits: Logits) -> Any:
        """The `llama_token_data_array` with these logits; valid until the next call."""
        ctypes.memmove(self._table, self._unsorted, len(self._unsorted))  # samplers sort the table
        self.logits[:] = logits
        self._native.size, self._native.selected, self._native.sorted = len(self._table), -1, False
        return self._native


@cache
def _numbered(vocabulary_size: int) -> bytes:
    """A table with the ids alone."""
    words = memoryview(bytearray(4 * _WORDS * vocabulary_size)).cast("i")
    words[::_WORDS] = memoryview(array("i", range(vocabulary_size)))
    return bytes(words)
