"""A turn as a stream of events: prefill, then one token at a time until something ends it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from time import perf_counter

from r1.engine.context import Context, Segments, Stopped
from r1.engine.events import Event, Finished, FinishReason, Prefill, Thought, Timings, Usage
from r1.engine.model import Model
from r1.engine.reasoning import ReplyDecoder
from r1.engine.sampling import Sampler, SamplingParams


@dataclass(slots=True)
class _Clock:
    """Times in seconds; `prefilled` counts the prompt tokens that were not in the cache."""

    start: float
    prefilled: int = 0
    first_token: float | None = None

    def timings(self, generated: int) -> Timings:
        now = perf_counter()
        first = self.first_token or now
        return Timings(
            ttft_s=first - self.start,
            prefill_tps=_rate(self.prefilled, first - self.start),
            decode_tps=_rate(max(generated - 1, 0), now - first),
            total_s=now - self.start,
        )


def generate(
    context: Context,
    prompt: Segments,
    params: SamplingParams,
    *,
    cancelled: Callable[[], bool] = lambda: False,
    answer_now: Callable[[], bool] = lambda: False,
    stop_after_thinking: bool = False,
) -> Iterator[Event]:
    """Answers `prompt` (ids that end inside `<think>`); the last event is always Finished.

    `cancelled` and `answer_now` are called after every chunk of the prefill and every token; when `answer_now` returns
    True, the thinking is closed and the answer begins. Raises UsageError when the prompt does not fit the context,
    R1Error when llama.cpp fails.
    """
    clock = _Clock(perf_counter())
    reply = ReplyDecoder(context.model.control.end_think, context.model.piece)
    total = sum(map(len, prompt))
    reason: FinishReason | None = None

    # 1. prefill
    try:
        kept = None
        for done in context.prefill(prompt):
            kept = done if kept is None else kept
            clock.prefilled = done - kept
            yield Prefill(done, total)
            if cancelled():
                reason = "interrupted"
                break

        # 2. decode
        with Sampler(params) as sampler:
            closing = _closing(context.model)
            while reason is None:
                closes = reply.is_thinking and answer_now()
                token = next(closing) if closes else sampler.sample(context)
                clock.first_token = clock.first_token or perf_counter()
                if context.model.ends_turn(token):
                    reason = "stop"
                    break
                was_thinking = reply.is_thinking
                if event := reply.feed(token):
                    yield event
                if was_thinking and not reply.is_thinking:
                    yield Thought(reply.thinking.tokens)
                reason = _finish_reason(context, reply, params, cancelled, stop_after_thinking)
                if reason is None:
                    context.decode([token])
    except Stopped:
        reason = "interrupted"

    # 3. the rest of a character, and the end
    if event := reply.end():
        yield event
    usage = Usage(prompt_tokens=total, thinking_tokens=reply.thinking.tokens, answer_tokens=reply.answer.tokens)
    yield Finished(reason or "interrupted", usage, clock.timings(usage.thinking_tokens + usage.answer_tokens))


def _closing(model: Model) -> Iterator[int]:
    """The tokens with which R1 ends its thinking: a line break and `</think>`."""
    yield from model.tokenize("\n")
    yield model.control.end_think


def _finish_reason(
    context: Context,
    reply: ReplyDecoder,
    params: SamplingParams,
    cancelled: Callable[[], bool],
    stop_after_thinking: bool,
) -> FinishReason | None:
    if stop_after_thinking and not reply.is_thinking:
        return "stop"
    if cancelled():
        return "interrupted"
    if reply.thinking.tokens + reply.answer.tokens >= params.max_tokens:
        return "length"
    if context.is_full:
        return "context"
    return None


def _rate(tokens: int, seconds: float) -> float:
    return tokens / seconds if seconds > 0 else 0.0
