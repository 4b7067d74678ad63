"""`r1_quantize.gguf.vocabulary`: what llama.cpp and R1 need of a vocabulary."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from r1_quantize.control_tokens import CONTROL_TOKENS
from r1_quantize.errors import BadGGUF
from r1_quantize.gguf import reader
from r1_quantize.gguf.metadata import string, strings, uint32
from r1_quantize.gguf.reader import Entry
from r1_quantize.gguf.vocabulary import (
    TOKENS,
    check_vocabulary,
    duplicate,
    missing_control_tokens,
    token_texts,
)

CONTROL = [*CONTROL_TOKENS.values()]


def vocabulary(texts: list[str]) -> list[Entry]:
    """Entries with other keys around the list of texts."""
    return [string("general.name", CONTROL[0]), strings(TOKENS, texts), string("tokenizer.chat_template", CONTROL[2])]


class TestMissingControlTokens:
    """Only a token's text counts, not the same text in another key or as a part of a longer token."""

    def test_none_is_missing(self) -> None:
        assert missing_control_tokens(vocabulary(["a", *CONTROL, "b"])) == ()

    @pytest.mark.parametrize("text", CONTROL)
    def test_the_one_that_is_missing(self, text: str) -> None:
        others = [other for other in CONTROL if other != text]
        assert missing_control_tokens(vocabulary([*others, f"{text} ", f" {text}", text[:-1]])) == (text,)

    def test_all_are_missing_without_a_vocabulary(self) -> None:
        assert missing_control_tokens([]) == tuple(CONTROL)
        assert missing_control_tokens([uint32(TOKENS, 7)]) == tuple(CONTROL)


class TestTokenTexts:
    """The bytes of each text, by id."""

    @given(st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=1, max_size=50))
    def test_are_those_that_were_written(self, texts: list[str]) -> None:
        assert token_texts(vocabulary(texts)) == [text.encode() for text in texts]

    @pytest.mark.parametrize("entries", [[], [uint32(TOKENS, 7)], [string(TOKENS, "a")]])
    def test_without_a_list_there_are_none(self, entries: list[Entry]) -> None:
        assert token_texts(entries) == []


def as_llama_cpp_sees(texts: list[bytes]) -> list[bytes]:
    """The keys of llama.cpp's map: its strings are C strings, and an empty one is renamed (llama-vocab.cpp)."""
    words = [text.split(b"\0")[0] for text in texts]
    return [word or f"[EMPTY_{number}]".encode() for number, word in enumerate(words)]


class TestDuplicate:
    """Two texts that are one key for llama.cpp, which then ends the process."""

    @example([b"[EMPTY_1]", b""])
    @given(st.lists(st.sampled_from([b"", b"a", b"b", b"a\0b", b"\0", b"[EMPTY_0]", b"[EMPTY_2]", b"c"]), max_size=6))
    def test_is_found_exactly_if_llama_cpps_map_is_incomplete(self, texts: list[bytes]) -> None:
        keys = as_llama_cpp_sees(texts)
        assert (duplicate(texts) is not None) == (len(set(keys)) < len(keys))

    def test_is_named(self) -> None:
        assert duplicate([b"a", b"<think>", b"b", b"<think>"]) == "the tokens 1 and 3 have the same text, '<think>'"

    def test_different_bytes_that_are_not_unicode_are_different_texts(self) -> None:
        assert duplicate([b"\xff", b"\xfe"]) is None

    def test_a_file_with_one_is_refused(self, gguf: Path, tmp_path: Path) -> None:
        check_vocabulary(reader.read(gguf))
        data = gguf.read_bytes()
        old, new = b"\x08\0\0\0\0\0\0\0[PAD300]", b"\x08\0\0\0\0\0\0\0[PAD301]"
        assert data.count(old) == 1
        (tmp_path / "twice.gguf").write_bytes(data.replace(old, new))
        said = r"twice\.gguf: the tokens 300 and 301 have the same text, '\[PAD301\]', so llama.cpp cannot load it"
        with pytest.raises(BadGGUF, match=said):
            check_vocabulary(reader.read(tmp_path / "twice.gguf"))
