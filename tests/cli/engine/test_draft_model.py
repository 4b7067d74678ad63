"""`r1.engine.draft_model`: a second context drafts for the first one. The built-in model drafts for itself here."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import pytest

from r1.engine.context import Context, ContextParams
from r1.engine.draft_model import DraftModel, shared_tokens
from r1.engine.events import Event, Finished
from r1.engine.llama import Stop
from r1.engine.model import Model
from r1.engine.prompt import Conversation, Turn, prompt_segments
from r1.engine.request import Request
from r1.engine.sampling import SamplingParams
from r1.engine.scheduler import Scheduler, generate
from r1.machine.cores import Threads
from tests.cli.engine.test_draft import essence
from tests.cli.engine.test_generation import finished

QUESTION = "What is 17 + 25?"
LENGTH = 1024


def drafts_in(model: Model, length: int = LENGTH, sequences: int = 1) -> Context:
    params = ContextParams(length, threads=Threads.of(1), sequences=sequences, cells=length * sequences)
    return Context(model, params)


def ask(question: str, model: Model, turns: list[Turn] | None = None, **options: float) -> Request:
    prompt = prompt_segments(model, Conversation(turns=turns or []), question)
    sampling = SamplingParams(options.get("temperature", 0), seed=5, max_tokens=300)
    return Request(prompt, sampling, keeps_threads=True, speculate="draft")


@pytest.fixture
def drafting(model: Model) -> Iterator[Context]:
    """The context of the draft model."""
    with drafts_in(model) as context:
        yield context


def scheduler(context: Context, drafting: Context, cost: float = 0.1) -> Scheduler:
    return Scheduler(context, draft_model=DraftModel(drafting, cost, drafting.model.vocabulary_size))


class TestReplies:
    @pytest.mark.parametrize("temperature", [0, 0.6, 1.5])
    def test_are_those_without_drafts(
        self, model: Model, context: Context, drafting: Context, temperature: float
    ) -> None:
        plain = list(generate(Scheduler(context), ask(QUESTION, model, temperature=temperature)))
        context.sequences[0].truncate(0)
        drafted = list(generate(scheduler(context, drafting), ask(QUESTION, model, temperature=temperature)))
        assert essence(drafted) == essence(plain)
        counts = finished(drafted).drafted
        assert counts is not None
        assert counts.accepted > 20

    def test_greedy_ones_of_the_same_model_accept_everything(
        self, model: Model, context: Context, drafting: Context
    ) -> None:
        """Up to the end of the turn, which the draft may go beyond."""
        counts = finished(list(generate(scheduler(context, drafting), ask(QUESTION, model)))).drafted
        assert counts is not None
        assert counts.proposed - 63 <= counts.accepted <= counts.proposed
        assert counts.tokens_per_pass > 3

    def test_after_a_long_prompt_the_draft_model_catches_up_first(
        self, model: Model, context: Context, drafting: Context
    ) -> None:
        """By a chunk in each pass, so that the reply goes on meanwhile."""
        question = f"{'Take the time that you need. ' * 21}{QUESTION}"
        request = ask(question, model)
        assert request.prompt_tokens > 2 * drafting.rows.several
        engine = scheduler(context, drafting)
        engine.submit(request)
        held = []
        while not engine.is_idle and len(drafting.sequences[0]) < request.prompt_tokens:
            engine.step()
            held.append(len(drafting.sequences[0]))
        assert {after - before for before, after in pairwise(held)} >= {drafting.rows.several}
        while not engine.is_idle:
            last = engine.step()[-1][1]
        assert isinstance(last, Finished)
        assert last.drafted is not None
        assert last.drafted.accepted > 20

    def test_a_second_turn_prefills_only_what_is_new(self, model: Model, context: Context, drafting: Context) -> None:
        engine = scheduler(context, drafting)
        list(generate(engine, ask(QUESTION, model)))
        first = len(drafting.sequences[0])
        decoded = []
        decode = drafting.decode
        drafting.decode = lambda parts: decoded.append(len(parts[0].tokens)) or decode(parts)  # type: ignore[method-assign, func-returns-value]
        list(generate(engine, ask("What is 5 + 8?", model, [Turn(QUESTION, "", "It is 42.")])))
        assert max(decoded) < first

    def test_end_where_the_draft_model_has_no_room(self, model: Model, context: Context) -> None:
        """The reply goes on without drafts."""
        plain = list(generate(Scheduler(context), ask(QUESTION, model)))
        usage = finished(plain).usage
        context.sequences[0].truncate(0)
        with drafts_in(model, usage.prompt_tokens + 20) as small:
            drafted = list(generate(scheduler(context, small), ask(QUESTION, model)))
        assert essence(drafted) == essence(plain)
        counts = finished(drafted).drafted
        assert counts is not None
        assert 0 < counts.proposed < 20

    def test_several_at_once_each_have_a_sequence(self, model: Model) -> None:
        questions = [f"What is {number} + {number}?" for number in (11, 23, 35)]
        with drafts_in(model, sequences=3) as context, drafts_in(model, sequences=3) as drafting:
            engine = scheduler(context, drafting, cost=0.01)
            requests = [ask(question, model) for question in questions]
            for request in requests:
                engine.submit(request)
            accepted = {}
            while not engine.is_idle:
                for request, event in engine.step():
                    if isinstance(event, Finished) and event.drafted:
                        accepted[request] = event.drafted.accepted
        assert all(accepted[request] > 0 for request in requests)

    def test_a_stop_while_it_drafts_ends_the_reply(self, model: Model, context: Context) -> None:
        stop = Stop()
        params = ContextParams(LENGTH, threads=Threads.of(1))
        with Context(model, params, stop) as target, Context(model, params, stop) as drafting:
            engine = scheduler(target, drafting)
            engine.submit(ask(QUESTION, model))
            for _ in range(6):
                engine.step()
            decode = drafting.decode

            def stopped(parts: object) -> list[int]:
                stop.set()
                return decode(parts)  # type: ignore[arg-type]

            drafting.decode = stopped  # type: ignore[method-assign]
            last = None
            while not engine.is_idle:
                last = engine.step()[-1][1]
            assert isinstance(last, Finished)
            assert last.reason == "interrupted"


def paused(engine: Scheduler, model: Model, tokens: int) -> tuple[list[Event], list[Event]]:
    """The events of two replies, the second of which is paused when its sequence has so many tokens of it."""
    first, second = ask(QUESTION, model), ask("What is 12 + 34?", model)
    events: dict[Request, list[Event]] = {first: [], second: []}

    def step() -> None:
        for request, event in engine.step():
            events[request].append(event)

    for request in (first, second):
        engine.submit(request)
    while engine.running < 2 or engine._running[1].token is None:
        step()
    generation = engine._running[1]
    while len(generation.sequence) - second.prompt_tokens < tokens:
        step()
    engine._put_back(generation)  # as when the cells run out
    while not engine.is_idle:
        step()
    return events[first], events[second]


class TestSequences:
    """Each reply that runs has one of the draft model's own, with what others have left in it."""

    @pytest.mark.parametrize("tokens", [0, 1, 2, 5])
    def test_a_reply_that_was_paused_goes_on_with_drafts(self, model: Model, tokens: int) -> None:
        """Also if a single token of it is to be prefilled again."""
        with drafts_in(model, sequences=2) as context, drafts_in(model, sequences=2) as drafting:
            replies = paused(scheduler(context, drafting, cost=0.01), model, tokens)
        with drafts_in(model, sequences=2) as context:
            plain = paused(Scheduler(context), model, tokens)
        for reply, without in zip(replies, plain, strict=True):
            assert essence(reply)[:2] == essence(without)[:2]
        drafted = finished(replies[1]).drafted
        assert drafted is not None
        assert drafted.accepted > 20

    def test_a_later_one_takes_the_cells_of_idle_ones(self, model: Model) -> None:
        """The replies before it have filled them."""
        params = ContextParams(400, threads=Threads.of(1), sequences=3, cells=400)
        with drafts_in(model, sequences=3) as context, Context(model, params) as drafting:
            engine = scheduler(context, drafting)
            proposed = []
            for number in range(5):
                question = f"{number} and {number} " * 12 + QUESTION
                drafted = finished(list(generate(engine, ask(question, model)))).drafted
                assert drafted is not None
                proposed.append(drafted.proposed)
        assert min(proposed) > 20

    def test_with_a_seed_what_was_asked_before_changes_no_draft(self, model: Model, context: Context) -> None:
        with drafts_in(model) as drafting:
            engine = scheduler(context, drafting)
            counts = [finished(list(generate(engine, ask(QUESTION, model)))).drafted for _ in range(2)]
        assert counts[0] is not None
        assert counts[1] is not None
        assert (counts[0].proposed, counts[0].passes) == (counts[1].proposed, counts[1].passes)

    def test_one_that_fails_costs_the_drafts_and_not_the_reply(self, model: Model, context: Context) -> None:
        plain = list(generate(Scheduler(context), ask(QUESTION, model)))
        context.sequences[0].truncate(0)
        with drafts_in(model) as drafting:
            engine = scheduler(context, drafting)
            drafting.close()  # whatever it is asked now, it refuses
            assert essence(list(generate(engine, ask(QUESTION, model)))) == essence(plain)


def test_all_tokens_are_shared_with_itself(model: Model) -> None:
    assert shared_tokens(model, model) == model.vocabulary_size
