"""`r1.prompt_limit`: the longest prompt a model can take, from its header."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from r1.engine.model import Model
from r1.prompt_limit import UNCHECKED, PromptLimit, PromptReader, limit_of
from r1_quantize.errors import BadGGUF, UsageError
from tests.fakes.ggufs import write_gguf


class TestLimitOf:
    """Context length × longest token."""

    def test_is_the_longest_token_that_llama_cpp_knows_as_often_as_the_context_is_long(
        self, tiny_path: Path, model: Model
    ) -> None:
        texts = {model.piece(token) for token in range(320)} - {b""}
        longest = max(len(text) for text in texts if not text.startswith(("<｜".encode(), b"[PAD")))
        limit = limit_of(tiny_path)
        assert (limit.tokens, limit.bytes) == (2048, 2048 * longest)
        assert limit.tokens == model.context_length

    def test_a_shorter_context_holds_less(self, tiny_path: Path) -> None:
        assert limit_of(tiny_path, 1024).bytes * 2 == limit_of(tiny_path).bytes

    def test_a_context_longer_than_the_model_was_trained_for_counts_as_that(self, tiny_path: Path) -> None:
        assert limit_of(tiny_path, 1 << 30) == limit_of(tiny_path)

    @pytest.mark.parametrize(
        ("texts", "types", "longest"),
        [
            (["a", "ab", "abc"], [1, 1, 1], 3),
            (["Ġ" * 128, "a"], [1, 1], 128),  # 128 spaces; in UTF-8 the token's text has 256 bytes
            (["a", "abcdefgh"], [1, 3], 1),  # a control token never comes from text
            (["a", "日本語"], [1, 4], 9),  # a user-defined token is plain text
            (["a", "[PAD100]"], [1, 5], 1),
        ],
    )
    def test_depends_on_the_types_of_tokens(
        self, tmp_path: Path, texts: list[str], types: list[int], longest: int
    ) -> None:
        keys = {
            "qwen2.context_length": 1000,
            "tokenizer.ggml.tokens": texts,
            "tokenizer.ggml.token_type": types,
        }
        path = write_gguf(tmp_path / "model.gguf", "qwen2", keys, {})
        assert limit_of(path) == PromptLimit(tokens=1000, bytes=1000 * longest)

    @pytest.mark.parametrize("keys", [{}, {"qwen2.context_length": 1000}, {"tokenizer.ggml.tokens": ["a"]}], ids=str)
    def test_a_file_that_does_not_say_is_damaged(self, tmp_path: Path, keys: dict[str, object]) -> None:
        with pytest.raises(BadGGUF, match="no context length or no vocabulary"):
            limit_of(write_gguf(tmp_path / "model.gguf", "qwen2", keys, {}))


class TestPromptReader:
    """Reads streams to their ends, within the limit."""

    def test_asks_for_the_limit_once(self) -> None:
        asked: list[None] = []

        def limit() -> PromptLimit:
            asked.append(None)
            return PromptLimit(100_000, 10_000_000)

        reader = PromptReader(limit)
        reader.read(io.BytesIO(b"x" * (2 * UNCHECKED)), "stdin")
        reader.read(io.BytesIO(b"x" * (2 * UNCHECKED)), "stdin")
        assert (reader.used, len(asked)) == (4 * UNCHECKED, 1)

    def test_ends_at_a_short_read_as_a_terminal_gives_it_for_one_end_of_file(self) -> None:
        class Terminal(io.BytesIO):
            ends = 0

            def read(self, size: int | None = -1) -> bytes:
                line = super().read(size)
                assert line or not self.ends, "asked for a second end of file"
                self.ends += 1
                return line

        assert PromptReader(lambda: PromptLimit(1, 1)).read(Terminal(b"typed\n"), "stdin") == b"typed\n"

    def test_counts_only_what_is_left_of_a_file(self, tmp_path: Path) -> None:
        (tmp_path / "a").write_bytes(b"x" * 2_000_000)
        with (tmp_path / "a").open("rb") as file:
            file.seek(1_500_000)
            assert len(PromptReader(lambda: PromptLimit(1, 600_000)).read(file, "a")) == 500_000

    def test_the_error_has_both_numbers(self) -> None:
        reader = PromptReader(lambda: PromptLimit(131_072, 16_777_216))
        with pytest.raises(UsageError) as caught:
            reader.read(io.BytesIO(b"x" * 17_000_000), "stdin")
        assert str(caught.value) == (
            "stdin: the prompt has more than 16.8 MB, and 131,072 tokens of context hold at most 16.8 MB; "
            "send a part of it"
        )
