"""`r1.engine.sequence`: the tokens that sequences hold, and the cells they take."""

from __future__ import annotations

from array import array

import pytest

from r1.engine.context import Context, ContextParams
from r1.engine.kv_types import Cut
from r1.engine.model import Model
from r1.engine.sequence import Chunks, common_length

CUT = Cut(2, least=1)


class TestChunks:
    """A prompt is cut at fixed places."""

    def test_a_chunk_ends_after_so_many_tokens_and_at_the_end_of_a_segment(self) -> None:
        chunks = Chunks.of([[1, 2, 3, 4, 5], [6, 7], [8, 9, 10]], CUT)
        assert chunks.tokens == [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]
        assert chunks.edges == [2, 4, 5, 7, 9, 10]
        assert chunks.ends == [5, 7, 10]
        assert [chunks.edges_within(*ends) for ends in ((0, 4), (1, 1), (3, 8), (9, 10))] == [
            [2, 4],
            [],
            [4, 5, 7],
            [10],
        ]

    def test_a_few_tokens_at_the_end_of_a_segment_belong_to_the_chunk_before_them(self) -> None:
        cut = Cut(4, least=2)
        lengths = range(1, 12)
        edges = [Chunks.of([[0] * length], cut).edges for length in lengths]
        assert edges == [[1], [2], [3], [4], [5], [4, 6], [4, 7], [4, 8], [4, 9], [4, 8, 10], [4, 8, 11]]

    @pytest.mark.parametrize(
        ("start", "rows", "end"),
        [(0, 4, 4), (0, 7, 4), (0, 8, 8), (0, 100, 13), (4, 8, 8), (4, 9, 13), (8, 5, 13), (13, 100, 16), (5, 5, 8)],
    )
    def test_a_batch_holds_whole_chunks_of_one_segment(self, start: int, rows: int, end: int) -> None:
        assert Chunks.of([[0] * 13, [0] * 3], Cut(4, least=2)).batch_end(start, rows) == end

    @pytest.mark.parametrize(
        ("other", "common"),
        [
            ([[1, 2, 3], [4, 5]], 5),  # the same: its last logits can be taken over
            ([[1, 2, 3], [4, 5], [6]], 3),  # the last token has to be decoded again, and it lies in the last chunk
            ([[1, 2, 3], [4, 6]], 3),
            ([[1, 2, 3, 4]], 2),
            ([[1], [2, 3]], 3),
            ([[2, 3]], 0),
        ],
    )
    def test_what_another_prompt_leaves_for_this_one(self, other: list[list[int]], common: int) -> None:
        assert Chunks.of([[1, 2, 3], [4, 5]], CUT).common_prompt(Chunks.of(other, CUT)) == common

    def test_those_behind_others_keep_the_edges_of_both(self) -> None:
        first, second = Chunks.of([[1, 2, 3], [4]], CUT), Chunks.of([[5, 6, 7]], CUT)
        assert second.behind(first) == Chunks.of([[1, 2, 3], [4], [5, 6, 7]], CUT)


class TestCommonLength:
    """The length of the common prefix."""

    @pytest.mark.parametrize(
        ("held", "wanted", "length"),
        [
            ([], [], 0),
            ([1, 2], [1, 2], 2),
            ([1, 2, 3], [1, 2], 2),
            ([1], [1, 2], 1),
            ([1, 9, 3], [1, 2, 3], 1),
            ([*range(3000)], [*range(2500), 0, 1], 2500),
            ([*range(2048)], [*range(4096)], 2048),
        ],
    )
    def test_counts_from_the_start(self, held: list[int], wanted: list[int], length: int) -> None:
        assert common_length(held, wanted) == length


def test_the_last_logits_are_dropped_with_the_token_they_belong_to(model: Model) -> None:
    with Context(model, ContextParams(64, sequences=2, cells=64)) as context:
        first, second = context.sequences
        for _ in context.prefill(first, [[1, 2, 3], [4, 5]]):
            pass
        first.last_logits = 5, memoryview(array("f"))
        second.copy(first, 3)
        assert second.last_logits is None
        second.copy(first, 5)
        assert second.last_logits == first.last_logits
        first.truncate(5)
        assert first.last_logits is not None
        first.truncate(3)
        assert first.last_logits is None
