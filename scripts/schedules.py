"""Random schedules of requests on the built-in model: their greedy texts must be those of one request at a time.

    python -m scripts.schedules [--seed 1] [--cases 500] [--case K]

A case makes a context with few cells, so that it runs full, and lets requests come and go at random steps: with prompts
that share prefixes, cancelled while they wait, are prefilled, think or answer, or stopped in the middle of a batch.
In some cases more begin than there are cells for, so that replies are paused. Some have a thinking budget, and
some go back in their thinking, as if it went round in circles. Tokens are drafted, rightly and wrongly. The texts are
compared with greedy decoding by `Alone`, which uses neither scheduler nor sampler. They may differ where two tokens are
nearly as likely: several sequences fill the cells in another order, and attention adds them up in it.
"""

from __future__ import annotations

import argparse
import ctypes
import math
import random
from collections import Counter
from dataclasses import dataclass, field
from functools import lru_cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest.mock import patch

from r1.engine import thinking
from r1.engine.context import Context, ContextParams, Part
from r1.engine.decoding import Pace
from r1.engine.draft import PassCosts, Prospect, Speculation
from r1.engine.events import Answer, Finished, Prefill, Rewound, Scored, Thinking
from r1.engine.llama import Stop, llama
from r1.engine.model import Model
from r1.engine.prompt import NO_THINKING, NOTHING_GIVEN, Conversation, Turn, prompt_segments
from r1.engine.reasoning import ReplyDecoder
from r1.engine.repetition import Loop
from r1.engine.request import Request
from r1.engine.sampling import SamplingParams
from r1.engine.scheduler import Scheduler
from r1.engine.sequence import common_length
from r1.engine.thinking import ThinkingParams
from r1.machine.cores import Threads

LENGTH = 384
"""Tokens that a sequence can hold."""

_NEAR_TIE = 0.2
"""Two logits this close may change places; the logits of `tiny` span some 40.

The order of a sequence's cells changes how attention rounds, and Q8_0 rounds the result again: up to 0.14 was measured.
"""

_QUESTIONS = (
    "What is 17 + 25?",
    "What is 17 + 26?",
    "How many r's are in strawberry?",
    "What is larger, 9.11 or 9.8?",
    "What is 903 - 78?",
    "Please answer this question as well as you can, and take the time that you need for it: what is 12 + 34? " * 2,
    "Please answer this question as well as you can, and take the time that you need for it: what is 12 + 34? " * 2
    + "Or is it 35?",
)


@dataclass(frozen=True, slots=True)
class Asked:
    """A prompt: a question, after a turn or without one."""

    question: int
    after_turn: bool
    max_tokens: int
    budget: int | None = None
    goes_back: bool = False

    @property
    def thinking(self) -> ThinkingParams:
        return ThinkingParams(self.budget, reserve=0, guards_loops=self.goes_back)


class PretendedLoop:
    """In place of the loop detector: finds one loop in the thinking, after `AT` tokens, which begins at `START`."""

    AT, START = 12, 8

    def __init__(self, *_: object, lenient: bool = False) -> None:
        self._tokens = 0
        self._is_over = lenient

    def add(self, _: int) -> Loop | None:
        self._tokens += 1
        if self._is_over or self._tokens < self.AT:
            return None
        self._is_over = True
        return Loop(self.START, "exact", self.AT - self.START)

    def truncate(self, length: int) -> None:
        self._tokens = length


def hasty(context: Context, pace: Pace | None = None) -> Scheduler:
    """A scheduler that lets requests begin for which there may be too few cells."""
    scheduler = Scheduler(context, pace)
    has_room_for = scheduler._has_room_for
    scheduler._has_room_for = lambda *waiting: waiting[2] is None or has_room_for(*waiting)  # type: ignore[method-assign]
    return scheduler


class Guesses:
    """A drafter that says in each pass what the reply is known to be, at random lengths, half the time with one wrong
    token.
    """

    cost = spent = 0.0

    def __init__(self, reply: list[int], start: int, rng: random.Random) -> None:
        """The tokens of `reply` begin at position `start` of the sequence."""
        self._reply = reply
        self._start = start
        self._random = rng
        self._rest: list[int] = []

    def look(self, tokens: list[int], _: int, most: int) -> Prospect | None:
        self._rest = self._reply[len(tokens) + 1 - self._start :]
        longest = self._random.randint(0, max(min(most, len(self._rest)), 0))
        return Prospect(None, 1.0, longest) if longest else None

    def draft(self, length: int) -> list[int]:
        draft = self._rest[:length]
        if self._random.random() < 0.5:
            draft[self._random.randrange(length)] = self._random.randrange(8, 200)
        return draft

    def trial_s(self) -> float:
        return 0.0

    def release(self) -> None:
        pass


class Heedless(Speculation):
    """Drafts whether it pays or not."""

    def draft(self, tokens: list[int], last: int, most: int, costs: PassCosts, others: int) -> list[int]:
        self._credit, self._right = math.inf, dict.fromkeys(self._right, 1.0)
        return super().draft(tokens, last, most, costs, others)


class Alone:
    """Greedy decoding of one prompt in a context of its own: texts, and how far apart the two best logits were."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._native = llama()
        self.reply = lru_cache(maxsize=None)(self._reply)

    def prompt(self, asked: Asked) -> list[list[int]]:
        turns = [Turn("What is 2 + 2?", "2 + 2 = 4", "It is 4. Is there anything else?")] if asked.after_turn else []
        question = _QUESTIONS[asked.question]
        beginning = NO_THINKING if asked.budget == 0 else NOTHING_GIVEN
        return prompt_segments(self._model, Conversation(turns=turns), question, beginning)

    def _reply(self, asked: Asked) -> AloneReply:
        reply = AloneReply(self._model, is_thinking=asked.budget != 0)
        closing = [*self._model.tokenize("\n"), self._model.control.end_think, *self._model.tokenize("\n\n")]
        with Context(self._model, ContextParams(LENGTH, threads=Threads.of(1))) as context:
            (sequence,) = context.sequences
            for _ in context.prefill(sequence, self.prompt(asked)):
                pass
            start = len(sequence)
            banned: set[int] = set()
            forced: list[int] = []
            while True:
                token, margin = self._best(context, banned)
                is_due = asked.budget == len(reply.tokens) or self._model.ends_turn(token)
                if reply.is_thinking and not forced and is_due:
                    forced, reply.was_closed = list(closing), True
                if forced:
                    token, margin = forced.pop(0), math.inf
                if self._model.ends_turn(token):
                    return reply
                reply.add(token, margin)
                if asked.goes_back and not reply.left and len(reply.tokens) == PretendedLoop.AT and reply.is_open:
                    reply.go_back(PretendedLoop.START)
                    sequence.truncate(start + PretendedLoop.START - 1)
                if len(reply.tokens) >= asked.max_tokens or len(sequence) >= LENGTH:
                    reply.end()
                    return reply
                banned = set(self._model.turn_endings) if reply.owes_answer else reply.banned
                context.decode([Part(sequence, [reply.tokens[-1]])])

    def _best(self, context: Context, banned: set[int]) -> tuple[int, float]:
        """The token with the largest logit, and its distance to the second; not one that is banned."""
        pointer = self._native.llama_get_logits_ith(context.handle, -1)
        logits = ctypes.cast(pointer, ctypes.POINTER(ctypes.c_float * self._model.vocabulary_size)).contents[:]
        for token in banned:
            logits[token] = -math.inf
        best, second = sorted(logits)[:-3:-1]
        return logits.index(best), best - second


class AloneReply:
    """The text, how much of it each token completed, and the margin of each token."""

    def __init__(self, model: Model, *, is_thinking: bool) -> None:
        self.was_closed = not is_thinking  # not by the model
        self.text = ""
        self.text_before = ""  # it went back
        self.left: list[int] = []  # what it said before it went back
        self.tokens: list[int] = []
        self.lengths: list[int] = []
        self.margins: list[float] = []
        self._decoder = ReplyDecoder(model.control.end_think, model.piece, is_thinking=is_thinking)

    @property
    def is_thinking(self) -> bool:
        return self._decoder.is_thinking

    @property
    def is_open(self) -> bool:
        """Whether the thinking goes on."""
        return self.is_thinking and not self.was_closed

    @property
    def owes_answer(self) -> bool:
        """Whether the turn must not end yet."""
        return not self.is_thinking and self.was_closed and not self._decoder.answer.has_begun

    @property
    def banned(self) -> set[int]:
        """The tokens with which a run of eight would come again that was in the loop."""
        runs = [self.left[place - 7 : place + 1] for place in range(PretendedLoop.START, len(self.left))]
        return {run[7] for run in runs if self.is_open and run[:7] == self.tokens[-7:]}

    def add(self, token: int, margin: float) -> None:
        event = self._decoder.feed(token)
        self.text += event.text if event is not None else ""
        self.tokens.append(token)
        self.lengths.append(len(self.text))
        self.margins.append(margin)

    def go_back(self, length: int) -> None:
        """The margins of what is dropped count for the last token that stays: another one led elsewhere."""
        self.left = list(self.tokens)
        self.text_before, self.text = self.text, self._decoder.go_back(self.tokens[:length])
        least = min(self.margins[length - 1 :])
        del self.tokens[length:], self.lengths[length:], self.margins[length:]
        self.margins[-1] = least

    def end(self) -> None:
        event = self._decoder.end()
        self.text += event.text if event is not None else ""

    def margin_at(self, position: int) -> float:
        """The smallest margin of the tokens up to the one that wrote the character at this position."""
        last = next((index for index, length in enumerate(self.lengths) if length > position), len(self.lengths) - 1)
        return min(self.margins[: last + 1])


@dataclass(slots=True)
class StopsBatch:
    """A `Pace` of one thread that can stop the next batch in the middle."""

    stop: Stop
    is_armed: bool = False

    def threads(self) -> Threads:
        if self.is_armed:
            self.stop.set()
        return Threads.of(1)

    def measured(self, seconds: float, tokens: int, threads: int) -> None:
        pass


@dataclass(slots=True)
class Case:
    """One schedule, and what happened in it."""

    model: Model
    alone: Alone
    seed: int
    counts: Counter[str] = field(default_factory=Counter)
    differences: int = 0  # texts that differ because of a near tie
    _texts: dict[Request, str] = field(default_factory=dict)
    _states: dict[Request, str] = field(default_factory=dict)
    _asked: dict[Request, Asked] = field(default_factory=dict)
    _ends: dict[Request, Finished] = field(default_factory=dict)
    _went_back: set[Request] = field(default_factory=set)
    _scored: Counter[Request] = field(default_factory=Counter)
    _drafted: list[Speculation] = field(default_factory=list)

    def run(self) -> None:
        """Raises AssertionError where anything is wrong."""
        rng = random.Random(self.seed)
        sequences = rng.choice([1, 2, 3, 5])
        is_hasty = rng.random() < 0.4
        cells = LENGTH + (0 if is_hasty else rng.randrange(0, (sequences - 1) * 150 + 1))
        params = ContextParams(LENGTH, threads=Threads.of(1), sequences=sequences, cells=cells)
        stop = Stop()
        pretended = patch.object(thinking, "LoopDetector", PretendedLoop)
        with pretended, Context(self.model, params, stop) as context:
            pace = StopsBatch(stop)
            scheduler = hasty(context, pace) if is_hasty else Scheduler(context, pace)
            scheduler._speculation = partial(self._speculation, rng)  # type: ignore[method-assign]
            for _ in range(rng.randrange(2, 9)):
                self._submit(scheduler, rng)
                for _ in range(rng.choice([0, 0, 1, 3, 10, 40])):
                    self._disturb(scheduler, pace, rng)
                    self._step(scheduler)
                    stop.clear()
                    pace.is_armed = False
            while not scheduler.is_idle:
                self._step(scheduler)
            self.counts["drafted tokens that were right"] += sum(each.drafted.accepted for each in self._drafted)
            self._check_texts()
            self._check_cells(scheduler)

    def _submit(self, scheduler: Scheduler, rng: random.Random) -> None:
        asked = Asked(
            rng.randrange(len(_QUESTIONS)),
            rng.random() < 0.3,
            rng.choice([1, 7, 60, 1000, 1000]),
            budget=rng.choice([None, None, None, 0, 1, 7]),
            goes_back=rng.random() < 0.3,
        )
        request = Request(self.alone.prompt(asked), SamplingParams(0, max_tokens=asked.max_tokens), asked.thinking)
        request.top_logprobs = rng.choice([None, None, 0, 5])
        self._asked[request], self._texts[request], self._states[request] = asked, "", "waiting"
        scheduler.submit(request)

    def _speculation(self, rng: random.Random, request: Request) -> Speculation | None:
        """Drafts for two of three replies."""
        if rng.random() < 0.3:
            return None
        reply = self.alone.reply(self._asked[request])
        self._drafted.append(Heedless([Guesses(reply.tokens, request.prompt_tokens, rng)]))
        return self._drafted[-1]

    def _disturb(self, scheduler: Scheduler, pace: StopsBatch, rng: random.Random) -> None:
        """Cancels a request, or stops all, before a batch or in it."""
        under_way = [request for request in self._asked if request not in self._ends]
        if under_way and rng.random() < 0.05:
            request = rng.choice(under_way)
            self.counts[f"cancelled while {self._states[request]}"] += 1
            request.cancel()
        if rng.random() < 0.005:
            self.counts["stopped before a batch"] += 1
            pace.stop.set()
        elif rng.random() < 0.01:
            self.counts["stopped in a batch"] += 1
            pace.is_armed = True
        if scheduler.context.free_cells < LENGTH // 4:
            self.counts["few cells left"] += 1

    def _step(self, scheduler: Scheduler) -> None:
        for request, event in scheduler.step():
            assert request not in self._ends, "an event after the last one"
            if isinstance(event, Finished):
                self._ends[request] = event
                generated = event.usage.thinking_tokens + event.usage.answer_tokens
                assert self._scored[request] == (0 if request.top_logprobs is None else generated)
                self.counts[f"ended: {event.reason}"] += 1
                self.counts[f"thinking ended: {event.thinking_end}"] += 1
            elif isinstance(event, Prefill):
                self._states[request] = "being prefilled"
            elif isinstance(event, Thinking | Answer):
                self._states[request] = "thinking" if isinstance(event, Thinking) else "answering"
                self._texts[request] += event.text
            elif isinstance(event, Scored):
                self._scored[request] += 1
            elif isinstance(event, Rewound):
                self._scored[request] -= event.dropped if request.top_logprobs is not None else 0
                self.counts["went back"] += 1
                self._texts[request] = event.thinking
                self._went_back.add(request)
        if any(waiting.paused for waiting in scheduler._waiting):
            self.counts["a reply is paused"] += 1
        native = llama()
        memory = native.llama_get_memory(scheduler.context.handle)
        for sequence in scheduler.context.sequences:
            held = native.llama_memory_seq_pos_max(memory, sequence.number) + 1
            assert held == len(sequence), f"llama.cpp holds {held} tokens, and we count {len(sequence)}"

    def _check_texts(self) -> None:
        assert self._ends.keys() == self._asked.keys(), "a request without an end"
        for request, asked in self._asked.items():
            text, reply = self._texts[request], self.alone.reply(asked)
            is_complete = self._ends[request].reason in {"stop", "length"}
            whole = reply.text if request in self._went_back or not reply.text_before else reply.text_before
            expected = whole if is_complete else whole[: len(text)]
            if text != expected:
                position = common_length(text, expected)
                margin = reply.margin_at(position)
                assert margin < _NEAR_TIE, f"{asked}: {text!r} is not {expected!r}; the margin was {margin}"
                self.differences += 1

    def _check_cells(self, scheduler: Scheduler) -> None:
        """No cell is lost: neither by our count, nor in llama.cpp, whose pool can be filled again."""
        context = scheduler.context
        assert scheduler.free_cells == context.cells
        for sequence in context.sequences:
            sequence.truncate(0)
        assert context.free_cells == context.cells
        while context.free_cells:
            sequence = min(context.sequences, key=len)
            count = min(context.rows.alone, context.free_cells)
            context.decode([Part(sequence, [self.model.control.bos] * count)])


def main() -> None:
    """Prints what happened, and raises at the first case that fails."""
    from r1_quantize import catalog
    from r1_quantize.builtin import ensure_tiny
    from r1_quantize.store.store import Store

    parser = argparse.ArgumentParser(description="Random schedules of requests.")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--cases", type=int, default=500)
    parser.add_argument("--case", type=int, help="only this one")
    options = parser.parse_args()
    counts: Counter[str] = Counter()
    with TemporaryDirectory() as folder:
        ensure_tiny(Store(Path(folder), catalog.load()))
        with Model(Path(folder) / "models" / "tiny" / "Q8_0.gguf") as model:
            alone = Alone(model)
            numbers = range(options.cases) if options.case is None else [options.case]
            for number in numbers:
                case = Case(model, alone, seed=options.seed * 1_000_000 + number)
                try:
                    case.run()
                except AssertionError as exc:
                    raise SystemExit(f"case {number} of seed {options.seed}: {exc}") from exc
                counts += case.counts
                counts["texts that differ by a near tie"] += case.differences
    for what, count in sorted(counts.items()):
        print(f"{count:7}  {what}")


if __name__ == "__main__":
    main()
