"""`r1.engine.context`: the KV cache knows what it holds."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence

import pytest

from r1.engine.context import CHUNK, KV_TYPES, Context, ContextParams, Stopped, common_length
from r1.engine.llama import Stop, llama
from r1.engine.model import Model
from r1.machine.cores import Threads
from r1_quantize.errors import UsageError


def logits(context: Context) -> list[float]:
    """The logits of the token decoded last, straight from llama.cpp."""
    count = llama().llama_vocab_n_tokens(llama().llama_model_get_vocab(context.model.handle))
    pointer = llama().llama_get_logits_ith(context.handle, -1)
    return list(ctypes.cast(pointer, ctypes.POINTER(ctypes.c_float * count)).contents)


def difference(found: list[float], expected: list[float]) -> float:
    """The mean distance between two lists of logits, as a share of the range they span."""
    distances = [abs(a - b) for a, b in zip(found, expected, strict=True)]
    return sum(distances) / len(distances) / (max(expected) - min(expected))


def fresh_logits(context: Context, *segments: Sequence[int]) -> list[float]:
    """What an empty cache comes to."""
    with Context(context.model, ContextParams(1024, threads=Threads.of(1))) as fresh:
        prefill(fresh, *segments)
        return logits(fresh)


def prefill(context: Context, *segments: Sequence[int]) -> list[int]:
    """The counts that were reported on the way."""
    return list(context.prefill(segments))


@pytest.fixture
def text(model: Model) -> list[int]:
    """Three chunks and a bit."""
    return [model.control.bos, *model.tokenize("How many words are in this line? " * 14)][: 3 * CHUNK + 20]


class TestPrefill:
    """Only what differs is decoded, and the logits are those of the last token."""

    def test_reports_its_way_in_chunks(self, context: Context, text: list[int]) -> None:
        assert prefill(context, text) == [0, CHUNK, 2 * CHUNK, 3 * CHUNK, 3 * CHUNK + 20]
        assert context.tokens == text

    def test_keeps_the_chunks_that_are_common(self, context: Context, text: list[int]) -> None:
        prefill(context, text)
        changed = [*text[:200], *text[150:]]
        assert prefill(context, changed)[0] == CHUNK
        assert context.tokens == changed

    def test_decodes_the_last_chunk_again_when_all_is_common(self, context: Context, text: list[int]) -> None:
        prefill(context, text)
        before = logits(context)
        assert prefill(context, text) == [3 * CHUNK, 3 * CHUNK + 20]
        assert logits(context) == before

    def test_gives_the_very_bits_of_a_fresh_cache(self, context: Context, text: list[int]) -> None:
        prefill(context, [*text[:170], *text[:100]])
        for token in text[:30]:
            context.decode([token])
        assert prefill(context, text)[0] == CHUNK
        assert logits(context) == fresh_logits(context, text)

    def test_does_not_trust_tokens_that_were_decoded_one_by_one(self, context: Context, text: list[int]) -> None:
        prefill(context, text[:100])
        for token in text[100:300]:
            context.decode([token])
        assert prefill(context, text)[0] == 0

    def test_each_segment_has_chunks_of_its_own(self, context: Context, text: list[int]) -> None:
        first, second = text[:150], text[150:300]
        assert prefill(context, first, second) == [0, CHUNK, 150, 150 + CHUNK, 300]
        assert context.tokens == text[:300]
        assert prefill(context, first, text[300:310]) == [150, 160]

    def test_stops_in_the_middle_of_a_batch(self, model: Model, text: list[int]) -> None:
        stop = Stop()
        with Context(model, ContextParams(1024, threads=Threads.of(1)), stop) as context:
            steps = context.prefill([text])
            next(steps), next(steps)
            stop.set()
            with pytest.raises(Stopped):
                next(steps)
            assert context.tokens == text[:CHUNK]
            stop.clear()
            assert prefill(context, text)[0] == CHUNK
            assert logits(context) == fresh_logits(context, text)

    def test_can_be_cancelled_between_chunks_and_taken_up_again(self, context: Context, text: list[int]) -> None:
        steps = context.prefill([text])
        assert [next(steps), next(steps)] == [0, CHUNK]
        steps.close()
        assert context.tokens == text[:CHUNK]
        assert prefill(context, text)[0] == CHUNK

    def test_a_prompt_that_leaves_no_room_names_both_numbers_and_the_option(self, model: Model) -> None:
        with Context(model, ContextParams(256, threads=Threads.of(1))) as small, pytest.raises(UsageError) as caught:
            prefill(small, [1] * small.length)
        assert str(caught.value) == (
            "the prompt is 256 tokens long and the context holds 256; shorten it, or give it more room: "
            f"--ctx {model.context_length}"
        )

    def test_holds_no_more_than_was_asked_for(self, model: Model) -> None:
        with (
            Context(model, ContextParams(100, threads=Threads.of(1))) as small,
            pytest.raises(UsageError, match="holds 100"),
        ):
            prefill(small, [1] * 100)

    def test_a_prompt_beyond_the_models_training_is_not_told_to_use_the_option(self, model: Model) -> None:
        with Context(model, ContextParams(256, threads=Threads.of(1))) as small, pytest.raises(UsageError) as caught:
            prefill(small, [1] * (model.context_length + 1))
        assert "--ctx" not in str(caught.value)
        assert f"{model.context_length + 1} tokens" in str(caught.value)


class TestWarm:
    """While nobody asks: the cache is brought to where the next prompt begins, and that is exact."""

    def test_after_an_answer_the_next_prompt_has_the_logits_of_a_fresh_prefill(
        self, context: Context, text: list[int]
    ) -> None:
        asked, trace, answer, following = text[:40], text[40:90], text[90:300], text[300:340]
        prefill(context, asked)
        for token in [*trace, *answer]:
            context.decode([token])
        turn = [*asked, *answer]
        assert list(context.warm([turn])) == [0, CHUNK, len(turn)]
        assert prefill(context, turn, following) == [len(turn), len(turn) + len(following)]
        assert logits(context) == fresh_logits(context, turn, following)

    def test_stopped_halfway_it_is_as_exact(self, context: Context, text: list[int]) -> None:
        turn, following = text[:300], text[300:340]
        steps = context.warm([turn])
        next(steps), next(steps)
        steps.close()
        assert prefill(context, turn, following)[0] == CHUNK
        assert logits(context) == fresh_logits(context, turn, following)

    def test_what_is_warm_stays_as_it_is(self, context: Context, text: list[int]) -> None:
        list(context.warm([text]))
        assert list(context.warm([text])) == [len(text)]

    def test_what_has_no_room_is_left_out(self, model: Model, text: list[int]) -> None:
        with Context(model, ContextParams(256, threads=Threads.of(1))) as small:
            assert list(small.warm([text])) == [0, CHUNK]


class TestTruncate:
    """Forgetting the end of the sequence."""

    def test_forgets_from_a_position_on(self, context: Context, text: list[int]) -> None:
        prefill(context, text)
        context.truncate(50)
        assert context.tokens == text[:50]

    def test_does_nothing_beyond_the_end(self, context: Context, text: list[int]) -> None:
        prefill(context, text[:10])
        context.truncate(50)
        assert context.tokens == text[:10]


class TestKvTypes:
    """Smaller caches work as well."""

    @pytest.mark.parametrize("kv_type", KV_TYPES)
    def test_stay_close_to_f16(self, model: Model, text: list[int], kv_type: str) -> None:
        with (
            Context(model, ContextParams(1024, threads=Threads.of(1))) as reference,
            Context(model, ContextParams(1024, threads=Threads.of(1), kv_type=kv_type)) as other,
        ):
            prefill(reference, text)
            prefill(other, text)
            expected, found = logits(reference), logits(other)
        assert difference(found, expected) < 0.05


class TestCommonLength:
    """How far two sequences agree."""

    @pytest.mark.parametrize(
        ("held", "wanted", "length"),
        [([], [], 0), ([1, 2], [1, 2], 2), ([1, 2, 3], [1, 2], 2), ([1], [1, 2], 1), ([1, 9, 3], [1, 2, 3], 1)],
    )
    def test_counts_from_the_beginning(self, held: list[int], wanted: list[int], length: int) -> None:
        assert common_length(held, wanted) == length
