"""The vocabulary in a GGUF's header: what llama.cpp needs of it to load the model, and what R1 needs of it to answer.

Looks at the encoded texts and decodes none of them, because `r1 run` reads some headers before it loads a model.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence

from r1_quantize.control_tokens import CONTROL_TOKENS
from r1_quantize.errors import BadGGUF
from r1_quantize.gguf.reader import Entry, GGUFFile, ValueType

TOKENS = "tokenizer.ggml.tokens"
_U64 = struct.Struct("<Q")
_ARRAY_HEADER = struct.Struct("<IIQ")  # the type of the value, the type of its items, and their number


def missing_control_tokens(entries: Iterable[Entry]) -> tuple[str, ...]:
    """R1's control tokens that are not in the vocabulary; r1 cannot run a model that lacks one."""
    data = next((entry.data for entry in entries if entry.key == TOKENS), b"")
    return tuple(text for text in CONTROL_TOKENS.values() if _encoded(text) not in data)


def check_vocabulary(gguf: GGUFFile) -> None:
    """Raises BadGGUF when two tokens of the file have the same text; see `duplicate`."""
    if problem := duplicate(token_texts(gguf.entries)):
        raise BadGGUF(f"{gguf.path}: {problem}, so llama.cpp cannot load it; get or make the model again")


def token_texts(entries: Iterable[Entry]) -> list[bytes]:
    """The encoded text of every token, by its id; empty when there is no list of texts."""
    data = next((entry.data for entry in entries if entry.key == TOKENS), b"")
    at = _U64.size + len(TOKENS)
    if len(data) < at + _ARRAY_HEADER.size:  # no entry, or a number
        return []
    kind, items, count = _ARRAY_HEADER.unpack_from(data, at)
    if (kind, items) != (ValueType.ARRAY, ValueType.STRING):
        return []
    at += _ARRAY_HEADER.size
    texts, unpack = [], _U64.unpack_from
    for _ in range(count):
        start = at + 8
        at = start + unpack(data, at)[0]
        texts.append(data[start:at])
    return texts


def duplicate(texts: Sequence[bytes]) -> str | None:
    """Two tokens that have the same text, in words; None if there are none.

    llama.cpp ends the process when it loads such a vocabulary (llama_vocab::impl::load asserts that its map from texts
    to ids is complete). Its texts end at a NUL, and it renames empty ones.
    """
    distinct = set(texts)
    if len(distinct) == len(texts) and b"" not in distinct and b"\0" not in b"".join(texts):
        return None
    ids: dict[bytes, int] = {}
    for number, text in enumerate(texts):
        seen = text.partition(b"\0")[0] or b"[EMPTY_%d]" % number
        if seen in ids:
            return (
                f"the tokens {ids[seen]:,} and {number:,} have the same text, {seen.decode('utf-8', 'replace')!r:.80}"
            )
        ids[seen] = number
    return None


def _encoded(text: str) -> bytes:
    data = text.encode()
    return _U64.pack(len(data)) + data
