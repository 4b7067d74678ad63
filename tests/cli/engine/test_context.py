"""`r1.engine.context`: prefills keep what the KV cache holds, and stay exact."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence as Row
from itertools import pairwise

import pytest

from r1.engine.context import Context, ContextParams, Part, Stopped
from r1.engine.kv_types import CPU_CUT, KV_TYPES
from r1.engine.llama import Stop, llama
from r1.engine.model import Model
from r1.engine.sequence import Chunks, Sequence
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


def in_batches(context: Context, text: Row[int], ends: Row[int]) -> tuple[bytes, list[float]]:
    """The cache after batches with these ends, and the logits of the last token."""
    sequence = only(context)
    sequence.truncate(0)
    for start, end in pairwise([0, *ends]):
        if start < end:
            context.decode([Part(sequence, text[start:end])])
    size = llama().llama_state_seq_get_size(context.handle, 0)
    state = (ctypes.c_uint8 * size)()
    assert llama().llama_state_seq_get_data(context.handle, state, size, 0) == size
    return bytes(state), logits(context)


def only(context: Context) -> Sequence:
    """Its one sequence."""
    (sequence,) = context.sequences
    return sequence


def prefill(context: Context, *segments: Row[int]) -> list[int]:
    """Prefills, and returns the counts it reported."""
    return list(context.prefill(only(context), segments))


@pytest.fixture
def text(model: Model) -> list[int]:
    """788 tokens: chunks of 128, the last one of 148."""
    return [model.control.bos, *model.tokenize("How many words are in this line? " * 28)][:788]


class TestPrefill:
    """Only what differs is decoded; the logits are those of an empty cache, bit for bit."""

    def test_reports_progress_by_batches(self, context: Context, text: list[int]) -> None:
        assert prefill(context, text) == [0, 512, 788]
        assert only(context).tokens == text

    def test_keeps_common_chunks(self, context: Context, text: list[int]) -> None:
        prefill(context, text)
        changed = [*text[:400], *text[300:]]
        assert prefill(context, changed)[0] == 384
        assert only(context).tokens == changed

    def test_decodes_the_last_chunk_again_when_all_tokens_are_common(self, context: Context, text: list[int]) -> None:
        prefill(context, text)
        before = logits(context)
        assert prefill(context, text) == [640, 788]
        assert logits(context) == before

    def test_gives_the_same_bits_as_an_empty_cache(self, context: Context, text: list[int]) -> None:
        prefill(context, [*text[:340], *text[:100]])
        for token in text[:30]:
            context.decode([Part(only(context), [token])])
        assert prefill(context, text)[0] == 256
        assert logits(context) == fresh_logits(context, text)

    @pytest.mark.parametrize("kv_type", ["f16", "q8_0"])
    @pytest.mark.parametrize("threads", [1, 2])
    def test_has_the_same_bits_in_batches_of_any_size_that_chunks_can_make(
        self, model: Model, text: list[int], kv_type: str, threads: int
    ) -> None:
        """Also where a prompt ends with the longest or the shortest last chunk."""
        with Context(model, ContextParams(1024, threads=Threads.of(threads), kv_type=kv_type)) as context:
            for length in (128 + 63, 128 + 64, 640 + 64, 703, 788):
                cut = Chunks.of([text[:length]], CPU_CUT).edges
                ways = [in_batches(context, text, ends) for ends in (cut, [*cut[::2], length], [*cut[3:4], length])]
                assert ways[1:] == ways[:1] * 2

    def test_does_not_keep_tokens_that_were_decoded_one_by_one(self, context: Context, text: list[int]) -> None:
        prefill(context, text[:100])
        for token in text[100:300]:
            context.decode([Part(only(context), [token])])
        assert prefill(context, text)[0] == 0

    def test_each_segment_starts_a_new_chunk(self, context: Context, text: list[int]) -> None:
        first, second = text[:300], text[300:600]
        assert prefill(context, first, second) == [0, 300, 600]
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
            assert only(context).tokens == text[:512]
            stop.clear()
            assert prefill(context, text)[0] == 512
            assert logits(context) == fresh_logits(context, text)

    def test_can_be_cancelled_between_chunks_and_continued(self, context: Context, text: list[int]) -> None:
        steps = context.prefill(only(context), [text])
        assert [next(steps), next(steps)] == [0, 512]
        steps.close()
        assert only(context).tokens == text[:512]
        assert prefill(context, text)[0] == 512

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
        assert list(context.warm(only(context), [turn])) == [0, 256, len(turn)]
        assert prefill(context, turn, following) == [len(turn), len(turn) + len(following)]
        assert logits(context) == fresh_logits(context, turn, following)

    def test_stopping_halfway_is_just_as_exact(self, context: Context, text: list[int]) -> None:
        turn, following = text[:400], text[400:440]
        steps = context.warm(only(context), [turn])
        next(steps), next(steps)
        steps.close()
        assert prefill(context, turn, following)[0] == 256
        assert logits(context) == fresh_logits(context, turn, following)

    def test_a_warm_cache_is_left_alone(self, context: Context, text: list[int]) -> None:
        list(context.warm(only(context), [text]))
        assert list(context.warm(only(context), [text])) == [len(text)]

    def test_stops_where_the_cache_is_full(self, model: Model, text: list[int]) -> None:
        with Context(model, ContextParams(512, threads=Threads.of(1))) as small:
            assert list(small.warm(only(small), [text])) == [0, 256]


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
