"""`r1.engine.context`: prefills keep what the KV cache holds, and stay exact."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence as Row

import pytest

from r1.engine.context import Context, ContextParams, Part, Stopped
from r1.engine.kv_types import CPU_CHUNK, KV_TYPES
from r1.engine.llama import Stop, llama
from r1.engine.model import Model
from r1.engine.sequence import Sequence
from r1.machine.cores import Threads
from r1_quantize.errors import UsageError


def logits(context: Context) -> list[float]:
    """The logits of the last token, from llama.cpp itself."""
    count = llama().llama_vocab_n_tokens(llama().llama_model_get_vocab(context.model.handle))
    pointer = llama().llama_get_logits_ith(context.handle, -1)
    return list(ctypes.cast(pointer, ctypes.POINTER(ctypes.c_float * count)).contents)


def difference(found: list[float], expected: list[float]) -> float:
    """The mean distance between two lists of logits, as a share of their range."""
    distances = [abs(a - b) for a, b in zip(found, expected, strict=True)]
    return sum(distances) / len(distances) / (max(expected) - min(expected))


def fresh_logits(context: Context, *segments: Row[int]) -> list[float]:
    """The logits of a prefill into an empty cache."""
    with Context(context.model, ContextParams(1024, threads=Threads.of(1))) as fresh:
        prefill(fresh, *segments)
        return logits(fresh)


def only(context: Context) -> Sequence:
    """Its one sequence."""
    (sequence,) = context.sequences
    return sequence


def prefill(context: Context, *segments: Row[int]) -> list[int]:
    """Prefills, and returns the counts it reported."""
    return list(context.prefill(only(context), segments))


@pytest.fixture
def text(model: Model) -> list[int]:
    """Three chunks and 20 tokens."""
    return [model.control.bos, *model.tokenize("How many words are in this line? " * 28)][: 3 * CPU_CHUNK + 20]


class TestPrefill:
    """Only what differs is decoded; the logits are those of an empty cache, bit for bit."""

    def test_reports_progress_by_chunks(self, context: Context, text: list[int]) -> None:
        assert prefill(context, text) == [0, CPU_CHUNK, 2 * CPU_CHUNK, 3 * CPU_CHUNK, 3 * CPU_CHUNK + 20]
        assert only(context).tokens == text

    def test_keeps_common_chunks(self, context: Context, text: list[int]) -> None:
        prefill(context, text)
        changed = [*text[:400], *text[300:]]
        assert prefill(context, changed)[0] == CPU_CHUNK
        assert only(context).tokens == changed

    def test_decodes_the_last_chunk_again_when_all_tokens_are_common(self, context: Context, text: list[int]) -> None:
        prefill(context, text)
        before = logits(context)
        assert prefill(context, text) == [3 * CPU_CHUNK, 3 * CPU_CHUNK + 20]
        assert logits(context) == before

    def test_gives_the_same_bits_as_an_empty_cache(self, context: Context, text: list[int]) -> None:
        prefill(context, [*text[:340], *text[:100]])
        for token in text[:30]:
            context.decode([Part(only(context), [token])])
        assert prefill(context, text)[0] == CPU_CHUNK
        assert logits(context) == fresh_logits(context, text)

    def test_does_not_keep_tokens_that_were_decoded_one_by_one(self, context: Context, text: list[int]) -> None:
        prefill(context, text[:100])
        for token in text[100:300]:
            context.decode([Part(only(context), [token])])
        assert prefill(context, text)[0] == 0

    def test_each_segment_starts_a_new_chunk(self, context: Context, text: list[int]) -> None:
        first, second = text[:300], text[300:600]
        assert prefill(context, first, second) == [0, CPU_CHUNK, 300, 300 + CPU_CHUNK, 600]
        assert only(context).tokens == text[:600]
        assert prefill(context, first, text[600:610]) == [300, 310]

    def test_stops_in_the_middle_of_a_batch(self, model: Model, text: list[int]) -> None:
        stop = Stop()
        with Context(model, ContextParams(1024, threads=Threads.of(1)), stop) as context:
            steps = context.prefill(only(context), [text])
            next(steps), next(steps)
            stop.set()
            with pytest.raises(Stopped):
                next(steps)
            assert only(context).tokens == text[:CPU_CHUNK]
            stop.clear()
            assert prefill(context, text)[0] == CPU_CHUNK
            assert logits(context) == fresh_logits(context, text)

    def test_can_be_cancelled_between_chunks_and_continued(self, context: Context, text: list[int]) -> None:
        steps = context.prefill(only(context), [text])
        assert [next(steps), next(steps)] == [0, CPU_CHUNK]
        steps.close()
        assert only(context).tokens == text[:CPU_CHUNK]
        assert prefill(context, text)[0] == CPU_CHUNK

    def test_a_prompt_as_long_as_the_context_is_refused_with_both_lengths_and_the_option(self, model: Model) -> None:
        with Context(model, ContextParams(256, threads=Threads.of(1))) as small, pytest.raises(UsageError) as caught:
            prefill(small, [1] * small.length)
        assert str(caught.value) == (
            "the prompt has 256 tokens, and the context holds 256; shorten the prompt, or use "
            f"--ctx {model.context_length}"
        )

    def test_holds_no_more_than_its_length(self, model: Model) -> None:
        with (
            Context(model, ContextParams(100, threads=Threads.of(1))) as small,
            pytest.raises(UsageError, match="holds 100"),
        ):
            prefill(small, [1] * 100)

    def test_a_prompt_longer_than_the_models_limit_does_not_suggest_the_option(self, model: Model) -> None:
        with Context(model, ContextParams(256, threads=Threads.of(1))) as small, pytest.raises(UsageError) as caught:
            prefill(small, [1] * (model.context_length + 1))
        assert "--ctx" not in str(caught.value)
        assert f"{model.context_length + 1:,} tokens" in str(caught.value)


class TestWarm:
    """Filling the cache with the start of the next prompt while idle is exact."""

    def test_the_next_prompt_has_the_logits_of_an_empty_cache(self, context: Context, text: list[int]) -> None:
        question, trace, answer, following = text[:40], text[40:90], text[90:400], text[400:440]
        prefill(context, question)
        for token in [*trace, *answer]:
            context.decode([Part(only(context), [token])])
        turn = [*question, *answer]
        assert list(context.warm(only(context), [turn])) == [0, CPU_CHUNK, len(turn)]
        assert prefill(context, turn, following) == [len(turn), len(turn) + len(following)]
        assert logits(context) == fresh_logits(context, turn, following)

    def test_stopping_halfway_is_just_as_exact(self, context: Context, text: list[int]) -> None:
        turn, following = text[:400], text[400:440]
        steps = context.warm(only(context), [turn])
        next(steps), next(steps)
        steps.close()
        assert prefill(context, turn, following)[0] == CPU_CHUNK
        assert logits(context) == fresh_logits(context, turn, following)

    def test_a_warm_cache_is_left_alone(self, context: Context, text: list[int]) -> None:
        list(context.warm(only(context), [text]))
        assert list(context.warm(only(context), [text])) == [len(text)]

    def test_stops_where_the_cache_is_full(self, model: Model, text: list[int]) -> None:
        with Context(model, ContextParams(512, threads=Threads.of(1))) as small:
            assert list(small.warm(only(small), [text])) == [0, CPU_CHUNK]


class TestTruncate:
    """Dropping the end of the sequence."""

    def test_drops_everything_from_a_position_on(self, context: Context, text: list[int]) -> None:
        prefill(context, text)
        only(context).truncate(50)
        assert only(context).tokens == text[:50]

    def test_does_nothing_beyond_the_end(self, context: Context, text: list[int]) -> None:
        prefill(context, text[:10])
        only(context).truncate(50)
        assert only(context).tokens == text[:10]


class TestKvTypes:
    """Every type of cache works."""

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
