"""A turn as a stream of events: prefill, then one token at a time until something ends it.

Knows: the order of things. Does not know: where the events go.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from time import perf_counter

from r1.engine.context import Context
from r1.engine.events import Event, Finished, FinishReason, Prefill, Timings, Usage
from r1.engine.reasoning import Reply
from r1.engine.sampling import Sampler, SamplingParams


@dataclass(slots=True)
class _Clock:
    """When what happened, in seconds; `prefilled` tokens were not in the cache before."""

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
    prompt: Sequence[int],
    params: SamplingParams,
    *,
    cancelled: Callable[[], bool] = lambda: False,
    stop_after_thinking: bool = False,
    exact: bool = False,
) -> Iterator[Event]:
    """Answers `prompt` (ids that end inside `<think>`); the last event is always Finished.

    `cancelled` is asked after every chunk of the prefill and every token. `exact`: see `Context.prefill`.
    Raises UsageError when the prompt does not fit the context, R1Error when llama.cpp fails.
    """
    clock = _Clock(perf_counter())
    reply = Reply(context.model.control.end_think, context.model.piece)

    def finished(reason: FinishReason) -> Finished:
        usage = Usage(len(prompt), reply.thinking.tokens, reply.answer.tokens)
        return Finished(reason, usage, clock.timings(usage.thinking_tokens + usage.answer_tokens))

    # 1. prefill
    kept = None
    for done in context.prefill(prompt, exact=exact):
        kept = done if kept is None else kept
        clock.prefilled = done - kept
        yield Prefill(done, len(prompt))
        if cancelled():
            yield finished("interrupted")
            return

    # 2. decode
    reason: FinishReason | None = None
    with Sampler(params) as sampler:
        while reason is None:
            token = sampler.sample(context)
            clock.first_token = clock.first_token or perf_counter()
            if context.model.ends_turn(token):
                reason = "stop"
                break
            if event := reply.feed(token):
                yield event
            reason = _why_stop(context, reply, params, cancelled, stop_after_thinking)
            if reason is None:
                context.decode([token])

    # 3. what is left
    if event := reply.end():
        yield event
    yield finished(reason)


def _why_stop(
    context: Context,
    reply: Reply,
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
