"""`r1.engine.logprobs`: the scores of a reply's tokens, against the logits that llama.cpp gives."""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import pytest

from r1.engine import generation, sampling_pool, thinking
from r1.engine.context import Context, ContextParams, Part
from r1.engine.events import Answer, Event, Finished, Rewound, Scored, Thinking
from r1.engine.llama import llama
from r1.engine.logprobs import Scorer
from r1.engine.model import Model
from r1.engine.prompt import NO_THINKING, NOTHING_GIVEN, Conversation, prompt_segments
from r1.engine.request import Request
from r1.engine.sampling import SamplingParams
from r1.engine.scheduler import Scheduler, generate
from r1.engine.thinking import UNGUARDED, ThinkingParams
from r1.machine.cores import Threads
from scripts.schedules import PretendedLoop
from tests.fakes.scripted import END, ScriptedSampler

NEAR = 2e-5
"""Float32 has 24 bits; the log-probabilities of `tiny` are down to -50."""

THOUGHT = "We add the ones, then the tens, and carry what is left over."


def request_for(model: Model, question: str = "What is 17 + 25?", top: int | None = 5, **options: Any) -> Request:
    params = options.get("thinking", UNGUARDED)
    prompt = prompt_segments(model, Conversation(), question, NO_THINKING if params.budget == 0 else NOTHING_GIVEN)
    options = {"sampling": SamplingParams(temperature=0.9, seed=5, max_tokens=200), **options}
    return Request(prompt, top_logprobs=top, **options)


@dataclass(frozen=True, slots=True)
class Row:
    """The logits after some tokens, as llama.cpp's own function gives them."""

    logits: tuple[float, ...]

    def logprob(self, token: int) -> float:
        """In double precision, term by term."""
        return self.logits[token] - _log_of_sum(self.logits)

    def likeliest(self, count: int) -> list[int]:
        return sorted(range(len(self.logits)), key=lambda token: -self.logits[token])[:count]


@cache
def _log_of_sum(logits: tuple[float, ...]) -> float:
    peak = max(logits)
    return peak + math.log(math.fsum(math.exp(logit - peak) for logit in logits))


def watched(context: Context) -> dict[int, list[Row]]:
    """The rows of each sequence from now on, by its number; they are read before anything else can change them."""
    rows: dict[int, list[Row]] = {sequence.number: [] for sequence in context.sequences}
    decode, size = context.decode, context.model.vocabulary_size

    def read(parts: Sequence[Part]) -> list[int]:
        places = decode(parts)
        for part, place in zip(parts, places, strict=True):
            if part.has_logits:
                pointer = llama().llama_get_logits_ith(context.handle, place)
                rows[part.sequence.number].append(Row(tuple(pointer[:size])))
        return places

    context.decode = read  # type: ignore[method-assign]
    return rows


def check(model: Model, scores: list[Scored], rows: list[Row], count: int) -> None:
    """Each score is that of the logits which came before its token."""
    assert scores
    for score, row in zip(scores, rows, strict=False):  # the end of the turn has logits and no score
        assert [piece for piece, _ in score.top] == [model.piece(token) for token in row.likeliest(count)]
        for (_, logprob), token in zip(score.top, row.likeliest(count), strict=True):
            assert logprob == pytest.approx(row.logprob(token), abs=NEAR)
        logprobs = [row.logprob(token) for token in ids_of(model)[score.piece]]
        assert min(abs(score.logprob - logprob) for logprob in logprobs) < NEAR


@cache
def ids_of(model: Model) -> dict[bytes, list[int]]:
    """The tokens with the same bytes; mostly there is one."""
    ids: dict[bytes, list[int]] = {}
    for token in range(model.vocabulary_size):
        ids.setdefault(model.piece(token), []).append(token)
    return ids


def scores_in(events: list[Event]) -> list[Scored]:
    return [event for event in events if isinstance(event, Scored)]


def text_in(events: list[Event], kind: type[Thinking | Answer]) -> str:
    return "".join(event.text for event in events if isinstance(event, kind))


@pytest.fixture
def several(model: Model) -> Iterator[Context]:
    params = ContextParams(384, threads=Threads.of(1), sequences=3, cells=3 * 384)
    with Context(model, params) as made:
        yield made


SCENES: dict[str, tuple[str, dict[str, Any]]] = {
    "natural": (f"{THOUGHT}\n</think>\n\nIt is 42.{END}", {}),
    "no thinking": (f"It is 42.{END}", {"thinking": ThinkingParams(budget=0)}),
    "budget": (f"{THOUGHT}", {"thinking": ThinkingParams(budget=9)}),
    "end of turn": (f"We add.{END}It is 42.{END}", {}),
    "end of turn, no answer": (f"We add.{END}{END}", {}),
    "user": (f"{THOUGHT}", {"answer_now": lambda: True}),
    "form": ("We add.</think>", {"grammar": 'root ::= "{\\"sum\\": " [0-9]{1,3} "}"'}),
    "text": (f" {THOUGHT}\n{END}", {"continues": "text"}),
}


class TestValues:
    """They are the logarithms of the softmax over llama.cpp's logits, whatever chooses the token."""

    @pytest.mark.parametrize("scene", SCENES)
    def test_are_the_models_own(
        self, context: Context, model: Model, monkeypatch: pytest.MonkeyPatch, scene: str
    ) -> None:
        script, options = SCENES[scene]
        monkeypatch.setattr(generation, "Sampler", ScriptedSampler(model, script))
        rows = watched(context)[0]
        events = list(generate(Scheduler(context), request_for(model, **options)))
        end, scores = events[-1], scores_in(events)
        assert isinstance(end, Finished)
        assert end.reason == "stop"
        assert len(scores) == end.usage.thinking_tokens + end.usage.answer_tokens == len(rows) - 1
        check(model, scores, rows, 5)

    @pytest.mark.parametrize("count", [0, 1, 20])
    def test_of_as_many_tokens_as_were_asked_for(self, context: Context, model: Model, count: int) -> None:
        rows = watched(context)[0]
        events = list(generate(Scheduler(context), request_for(model, top=count)))
        assert {len(score.top) for score in scores_in(events)} == {count}
        check(model, scores_in(events), rows, count)

    @pytest.mark.parametrize("pays", [0, 10**9], ids=["with threads", "without"])
    def test_of_several_sequences(
        self, several: Context, model: Model, monkeypatch: pytest.MonkeyPatch, pays: int
    ) -> None:
        """Two share a prompt: the second one begins from the logits that were kept of the first one's."""
        monkeypatch.setattr(sampling_pool, "_PAYS", pays)
        several.threads = replace(several.threads, prefill=2)
        scheduler, rows = Scheduler(several), watched(several)
        asked = [request_for(model, question, thinking=ThinkingParams(budget=12, reserve=0)) for question in "112"]
        for request in asked:
            scheduler.submit(request)
        events: dict[Request, list[Event]] = {request: [] for request in asked}
        numbers: dict[Request, int] = {}
        while not scheduler.is_idle:
            for request, event in scheduler.step():
                events[request].append(event)
            numbers |= {each.request: each.sequence.number for each in scheduler._running}
        first, second, third = asked
        assert len({*numbers.values()}) == 3
        rows[numbers[second]].insert(0, rows[numbers[first]][0])
        for request in asked:
            check(model, scores_in(events[request]), rows[numbers[request]], 5)
        assert scores_in(events[first])[0].top == scores_in(events[second])[0].top
        with Context(model, ContextParams(384, threads=Threads.of(1))) as alone:
            again = scores_in(list(generate(Scheduler(alone), request_for(model, "2", thinking=third.thinking))))
        assert again[0].top == scores_in(events[third])[0].top  # a prefill gives the same bits in any company

    def test_equal_logits_come_in_the_order_of_the_vocabulary(self) -> None:
        scorer = Scorer(lambda token: bytes([token]), 3)
        scorer.look(memoryview(array("f", [1.0, 2.0, 2.0, 0.0, 2.0])))
        score = scorer.score(0, is_thinking=True)
        assert [piece for piece, _ in score.top] == [b"\x01", b"\x02", b"\x04"]
        assert score.logprob == pytest.approx(1 - math.log(3 * math.e**2 + math.e + 1), abs=NEAR)

    def test_logits_too_large_for_exp(self) -> None:
        scorer = Scorer(lambda token: bytes([token]), 1)
        scorer.look(memoryview(array("f", [-3e4, 3e4, 3e4])))
        assert scorer.score(1, is_thinking=False).logprob == pytest.approx(-math.log(2))
        assert scorer.score(0, is_thinking=False).logprob == pytest.approx(-6e4 - math.log(2))


class TestEvents:
    """A score comes before the text of its token, and changes nothing else."""

    @pytest.mark.parametrize("params", [UNGUARDED, ThinkingParams(budget=20)])
    def test_the_others_are_those_without_scores(self, context: Context, model: Model, params: ThinkingParams) -> None:
        scored, plain = (
            list(generate(Scheduler(context), request_for(model, top=top, thinking=params))) for top in (5, None)
        )
        assert not scores_in(plain)
        assert [event for event in scored if not isinstance(event, Scored)][:-1] == plain[:-1]

    def test_the_pieces_are_the_text(self, context: Context, model: Model) -> None:
        events = list(generate(Scheduler(context), request_for(model, "How many r's are in strawberry?")))
        trace = b"".join(score.piece for score in scores_in(events) if score.is_thinking).decode()
        answer = b"".join(score.piece for score in scores_in(events) if not score.is_thinking).decode()
        assert trace.strip() == f"{text_in(events, Thinking)}\n</think>"
        assert answer.strip() == text_in(events, Answer)
        begun = 0
        for event in events:
            begun += isinstance(event, Scored)
            assert not isinstance(event, Thinking) or event.tokens == begun

    def test_after_going_back_the_first_ones_count(
        self, context: Context, model: Model, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(thinking, "LoopDetector", PretendedLoop)
        rows = watched(context)[0]
        events = list(generate(Scheduler(context), request_for(model, thinking=ThinkingParams(reserve=0))))
        check(model, scores_in(events), rows, 5)
        trace: list[Scored] = []
        for event in events:
            if isinstance(event, Scored) and event.is_thinking:
                trace.append(event)
            elif isinstance(event, Rewound):
                assert len(trace) == event.tokens + event.dropped
                del trace[event.tokens :]
                assert b"".join(score.piece for score in trace).decode().strip() == event.thinking.strip()
        end = events[-1]
        assert isinstance(end, Finished)
        assert end.usage.discarded_tokens > 0
        assert len(trace) == end.usage.thinking_tokens


def test_a_vocabulary_of_a_real_model() -> None:
    """150,000 logits, added up in double precision."""
    logits = [math.sin(number) * 9 for number in range(150_000)]
    scorer = Scorer(lambda token: b"%d" % token, 2)
    scorer.look(memoryview(array("f", logits)))
    best = max(range(150_000), key=logits.__getitem__)
    score = scorer.score(best, is_thinking=True)
    total = math.log(math.fsum(math.exp(logit - 9) for logit in logits)) + 9
    assert score.logprob == pytest.approx(logits[best] - total, abs=NEAR)
