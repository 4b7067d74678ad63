"""Reads the parts of a prompt, and refuses what no context can hold while it is being read.

A text has no more bytes than its tokens have, and there are at most as many tokens as the context is long. So the
longest token of the vocabulary gives a limit without tokenizing anything. The model's header is read for it only when
a prompt is long.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import BinaryIO

from r1.streams import regular_file
from r1_quantize import units
from r1_quantize.errors import BadGGUF, UsageError
from r1_quantize.gguf import reader
from r1_quantize.gguf.reader import TokenType
from r1_quantize.gguf.split import part_names

UNCHECKED = 256 << 10
"""Bytes of a prompt that are read without looking at the model."""

_CHUNK = 64 << 10


@dataclass(frozen=True, slots=True)
class PromptLimit:
    """`bytes`: no text of `tokens` tokens is longer. `tokens` is the length of the context."""

    tokens: int
    bytes: int

    def __str__(self) -> str:
        return f"{self.tokens:,} tokens of context hold at most {units.size(self.bytes)}"


LimitOf = Callable[[], PromptLimit]


def limit_of(model: Path, ctx: int | None = None) -> PromptLimit:
    """The limit for the GGUF at `model`, from its header, with a context of `ctx` tokens (None: the longest one).

    Raises BadGGUF.
    """
    metadata = reader.read(Path(part_names(str(model))[0])).metadata
    trained = metadata.get(f"{metadata.get('general.architecture')}.context_length")
    texts = metadata.get("tokenizer.ggml.tokens")
    if not (isinstance(trained, int) and trained > 0 and isinstance(texts, list) and texts):
        raise BadGGUF(f"{model}: no context length or no vocabulary; `r1 verify` says what is damaged")
    tokens = min(ctx or trained, trained)
    return PromptLimit(tokens, tokens * _longest_token(texts, metadata.get("tokenizer.ggml.token_type") or []))


def _longest_token(texts: list[str], types: list[int]) -> int:
    """In bytes. In a byte-level vocabulary, each character of a normal token stands for one byte."""
    normal = (len(text) for text, kind in zip(texts, types, strict=False) if kind == TokenType.NORMAL)
    defined = (
        len(text.encode("utf-8", "replace"))
        for text, kind in zip(texts, types, strict=False)
        if kind == TokenType.USER_DEFINED
    )
    return max((*normal, *defined), default=max(map(len, texts)))


class PromptReader:
    """Reads the parts of one prompt, which together must keep within the limit."""

    def __init__(self, limit: LimitOf) -> None:
        self.limit = cache(limit)
        self.used = 0  # bytes

    def read(self, stream: BinaryIO, name: str) -> bytearray:
        """The stream to its end. Raises UsageError when the prompt gets too long, and OSError."""
        self._check(self.used + _bytes_left(stream), name)
        content = bytearray()
        while chunk := stream.read(_CHUNK):
            content += chunk
            self.used += len(chunk)
            self._check(self.used, name, may_go_on=True)
            if len(chunk) < _CHUNK:  # the end; a terminal would have to be ended a second time
                break
        return content

    def _check(self, total: int, name: str, *, may_go_on: bool = False) -> None:
        if total <= UNCHECKED:
            return
        limit = self.limit()
        if total > limit.bytes:
            size = f"more than {units.size(limit.bytes)}" if may_go_on else units.size(total)
            raise UsageError(f"{name}: the prompt has {size}, and {limit}; send a part of it")


def _bytes_left(stream: BinaryIO) -> int:
    """The rest of a regular file; 0 for other streams, whose length is not known."""
    file = regular_file(stream)
    return max(file.st_size - stream.tell(), 0) if file is not None else 0
