"""A request on its way: what it has prefilled and generated, and the events about it."""

from __future__ import annotations

import math
from dataclasses import replace
from time import perf_counter

from r1.engine.context import Context, Part
from r1.engine.draft import ExpectedCosts, PassCosts, Speculation
from r1.engine.events import Event, Finished, FinishReason, Prefill, Rewound, Thought, Timings, Usage
from r1.engine.grammar import Constraint, NoEnd, TokenFilter
from r1.engine.logprobs import Scorer
from r1.engine.reasoning import ReplyDecoder
from r1.engine.repetition import Loop
from r1.engine.request import Request
from r1.engine.sampler import Sampler
from r1.engine.sampling_pool import Draw
from r1.engine.sequence import Chunks, Sequence
from r1.engine.thinking import ThinkingPolicy

_EXPECTED = ExpectedCosts()
"""In place of measured costs where a seed is given: the length of its drafts may not depend on the clock."""


class Generation:
    """A request with a sequence of its own. `token` is the one to decode next; None while the prompt is prefilled.

    A reply can be paused, so that others have its cells: what its sequence held is prefilled again when it goes on.
    """

    def __init__(
        self,
        request: Request,
        context: Context,
        sequence: Sequence,
        chunks: Chunks,
        speculation: Speculation | None = None,
    ) -> None:
        """`sequence` holds the tokens of an earlier prompt that serve this one, and nothing else."""
        self.request = request
        self.sequence = sequence
        self.token: int | None = None
        self.threads: int | None = None  # that decoded the reply; None before, and when the number has changed
        self.decoded_with: int | None = None  # threads at first
        self.has_ended = False
        self.chunks = chunks
        self._again: Chunks | None = None  # the prompt and the reply so far, once it has been paused
        self._context = context
        model, continues = context.model, request.continues
        self._policy = ThinkingPolicy(
            replace(request.thinking, reserve=0) if request.stop_after_thinking else request.thinking,
            min(request.sampling.max_tokens, context.length - len(chunks.tokens)),
            model,
            continues=continues,
            answers_in_form=request.grammar is not None,
        )
        self._reply = ReplyDecoder(
            model.control.end_think, model.piece, is_thinking=self._policy.is_thinking, continues=continues
        )
        self._speculation = speculation
        self._discarded = 0
        self._sampler = Sampler(request.sampling)
        self._constraint = Constraint(model, request.grammar) if request.grammar is not None else None
        self._filter: TokenFilter | None = None  # of the token that was drawn last
        self._scorer = Scorer(model.piece, request.top_logprobs) if request.top_logprobs is not None else None
        self._clock = _Clock(len(sequence))

    @property
    def prefilled(self) -> Prefill:
        return Prefill(len(self.sequence), len(self.chunks.tokens))

    @property
    def to_prefill(self) -> int:
        """Tokens of the prompt, or of a reply that was paused, that its sequence does not hold yet."""
        if self.token is not None and self._again is None:
            return 0
        return max(len(self._prefilled_from.tokens) - len(self.sequence), 0)

    def next_token(self) -> Part:
        """What the next batch has to decode, when nothing is to be prefilled."""
        assert self.token is not None
        return Part(self.sequence, [self.token])

    def draft(self, most: int, costs: PassCosts, others: int) -> list[int]:
        """What may follow the next token, at most `most` tokens, in a pass with `others` tokens of other sequences."""
        if self._speculation is None or self.token is None:
            return []
        most = min(most, self.tokens_left - 1, self._context.length - len(self.sequence) - 1)
        costs = _EXPECTED if self.request.keeps_threads else costs
        return self._speculation.draft(self.sequence.tokens, self.token, most, costs, others)

    def passed(self, alone_s: float | None) -> None:
        """Its next token was decoded, in a pass that took `alone_s` seconds; None: others were in it."""
        if self._speculation is not None:
            self._speculation.passed(alone_s)

    def checked(self, *, is_right: bool) -> None:
        """Whether the next token of its draft is what was chosen."""
        if self._speculation is not None:
            self._speculation.checked(is_right=is_right)

    def next_chunk(self) -> Part:
        """What the next batch has to prefill when it is computed for this request alone."""
        return self._prefill_to(self._prefilled_from.batch_end(len(self.sequence), self._context.rows.alone))

    def next_piece(self, rows: int) -> Part:
        """The next `rows` tokens to prefill, or what is left. Where chunks end, it does not."""
        return self._prefill_to(min(len(self.sequence) + rows, len(self._prefilled_from.tokens)))

    @property
    def _prefilled_from(self) -> Chunks:
        """The tokens that its sequence must hold before it generates."""
        return self._again or self.chunks

    def _prefill_to(self, end: int) -> Part:
        chunks, start = self._prefilled_from, len(self.sequence)
        has_logits = end == len(chunks.tokens) and self.token is None
        return Part(self.sequence, chunks.tokens[start:end], has_logits, chunks.edges_within(start, end))

    def pause(self) -> Chunks:
        """Leaves its sequence, with what has to be in another one before it can `resume`. Only once it generates."""
        prompt = self.chunks.tokens
        if self._speculation is not None:
            self._speculation.release()
        self._again = Chunks.of([self.sequence.tokens[len(prompt) :]], self._context.cut).behind(self.chunks)
        return self._again

    def resume(self, sequence: Sequence) -> None:
        """Goes on in another sequence, which holds the start of what it held, and nothing else."""
        self.sequence = sequence

    def note_threads(self, threads: int) -> None:
        """Notes the number of threads that decode its next token."""
        if self.decoded_with is None:
            self.decoded_with = self.threads = threads
        elif self.threads != threads:
            self.threads = None

    def draw(self, place: int) -> Draw:
        """How to choose the next token, from the logits at `place` in the last batch."""
        step = self._policy.next(answers_now=self._policy.is_thinking and self.request.answer_now())
        biases = [(token, -math.inf) for token in step.banned]
        if step.nudge:
            biases.append((self._context.model.control.end_think, step.nudge))
        self._filter = None if step.forced is not None or self._policy.is_thinking else self._answer_filter()
        return Draw(self._sampler, place, step.forced, tuple(biases), self._filter, self._scorer)

    def _answer_filter(self) -> TokenFilter | None:
        """What the answer's next token must be: part of the form; or any, if R1 did not end the thinking by itself and
        would end its turn without an answer.
        """
        if self._constraint is not None:
            return self._constraint
        is_bare = self._policy.end != "natural" and not self._reply.answer.has_begun
        return NoEnd(self._context.model) if is_bare else None

    def take(self, token: int | None) -> list[Event]:
        """The events of a token; the last one is Finished if it ends the reply. None: no token fits the form."""
        events: list[Event] = []
        if self.token is None:
            self._clock.first_token = perf_counter()
            self._clock.prefilled = len(self.chunks.tokens) - self._clock.kept
            if not self._policy.is_thinking and self._policy.end is not None:
                events.append(Thought(0, self._policy.end))
        if token is None:
            return [*events, *self.end("stop")]
        if self._context.model.ends_turn(token):
            if not self._policy.is_thinking:
                return [*events, *self.end("stop")]
            token = self._policy.close("eos")
        return events + self._add(token)

    def _add(self, token: int) -> list[Event]:
        if self._constraint is not None and self._filter is self._constraint:
            self._constraint.accept(token)
        self.token = token
        was_thinking = self._reply.is_thinking
        events: list[Event] = []
        if self._scorer is not None:
            events.append(self._scorer.score(token, is_thinking=was_thinking))
        if event := self._reply.feed(token):
            events.append(event)
        loop = self._policy.add(token)
        if was_thinking and self._policy.end is not None and not self._reply.is_thinking:
            events.append(Thought(self._reply.thinking.tokens, self._policy.end))
        if loop is not None and was_thinking:
            events.append(self._go_back(loop))
        reason = "loop" if loop is not None and not was_thinking else self._finish_reason()
        return events + self.end(reason) if reason else events

    def _go_back(self, loop: Loop) -> Rewound:
        """Goes back to where the loop began. The last token that stays is decoded again, for its logits."""
        prompt = len(self.chunks.tokens)
        reply = [*self.sequence.tokens[prompt:], *([] if self.token is None else [self.token])]
        length = max(loop.start, 1)
        dropped = len(reply) - length
        self._discarded += dropped
        self._again = None  # what was prefilled again has been dropped in part
        self.sequence.truncate(prompt + length - 1)
        self.token = reply[length - 1]
        self._policy.go_back(reply, length)
        return Rewound(self._reply.go_back(reply[:length]), length, dropped)

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
            discarded_tokens=self._discarded,
            cached_tokens=self._clock.kept,
        )
        if self.token is None:
            self._clock.prefilled = len(self.sequence) - self._clock.kept
        self.has_ended = True
        self.close()
        timings = self._clock.timings(self._generated + self._discarded)
        end = None if self._reply.is_thinking else self._policy.end
        drafted = None if self._speculation is None else self._speculation.drafted
        finished = Finished(reason, usage, timings, self.threads, end, drafted)
        return [finished] if rest is None else [rest, finished]

    def close(self) -> None:
        self._sampler.close()
        if self._speculation is not None:
            self._speculation.release()
        if self._constraint is not None:
            self._constraint.close()


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
