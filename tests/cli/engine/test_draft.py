"""`r1.engine.draft` and `r1.engine.decoding`: drafts change how fast a reply is, and nothing else.

The built-in model on one thread gives the same bits in a batch of one token and of several, so that replies can be
compared token by token, at any temperature.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from r1.engine import draft as drafting
from r1.engine import generation
from r1.engine.context import Context, ContextParams
from r1.engine.draft import ExpectedCosts, PassCosts, Prospect, Speculation
from r1.engine.events import Answer, Event, Finished, Rewound, Scored, Thinking, Thought
from r1.engine.kv_types import MOST_DRAFTED
from r1.engine.llama import Stop
from r1.engine.model import Model
from r1.engine.prompt import NO_THINKING, NOTHING_GIVEN, Conversation, prompt_segments
from r1.engine.request import Request
from r1.engine.sampling import SamplingParams
from r1.engine.scheduler import Scheduler, generate
from r1.engine.thinking import ThinkingParams
from r1.machine.cores import Threads
from scripts.drafts import Place, chi_square, drawn, improbability, undecided
from scripts.schedules import Guesses, Heedless
from tests.cli.engine.test_generation import finished, record
from tests.fakes.scripted import ScriptedSampler

QUESTIONS = tuple(f"What is {number} + {3 * number + 8}?" for number in range(11, 97, 17))


@pytest.fixture
def context(model: Model) -> Iterator[Context]:
    """Room for the longest replies of the built-in model."""
    with Context(model, ContextParams(1024, threads=Threads.of(1))) as made:
        yield made


def essence(events: list[Event]) -> list[object]:
    """What a reader sees: the text, where the thinking ended, going back, scores, and the end with its counts."""
    thinking = "".join(event.text for event in events if isinstance(event, Thinking))
    answer = "".join(event.text for event in events if isinstance(event, Answer))
    others = [event for event in events if isinstance(event, Thought | Rewound | Scored)]
    last = events[-1]
    assert isinstance(last, Finished)
    return [thinking, answer, *others, last.reason, last.thinking_end, last.usage]


Make = Callable[[], Request]


def plain_reply(context: Context, make: Make) -> tuple[list[Event], list[int], int]:
    """The events without drafts, the tokens of the reply as they were decoded, and the length of the prompt."""
    context.sequences[0].truncate(0)
    decode = context.decode
    decoded = record(context)
    request = make()
    events = list(generate(Scheduler(context), request))
    context.decode = decode  # type: ignore[method-assign]
    return events, decoded[request.prompt_tokens :], request.prompt_tokens


def guessing(context: Context, reply: list[int], start: int, seed: int) -> Scheduler:
    """A scheduler whose replies have right and wrong drafts."""
    scheduler = Scheduler(context)
    guesses = Guesses(reply, start, random.Random(seed))
    scheduler._speculation = lambda *_: Heedless([guesses])  # type: ignore[method-assign]
    return scheduler


def drafted_reply(context: Context, make: Make, reply: list[int], start: int, seed: int) -> list[Event]:
    context.sequences[0].truncate(0)
    return list(generate(guessing(context, reply, start, seed), make()))


def accepted(events: list[Event]) -> int:
    drafted = finished(events).drafted
    assert drafted is not None
    return drafted.accepted


class TestText:
    """Whatever is drafted, the reply is the one without drafts."""

    @pytest.mark.parametrize("question", QUESTIONS)
    @pytest.mark.parametrize("temperature", [0, 0.6, 1.5])
    def test_of_a_seed(self, model: Model, context: Context, question: str, temperature: float) -> None:
        prompt = prompt_segments(model, Conversation(), question)

        def make() -> Request:
            return Request(prompt, SamplingParams(temperature, seed=7, max_tokens=200))

        events, reply, start = plain_reply(context, make)
        for seed in range(4):
            drafted = drafted_reply(context, make, reply, start, seed)
            assert essence(drafted) == essence(events)
            assert accepted(drafted) > 10

    @pytest.mark.parametrize(
        "options",
        [
            {"thinking": ThinkingParams(12)},
            {"thinking": ThinkingParams(30)},
            {"grammar": 'root ::= [0-9]+ | "no"'},
            {"thinking": ThinkingParams(10), "grammar": 'root ::= "It is " [0-9]+ "."'},
            {"top_logprobs": 3},
            {"stop_after_thinking": True},
            {"continues": "answer"},
        ],
        ids=["budget", "longer budget", "form", "budget and form", "scores", "thinking only", "no thinking"],
    )
    def test_with_limits_and_forms(self, model: Model, context: Context, options: dict[str, Any]) -> None:
        beginning = NO_THINKING if options.get("continues") else NOTHING_GIVEN
        prompt = prompt_segments(model, Conversation(), QUESTIONS[0], beginning)
        for max_tokens in (1, 2, 17, 200):

            def make(max_tokens: int = max_tokens) -> Request:
                return Request(prompt, SamplingParams(0.8, seed=3, max_tokens=max_tokens), **options)

            events, reply, start = plain_reply(context, make)
            for seed in range(3):
                assert essence(drafted_reply(context, make, reply, start, seed)) == essence(events)

    def test_that_goes_back_in_its_thinking(
        self, model: Model, context: Context, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """In the middle of a draft that was right so far; what it then says is up to the model again."""
        circle = "Wait, let me look at the ones again, and then at the tens. "
        script = "First we add. " + circle * 12
        prompt = prompt_segments(model, Conversation(), QUESTIONS[0])

        def make() -> Request:
            monkeypatch.setattr(generation, "Sampler", ScriptedSampler(model, script))
            return Request(prompt, SamplingParams(0, max_tokens=600), ThinkingParams(guards_loops=True))

        events, reply, start = plain_reply(context, make)
        assert any(isinstance(event, Rewound) for event in events)
        for seed in range(2):
            drafted = drafted_reply(context, make, reply, start, seed)
            assert essence(drafted) == essence(events)
            assert accepted(drafted) > 10

    def test_that_fills_the_context(self, model: Model) -> None:
        prompt = prompt_segments(model, Conversation(), QUESTIONS[0])
        length = sum(map(len, prompt)) + 9
        with Context(model, ContextParams(length, threads=Threads.of(1))) as small:

            def make() -> Request:
                return Request(prompt, SamplingParams(0))

            events, reply, start = plain_reply(small, make)
            assert essence(events)[-3] == "context"
            for seed in range(5):
                assert essence(drafted_reply(small, make, reply, start, seed)) == essence(events)


class TestDistribution:
    """Of a token that is drawn in the middle of a draft; NumPy says how likely each token is."""

    @pytest.fixture
    def place(self, model: Model) -> Iterator[tuple[Context, Place]]:
        params = ContextParams(512, threads=Threads.of(1), sequences=2, cells=1024)
        with Context(model, params) as context:
            prompts = [prompt_segments(model, Conversation(), question) for question in QUESTIONS]
            found = undecided(context, prompts, 2.5)
            context.sequences[0].truncate(0)
            yield context, found

    def test_is_that_of_the_model(self, place: tuple[Context, Place]) -> None:
        counts = drawn(*place, range(4000), 2.5, has_draft=True)
        assert improbability(*chi_square(counts, place[1].odds)) > 0.001

    def test_another_temperature_would_be_noticed(self, place: tuple[Context, Place]) -> None:
        counts = drawn(*place, range(4000), 2.3, has_draft=True)
        assert improbability(*chi_square(counts, place[1].odds)) < 1e-6


class TestEnds:
    def test_a_cancelled_reply_leaves_nothing_of_its_draft(self, model: Model, context: Context) -> None:
        """The next reply finds the cache as if there had been no draft."""
        prompt = prompt_segments(model, Conversation(), QUESTIONS[0])

        def make() -> Request:
            return Request(prompt, SamplingParams(0))

        events, reply, start = plain_reply(context, make)
        for end in range(1, 12):
            context.sequences[0].truncate(0)
            scheduler = guessing(context, reply, start, seed=end)
            cancelled = make()
            scheduler.submit(cancelled)
            for _ in range(end):
                scheduler.step()
            cancelled.cancel()
            if not scheduler.is_idle:
                [(_, last)] = [each for each in scheduler.step() if isinstance(each[1], Finished)]
                assert essence([last])[2] == "interrupted"
            assert essence(list(generate(scheduler, make()))) == essence(events)

    def test_a_stop_in_the_middle_of_a_pass(self, model: Model) -> None:
        stop = Stop()
        with Context(model, ContextParams(512, threads=Threads.of(1)), stop) as context:
            prompt = prompt_segments(model, Conversation(), QUESTIONS[0])

            def make() -> Request:
                return Request(prompt, SamplingParams(0))

            events, reply, start = plain_reply(context, make)
            context.sequences[0].truncate(0)
            scheduler = guessing(context, reply, start, seed=1)
            scheduler.submit(make())
            for _ in range(5):
                scheduler.step()
            stop.set()
            [(_, last)] = [each for each in scheduler.step() if isinstance(each[1], Finished)]
            assert isinstance(last, Finished)
            assert last.reason == "interrupted"
            stop.clear()
            assert essence(list(generate(scheduler, make()))) == essence(events)


class Sure:
    """A drafter that proposes the same tokens again and again. Each takes `cost` passes, of a second each, times `slip`
    on the clock.
    """

    clock_s = 0.0

    def __init__(self, hope: float, cost: float = 0.0, slip: float = 1.0, reading: float = 0.0) -> None:
        self.hope = hope
        self.reading = reading
        self.cost = cost
        self.spent = 0.0
        self.slip = slip

    def look(self, tokens: list[int], last: int, most: int) -> Prospect:
        return Prospect("same", self.hope, most, self.reading)

    def draft(self, length: int) -> list[int]:
        self.spent = length * self.cost
        Sure.clock_s += self.spent * self.slip
        return [1] * length

    def trial_s(self) -> float:
        return self.cost * self.slip

    def release(self) -> None:
        pass


def spent_on(
    speculation: Speculation, right: Callable[[int], bool], tokens: int, costs: PassCosts
) -> tuple[float, int]:
    """Plain passes that so many tokens take, where a token of a draft is right if `right` says so of its number; and
    the longest draft.
    """
    passes, longest, done, began_s = 0.0, 0, 0, Sure.clock_s
    while done < tokens:
        last = 1 if right(done) else 0
        draft = speculation.draft([], last, MOST_DRAFTED, costs, 0)
        accepted = next((place for place in range(len(draft)) if not right(done + 1 + place)), len(draft))
        passes += costs.ratio(1 + len(draft), 1)
        longest = max(longest, len(draft))
        speculation.passed(None)
        for place in range(min(accepted + 1, len(draft))):
            speculation.checked(is_right=place < accepted)
        done += 1 + accepted
    return passes + Sure.clock_s - began_s, longest


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """The drafters' own."""
    monkeypatch.setattr(drafting, "perf_counter", lambda: Sure.clock_s)


class TestLength:
    """Drafts follow what is measured."""

    @pytest.mark.parametrize("hope", [0.5, 0.85, 1.0])
    @pytest.mark.parametrize("scale", [0.2, 1.0, 4.0])
    @pytest.mark.parametrize(("cost", "slip"), [(0.0, 1), (0.05, 1), (0.05, 4), (0.25, 1), (0.25, 2), (0.25, 0.5)])
    @pytest.mark.parametrize("tokens", [100, 3_000])
    @pytest.mark.usefixtures("clock")
    def test_misses_cost_little(self, hope: float, scale: float, cost: float, slip: float, tokens: int) -> None:
        """3 % at most, besides one pass at the beginning, and what a draft model is slower than expected at first."""
        costs = PassCosts()
        costs.measured(1, 1.0)
        costs._scales = [scale, scale]
        passes, _ = spent_on(Speculation([Sure(hope, cost, slip)]), lambda _: False, tokens, costs)
        assert passes <= 1.03 * tokens + max(1, slip)

    def test_grow_on_success(self) -> None:
        passes, longest = spent_on(Speculation([Sure(0.5)]), lambda _: True, 400, PassCosts())
        assert longest > 16
        assert passes < 400 / 3

    def test_grow_to_the_longest_where_long_passes_cost_little(self) -> None:
        costs = PassCosts()
        costs._scales = [2.5, 0.5]
        passes, longest = spent_on(Speculation([Sure(0.5)]), lambda _: True, 400, costs)
        assert longest == MOST_DRAFTED
        assert passes < 400 / 3

    def test_that_are_half_right_are_shorter(self) -> None:
        choice = random.Random(5)
        passes, longest = spent_on(Speculation([Sure(0.8)]), lambda _: choice.random() < 0.5, 4000, PassCosts())
        assert passes <= 1.03 * 4000 + 1
        assert longest < MOST_DRAFTED

    def test_after_misses_success_is_noticed(self) -> None:
        """It costs nothing to see what a draft would have been worth."""
        speculation, costs = Speculation([Sure(0.5)]), PassCosts()
        spent_on(speculation, lambda _: False, 2000, costs)
        passes, _ = spent_on(speculation, lambda _: True, 200, costs)
        assert passes < 100

    def test_dear_passes_make_no_drafts(self) -> None:
        costs = PassCosts()
        costs._scales = [4.0, 4.0]  # four tokens take more than three times as long as one
        assert Speculation([Sure(0.5)]).draft([], 0, MOST_DRAFTED, costs, 0) == []

    def test_whose_reading_is_not_won_back_wait_until_the_reply_is_long(self) -> None:
        """It is expected to go on for as long again, and for 200 passes."""
        costs, speculation = PassCosts(), Speculation([Sure(0.9, reading=300)])
        assert speculation.draft([], 0, MOST_DRAFTED, costs, 0) == []
        for _ in range(1000):
            speculation.passed(None)
        assert speculation.draft([], 0, MOST_DRAFTED, costs, 0)

    def test_of_a_batch_with_others_are_in_fours(self) -> None:
        """llama.cpp multiplies four rows at once."""
        for others in range(6):
            draft = Speculation([Sure(0.9)]).draft([], 0, MOST_DRAFTED, PassCosts(), others)
            assert not draft or (1 + others + len(draft)) % 4 == 0 or len(draft) == MOST_DRAFTED


class TestCosts:
    def test_are_learnt(self) -> None:
        costs = PassCosts()
        for _ in range(200):
            costs.measured(1, 0.1)
            costs.measured(8, 0.4)
        assert costs.ratio(8, 1) == pytest.approx(4.0, rel=0.01)
        assert costs.ratio(1, 1) == 1.0

    def test_of_long_passes_are_learnt_by_themselves(self) -> None:
        costs = PassCosts()
        before = costs.ratio(64, 1)
        for _ in range(200):
            costs.measured(1, 0.1)
            costs.measured(60, 1.7)
        assert costs.ratio(64, 1) == before
        for _ in range(200):
            costs.measured(64, 0.7)
        assert costs.ratio(64, 1) == pytest.approx(7.0, rel=0.01)
        assert costs.ratio(60, 1) == pytest.approx(17.0, rel=0.01)

    def test_of_a_draft_model_are_learnt(self) -> None:
        costs = PassCosts()
        costs.drafted(0.5, 1.0)
        assert (costs.drafting(0.5), costs.knows_drafting) == (0.5, False)  # there is nothing to compare it with
        costs.measured(1, 0.1)
        for _ in range(50):
            costs.drafted(0.5, 0.1)
        assert costs.drafting(0.5) == pytest.approx(1.0, rel=0.01)

    def test_of_a_draft_model_are_tried_before_its_first_draft(self) -> None:
        """One that turns out to be far slower than its size says makes none."""
        costs, speculation = PassCosts(), Speculation([Sure(0.9, 0.1, slip=10)])
        costs.measured(1, 1.0)
        assert speculation.draft([], 0, MOST_DRAFTED, costs, 0) == []
        assert costs.drafting(0.1) == 1.0

    def test_that_are_expected_never_change(self) -> None:
        costs = ExpectedCosts()
        for _ in range(50):
            costs.measured(1, 0.1)
            costs.measured(8, 0.4)
            costs.drafted(0.5, 0.1)
        assert (costs.ratio(8, 1), costs.drafting(0.5)) == (PassCosts().ratio(8, 1), 0.5)

    def test_of_a_plain_pass_come_before_any_draft_of_a_model(self) -> None:
        costs, speculation = PassCosts(), Speculation([Sure(1.0, 0.05)])
        assert speculation.draft([], 0, MOST_DRAFTED, costs, 0) == []
        costs.measured(1, 1.0)
        assert speculation.draft([], 0, MOST_DRAFTED, costs, 0)

    def test_without_a_measured_plain_pass_are_those_expected(self) -> None:
        costs = PassCosts()
        costs.measured(8, 5.0)
        assert costs.ratio(8, 1) == PassCosts().ratio(8, 1)


class TestLookedUp:
    """Drafts as the program makes them."""

    @pytest.fixture
    def repeating(self, model: Model, monkeypatch: pytest.MonkeyPatch) -> Make:
        """A request whose answer says again and again what it has thought."""
        thought = "The lamp is red, the door is blue, and the key is under the mat."
        script = f"{thought}\n</think>\n\n{thought} {thought} {thought}"
        prompt = prompt_segments(model, Conversation(), QUESTIONS[0])

        def make() -> Request:
            monkeypatch.setattr(generation, "Sampler", ScriptedSampler(model, script))
            return Request(prompt, SamplingParams(0, max_tokens=600))

        return make

    def test_save_passes_where_the_reply_repeats_itself(self, context: Context, repeating: Make) -> None:
        events, reply, _ = plain_reply(context, repeating)
        request = repeating()
        request.speculate, request.keeps_threads = "lookup", True  # drafts of these lengths on any machine
        context.sequences[0].truncate(0)
        again = list(generate(Scheduler(context), request))
        assert essence(again) == essence(events)
        drafted = finished(again).drafted
        assert drafted is not None
        assert drafted.accepted > len(reply) / 3
        assert drafted.accepted <= drafted.proposed
        assert drafted.passes + drafted.accepted == len(reply), "all tokens but the first"
        assert drafted.tokens_per_pass == pytest.approx(len(reply) / drafted.passes)

    def test_are_none_where_nobody_drafts(self, context: Context, repeating: Make) -> None:
        request = repeating()
        assert request.speculate == "off"
        assert finished(list(generate(Scheduler(context), request))).drafted is None

    def test_stand_in_for_a_draft_model_that_is_not_there(self, context: Context, repeating: Make) -> None:
        request = repeating()
        request.speculate, request.keeps_threads = "draft", True
        drafted = finished(list(generate(Scheduler(context), request))).drafted
        assert drafted is not None
        assert drafted.accepted > 0
