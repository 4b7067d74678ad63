"""`r1.engine.slots`: which sequence takes which prompt."""

from __future__ import annotations

from array import array
from collections.abc import Iterator

import pytest

from r1.engine.context import Context, ContextParams
from r1.engine.kv_types import Cut
from r1.engine.model import Model
from r1.engine.sequence import Chunks
from r1.engine.slots import Prefix, Slots
from r1.machine.cores import Threads

CUT = Cut(4, least=1)


@pytest.fixture
def three(model: Model) -> Iterator[Context]:
    with Context(model, ContextParams(256, threads=Threads.of(1), sequences=3)) as context:
        yield context


def fill(context: Context, number: int, *segments: list[int]) -> None:
    for _ in context.prefill(context.sequences[number], segments):
        pass


class TestBest:
    """The longest prefix that any sequence holds."""

    def test_is_found_up_to_the_end_of_a_chunk(self, three: Context) -> None:
        slots, (first, second, _) = Slots(three.sequences), three.sequences
        fill(three, 0, [1, 2, 3])
        fill(three, 1, [1, 2, 3], [4, 5])
        assert slots.best(Chunks.of([[1, 2, 3], [4, 5], [6]], CUT)) == Prefix(second, 5)
        assert slots.best(Chunks.of([[1, 2, 3], [4, 6]], CUT)) == Prefix(first, 3)
        assert slots.best(Chunks.of([[9]], CUT)).length == 0

    def test_leaves_out_the_last_token_unless_its_logits_are_kept(self, three: Context) -> None:
        slots, (first, *_) = Slots(three.sequences), three.sequences
        fill(three, 0, [1, 2, 3], [4, 5])
        prompt = Chunks.of([[1, 2, 3], [4, 5]], CUT)
        assert slots.best(prompt) == Prefix(first, 3)
        first.last_logits = 5, memoryview(array("f", [0.0]))
        assert slots.best(prompt) == Prefix(first, 5, has_logits=True)

    def test_of_equals_an_idle_sequence_is_taken(self, three: Context) -> None:
        slots, (first, second, _) = Slots(three.sequences), three.sequences
        fill(three, 0, [1, 2, 3])
        fill(three, 1, [1, 2, 3])
        slots.occupy(first)
        assert slots.best(Chunks.of([[1, 2, 3], [4]], CUT)) == Prefix(second, 3)


class TestClaim:
    """An idle sequence takes the prefix over, or shares its cells."""

    def test_a_busy_sequence_keeps_its_tokens_and_shares_their_cells(self, three: Context) -> None:
        slots, (first, *_) = Slots(three.sequences), three.sequences
        fill(three, 0, [1, 2, 3], [4])
        slots.occupy(first)
        claimed = slots.claim(Prefix(first, 3))
        assert claimed is not first
        assert (first.tokens, claimed.tokens) == ([1, 2, 3, 4], [1, 2, 3])
        assert three.cells - three.free_cells == 4

    def test_an_idle_sequence_that_holds_no_more_than_the_prefix_is_taken_itself(self, three: Context) -> None:
        slots, (first, *_) = Slots(three.sequences), three.sequences
        fill(three, 0, [1, 2, 3])
        assert slots.claim(Prefix(first, 3)) is first

    def test_otherwise_the_least_recently_used_one(self, three: Context) -> None:
        slots, (first, second, third) = Slots(three.sequences), three.sequences
        for number, sequence in ((0, first), (1, second), (2, third)):
            fill(three, number, [number + 1, 2, 3], [4])
            slots.release(sequence)
        slots.release(first)
        assert slots.claim(Prefix(third, 3)) is second
        assert second.tokens == [3, 2, 3]


def test_a_released_sequence_keeps_only_what_was_prefilled(three: Context) -> None:
    slots, (first, *_) = Slots(three.sequences), three.sequences
    fill(three, 0, [1, 2, 3])
    first.extend([7])
    slots.release(first)
    assert first.tokens == [1, 2, 3]


def test_idle_sequences_are_emptied_one_by_one_the_oldest_first(three: Context) -> None:
    slots, (first, second, third) = Slots(three.sequences), three.sequences
    for number, sequence in ((0, first), (1, second), (2, third)):
        fill(three, number, [number + 1, 2, 3])
        slots.release(sequence)
    slots.release(first)
    slots.occupy(third)
    assert slots.drop_oldest()
    assert [len(sequence) for sequence in three.sequences] == [3, 0, 3]
    assert slots.drop_oldest()
    assert not slots.drop_oldest()
    assert [len(sequence) for sequence in three.sequences] == [0, 0, 3]
