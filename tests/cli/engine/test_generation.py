"""`r1.engine.generation`: a turn as a stream of events, on the built-in model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from r1.engine.context import Context, ContextParams, Part
from r1.engine.events import Answer, Event, Finished, Prefill, Thinking, Thought
from r1.engine.llama import Stop
from r1.engine.model import Model
from r1.engine.prompt import Conversation, prompt_segments
from r1.engine.request import Request
from r1.engine.sampling import SamplingParams
from r1.engine.scheduler import Scheduler, generate
from r1.machine.cores import Threads

GREEDY = SamplingParams(temperature=0)
QUESTION = "What is 17 + 25?"


def ask(model: Model, question: str = QUESTION) -> list[list[int]]:
    return prompt_segments(model, Conversation(), question)


def reply(context: Context, prompt: list[list[int]], sampling: SamplingParams, **options: Any) -> Iterator[Event]:
    return generate(Scheduler(context), Request(prompt, sampling, **options))


def record(context: Context) -> list[int]:
    """The tokens that are decoded from now on."""
    decoded: list[int] = []
    decode = context.decode

    def recorded(parts: Sequence[Part]) -> list[int]:
        decoded.extend(token for part in parts for token in part.tokens)
        return decode(parts)

    context.decode = recorded  # type: ignore[method-assign]
    return decoded


def total(prompt: list[list[int]]) -> int:
    return sum(map(len, prompt))


def finished(events: list[Event]) -> Finished:
    assert isinstance(events[-1], Finished)
    return events[-1]


def texts(events: list[Event], kind: type[Thinking | Answer]) -> str:
    return "".join(event.text for event in events if isinstance(event, kind))


class TestEvents:
    """Prefill, then thinking, then the answer, then the end."""

    def test_come_in_order(self, context: Context, model: Model) -> None:
        kinds = [type(event) for event in reply(context, ask(model), GREEDY)]
        order = [Prefill, Thinking, Thought, Answer, Finished]
        assert kinds == sorted(kinds, key=order.index)
        assert set(kinds) == set(order)

    def test_prefill_ends_with_the_complete_prompt(self, context: Context, model: Model) -> None:
        prompt = ask(model, "word " * 100)
        prefills = [event for event in reply(context, prompt, GREEDY) if isinstance(event, Prefill)]
        assert prefills[-1] == Prefill(total(prompt), total(prompt))

    def test_events_count_tokens(self, context: Context, model: Model) -> None:
        events = list(reply(context, ask(model), GREEDY))
        usage = finished(events).usage
        counts = [event.tokens for event in events if isinstance(event, Thinking)]
        assert counts == sorted(counts)
        assert [event.tokens for event in events if isinstance(event, Thought)] == [usage.thinking_tokens]
        assert [event.tokens for event in events if isinstance(event, Answer)][-1] == usage.answer_tokens

    def test_the_trace_contains_no_tag_and_the_answer_no_trace(self, context: Context, model: Model) -> None:
        events = list(reply(context, ask(model), GREEDY))
        thinking, answer = texts(events, Thinking), texts(events, Answer)
        assert thinking
        assert "\\boxed{" in answer
        assert "think>" not in thinking + answer
        assert (thinking, answer) == (thinking.strip(), answer.strip())

    def test_usage_counts_every_generated_token(self, context: Context, model: Model) -> None:
        prompt = ask(model)
        decoded = record(context)
        usage = finished(list(reply(context, prompt, GREEDY))).usage
        assert usage.prompt_tokens == total(prompt)
        # every generated token but the last, which ended the turn, was decoded into the cache
        assert len(decoded) == total(prompt) + usage.thinking_tokens + usage.answer_tokens

    def test_timings_are_plausible(self, context: Context, model: Model) -> None:
        timings = finished(list(reply(context, ask(model), GREEDY))).timings
        assert 0 < timings.ttft_s < timings.total_s
        assert timings.prefill_tps > 0
        assert timings.decode_tps > 0


class TestEnds:
    """Every way a turn can end."""

    def test_stop_when_the_model_ends_its_turn(self, context: Context, model: Model) -> None:
        assert finished(list(reply(context, ask(model), GREEDY))).reason == "stop"

    @pytest.mark.parametrize("limit", [1, 5, 17])
    def test_length_after_exactly_max_tokens(self, context: Context, model: Model, limit: int) -> None:
        events = list(reply(context, ask(model), SamplingParams(0, max_tokens=limit)))
        end = finished(events)
        assert end.reason == "length"
        assert end.usage.thinking_tokens + end.usage.answer_tokens == limit

    def test_context_when_the_cache_is_full(self, endless_path: Path) -> None:
        with Model(endless_path) as endless, Context(endless, ContextParams(256, threads=Threads.of(1))) as small:
            end = finished(list(reply(small, ask(endless), GREEDY)))
        assert end.reason == "context"
        assert end.usage.prompt_tokens + end.usage.thinking_tokens + end.usage.answer_tokens == 256 + 1

    def test_interrupted_within_one_token(self, context: Context, model: Model) -> None:
        request = Request(ask(model), GREEDY)
        events: list[Event] = []
        for event in generate(Scheduler(context), request):
            events.append(event)
            if texts(events, Thinking):
                request.cancel()
        assert [type(event) for event in events] == [Prefill, Prefill, Thinking, Finished]
        assert finished(events).reason == "interrupted"

    def test_interrupted_between_two_chunks_of_the_prefill(self, context: Context, model: Model) -> None:
        request = Request(ask(model, "word " * 100), GREEDY)
        events: list[Event] = []
        for event in generate(Scheduler(context), request):
            events.append(event)
            request.cancel()
        assert [type(event) for event in events] == [Prefill, Finished]
        assert finished(events).reason == "interrupted"

    def test_the_engines_stop_ends_it_as_well(self, model: Model) -> None:
        stop = Stop()
        events: list[Event] = []
        with Context(model, ContextParams(1024, threads=Threads.of(1)), stop) as context:
            for event in reply(context, ask(model), GREEDY):
                events.append(event)
                if texts(events, Thinking):
                    stop.set()
        assert finished(events).reason == "interrupted"
        assert finished(events).usage.answer_tokens == 0

    def test_stop_where_the_thinking_ends_when_only_thinking_is_wanted(self, context: Context, model: Model) -> None:
        events = list(reply(context, ask(model), GREEDY, stop_after_thinking=True))
        assert finished(events).reason == "stop"
        assert finished(events).usage.answer_tokens == 0
        assert texts(events, Thinking)


class TestAnswerNow:
    """Esc closes the thinking the way R1 does, and the answer begins."""

    def test_closes_the_thinking_where_it_is(self, context: Context, model: Model) -> None:
        calls = count()
        events = list(reply(context, ask(model), GREEDY, answer_now=lambda: next(calls) >= 8))
        complete = texts(list(reply(context, ask(model), GREEDY)), Thinking)
        assert complete.startswith(texts(events, Thinking))
        assert len(texts(events, Thinking)) < len(complete)
        assert texts(events, Answer)
        assert finished(events).reason == "stop"

    def test_the_model_sees_the_closing_tokens(self, context: Context, model: Model) -> None:
        prompt = ask(model)
        decoded = record(context)
        list(reply(context, prompt, SamplingParams(0, max_tokens=3), answer_now=lambda: True))
        closed = [*model.tokenize("\n"), model.control.end_think]
        assert decoded[total(prompt) :] == closed

    def test_has_no_effect_once_the_answer_has_begun(self, context: Context, model: Model) -> None:
        events = list(reply(context, ask(model), GREEDY))
        steered: list[Event] = []
        answering = lambda: any(isinstance(event, Answer) for event in steered)  # noqa: E731
        steered.extend(reply(context, ask(model), GREEDY, answer_now=answering))
        assert texts(steered, Answer) == texts(events, Answer)


class TestSeeds:
    """The same seed gives the same text."""

    def test_the_same_seed_gives_the_same_tokens(self, context: Context, model: Model) -> None:
        wild = SamplingParams(temperature=2.0, top_p=1.0, seed=7, max_tokens=60)
        first = list(reply(context, ask(model), wild))
        again = list(reply(context, ask(model), wild))
        assert texts(first, Thinking) + texts(first, Answer) == texts(again, Thinking) + texts(again, Answer)

    def test_another_seed_gives_another_text(self, context: Context, model: Model) -> None:
        seen = set()
        for seed in range(4):
            wild = SamplingParams(temperature=3.0, top_p=1.0, seed=seed, max_tokens=60)
            events = list(reply(context, ask(model), wild))
            seen.add(texts(events, Thinking) + texts(events, Answer))
        assert len(seen) == 4

    def test_another_prompt_in_between_changes_nothing(self, context: Context, model: Model) -> None:
        wild = SamplingParams(temperature=1.5, seed=3, max_tokens=80)
        long = ask(model, "word " * 60 + QUESTION)
        first = list(reply(context, long, wild))
        list(reply(context, ask(model, "word " * 60 + "something else"), wild))
        again = list(reply(context, long, wild))
        assert texts(first, Thinking) + texts(first, Answer) == texts(again, Thinking) + texts(again, Answer)
