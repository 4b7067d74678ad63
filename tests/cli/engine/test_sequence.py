"""`r1.engine.sequence`: the tokens that sequences hold, and the cells they take."""

from __future__ import annotations

from array import array

import pytest

from r1.engine.context import Context, ContextParams
from r1.engine.model import Model
from r1.engine.sequence import Chunks, common_length


class TestChunks:
    """A prompt is cut at fixed places."""

    def test_a_chunk_ends_after_so_many_tokens_and_at_the_end_of_a_segment(self) -> None:
        chunks = Chunks.of([[1, 2, 3, 4, 5], [6, 7], [8, 9, 10]], 2)
        assert chunks.tokens == [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]
        assert chunks.edges == [2, 4, 5, 7, 9, 10]
        assert [chunks.next_edge(position) for position in (0, 1, 4, 5, 9)] == [2, 2, 5, 7, 10]
        assert [chunks.edges_within(*ends) for ends in ((0, 4), (1, 1), (3, 8), (9, 10))] == [
            [2, 4],
            [],
            [4, 5, 7],
            [10],
        ]

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
        assert Chunks.of([[1, 2, 3], [4, 5]], 2).common_prompt(Chunks.of(other, 2)) == common

    def test_those_behind_others_keep_the_edges_of_both(self) -> None:
        first, second = Chunks.of([[1, 2, 3], [4]], 2), Chunks.of([[5, 6, 7]], 2)
        assert second.behind(first) == Chunks.of([[1, 2, 3], [4], [5, 6, 7]], 2)


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
