"""A request on its way: what it has prefilled and generated, and the events about it."""

from __future__ import annotations

from collections.abc import Iterator
from time import perf_counter

from r1.engine.context import Context, Part
from r1.engine.events import Event, Finished, FinishReason, Prefill, Thought, Timings, Usage
from r1.engine.model import Model
from r1.engine.reasoning import ReplyDecoder
from r1.engine.request import Request
from r1.engine.sampling import Sampler
from r1.engine.sampling_pool import Draw
from r1.engine.sequence import Chunks, Sequence


class Generation:
    """A request with a sequence of its own. `token` is the one to decode next; None while the prompt is prefilled."""

    def __init__(self, request: Request, context: Context, sequence: Sequence, chunks: Chunks) -> None:
        """`sequence` holds the tokens of an earlier prompt that serve this one, and nothing else."""
        self.request = request
        self.sequence = sequence
        self.token: int | None = None
        self.threads: int | None = None  # that decoded the reply; None before, and when the number has changed
        self.decoded_with: int | None = None  # threads at first
        self.has_ended = False
        self._context = context
        self.chunks = chunks
        self._reply = ReplyDecoder(context.model.control.end_think, context.model.piece)
        self._sampler = Sampler(request.sampling)
        self._closing = _closing(context.model)
        self._clock = _Clock(len(sequence))

    @property
    def is_prefilling(self) -> bool:
        return self.token is None

    @property
    def prefilled(self) -> Prefill:
        return Prefill(len(self.sequence), len(self.chunks.tokens))

    def part(self) -> Part:
        """What the next batch has to decode."""
        if self.token is not None:
            return Part(self.sequence, [self.token])
        chunk = self.chunks.after(len(self.sequence))
        is_last = len(self.sequence) + len(chunk) == len(self.chunks.tokens)
        return Part(self.sequence, chunk, has_logits=is_last, is_chunk=True)

    def note_threads(self, threads: int) -> None:
        """Notes the number of threads that decode its next token."""
        if self.decoded_with is None:
            self.decoded_with = self.threads = threads
        elif self.threads != threads:
            self.threads = None

    def draw(self, place: int) -> Draw:
        """The next token, from the logits at `place` in the last batch; forced while the thinking is being closed."""
        closes = self._reply.is_thinking and self.request.answer_now()
        return Draw(self._sampler, place, next(self._closing) if closes else None)

    def take(self, token: int) -> list[Event]:
        """The events of a token; the last one is Finished if it ends the reply."""
        if self.token is None:
            self._clock.first_token = perf_counter()
            self._clock.prefilled = len(self.chunks.tokens) - self._clock.kept
        self.token = token
        if self._context.model.ends_turn(token):
            return self.end("stop")
        was_thinking = self._reply.is_thinking
        event = self._reply.feed(token)
        events: list[Event] = [] if event is None else [event]
        if was_thinking and not self._reply.is_thinking:
            events.append(Thought(self._reply.thinking.tokens))
        if reason := self._finish_reason():
            events += self.end(reason)
        return events

    def _finish_reason(self) -> FinishReason | None:
        if self.request.stop_after_thinking and not self._reply.is_thinking:
            return "stop"
        if self.request.is_cancelled or self._context.stop():
            return "interrupted"
        if self.tokens_left <= 0:
            return "length"
        if len(self.sequence) >= self._context.length:
            return "context"
        return None

    @property
    def tokens_left(self) -> int:
        """How many more tokens the request allows."""
        return self.request.sampling.max_tokens - self._generated

    @property
    def _generated(self) -> int:
        return self._reply.thinking.tokens + self._reply.answer.tokens

    def end(self, reason: FinishReason) -> list[Event]:
        """The rest of a character, if there is one, and Finished. Frees the sampler, but not the sequence."""
        rest = self._reply.end()
        usage = Usage(
            prompt_tokens=len(self.chunks.tokens),
            thinking_tokens=self._reply.thinking.tokens,
            answer_tokens=self._reply.answer.tokens,
        )
        if self.is_prefilling:
            self._clock.prefilled = len(self.sequence) - self._clock.kept
        self.has_ended = True
        self.close()
        finished = Finished(reason, usage, self._clock.timings(self._generated), self.threads)
        return [finished] if rest is None else [rest, finished]

    def close(self) -> None:
        self._sampler.close()


class _Clock:
    """Times in seconds; `kept` counts the prompt tokens that were in the cache, `prefilled` those that were not."""

    def __init__(self, kept: int) -> None:
        self.start = perf_counter()
        self.kept = kept
        self.prefilled = 0
        self.first_token: float | None = None

    def timings(self, generated: int) -> Timings:
        now = perf_counter()
        first = self.first_token or now
        return Timings(
            ttft_s=first - self.start,
            prefill_tps=_rate(self.prefilled, first - self.start),
            decode_tps=_rate(max(generated - 1, 0), now - first),
            total_s=now - self.start,
        )


def _rate(tokens: int, seconds: float) -> float:
    return tokens / seconds if seconds > 0 else 0.0


def _closing(model: Model) -> Iterator[int]:
    """The tokens with which R1 ends its thinking: a line break and `</think>`."""
    yield from model.tokenize("\n")
    yield model.control.end_think
