"""`r1.engine.reasoning`: splits the tokens of a reply into thinking and answer."""

from __future__ import annotations

import random

import pytest

from r1.engine.events import Answer, Thinking
from r1.engine.reasoning import ReplyDecoder, Section

END = 1000
"""The id of `</think>` in these tests; every other id stands for the byte with its number."""


def reply_to(tokens: list[int]) -> tuple[str, str]:
    """The thinking and the answer of a reply with these tokens."""
    reply = ReplyDecoder(END, lambda token: b"</think>" if token == END else bytes([token]))
    events = [reply.feed(token) for token in tokens] + [reply.end()]
    thinking = "".join(event.text for event in events if isinstance(event, Thinking))
    answer = "".join(event.text for event in events if isinstance(event, Answer))
    return thinking, answer


class TestSection:
    """Bytes become text as soon as a character is complete."""

    def test_holds_a_character_back_until_it_is_complete(self) -> None:
        section = Section()
        assert [section.feed(bytes([byte])) for byte in "é😀".encode()] == ["", "é", "", "", "", "😀"]

    def test_gives_the_same_text_however_the_bytes_are_split(self) -> None:
        text = "naïve 日本語 \U0001f44d\U0001f3fd, done"
        cuts = random.Random(7)
        for _ in range(200):
            section, rest, pieces = Section(), text.encode(), []
            while rest:
                size = cuts.randint(1, 5)
                pieces.append(section.feed(rest[:size]))
                rest = rest[size:]
            assert "".join([*pieces, section.end()]) == text

    def test_replaces_invalid_utf8_and_continues(self) -> None:
        section = Section()
        assert section.feed(b"a\xffb") == "a\N{REPLACEMENT CHARACTER}b"

    def test_replaces_an_unfinished_character_at_the_end(self) -> None:
        section = Section()
        assert section.feed("é".encode()[:1]) == ""
        assert section.end() == "\N{REPLACEMENT CHARACTER}"

    @pytest.mark.parametrize("space", [" ", "\n", "\n\n", "\t", " \n "])
    def test_strips_white_space_at_both_ends_only(self, space: str) -> None:
        section = Section()
        pieces = [section.feed(piece.encode()) for piece in (space, "a", space, "b", space)]
        assert "".join([*pieces, section.end()]) == f"a{space}b"

    def test_keeps_white_space_at_the_start_where_it_goes_on_with_a_text(self) -> None:
        section = Section(has_begun=True)
        assert [section.feed(piece) for piece in (b"\n", b" a", b" ")] == ["", "\n a", ""]

    def test_keeps_white_space_at_the_end_where_it_counts(self) -> None:
        section = Section(has_begun=True, strips_end=False)
        assert [section.feed(piece) for piece in (b"\n", b" a", b" \n")] == ["\n", " a", " \n"]

    def test_work_per_token_does_not_grow_with_trailing_white_space(self) -> None:
        section = Section()
        section.feed(b"a")
        for _ in range(100_000):  # quadratic work would take minutes here
            assert section.feed(b"\n") == ""
        assert section.feed(b"b") == "\n" * 100_000 + "b"


class TestReply:
    """Only the `</think>` token separates the trace from the answer."""

    def test_starts_inside_the_thinking(self) -> None:
        assert reply_to(list(b"hm")) == ("hm", "")

    def test_splits_at_the_token(self) -> None:
        assert reply_to([*b"hm\n", END, *b"\n\nyes"]) == ("hm", "yes")

    def test_the_text_of_the_tag_does_not_split(self) -> None:
        assert reply_to([*b"a </think> b"]) == ("a </think> b", "")

    def test_a_second_tag_is_part_of_the_answer(self) -> None:
        assert reply_to([*b"a", END, *b"b", END, *b"c"]) == ("a", "b</think>c")

    def test_a_character_cut_by_the_tag_does_not_leak_into_the_answer(self) -> None:
        assert reply_to([*"é".encode()[:1], END, *b"x"]) == ("\N{REPLACEMENT CHARACTER}", "x")

    def test_counts_the_tag_as_thinking(self) -> None:
        reply = ReplyDecoder(END, lambda token: b"x")
        for token in [1, 2, END, 3]:
            reply.feed(token)
        assert (reply.thinking.tokens, reply.answer.tokens) == (3, 1)
