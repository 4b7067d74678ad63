"""`r1.engine.thinking` and what `Generation` makes of it: every way the thinking of a reply can end.

The model is the built-in one; a scripted sampler says what it "draws".
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count
from typing import Any

import pytest

from r1.engine import generation
from r1.engine.context import Context, ContextParams
from r1.engine.events import Answer, Event, Finished, Prefill, Rewound, Thinking, Thought
from r1.engine.model import Model
from r1.engine.prompt import NO_THINKING, NOTHING_GIVEN, Continued, Conversation, prompt_segments
from r1.engine.request import Request
from r1.engine.sampling import SamplingParams
from r1.engine.scheduler import Scheduler, generate
from r1.engine.thinking import EFFORTS, UNGUARDED, Step, ThinkingParams, ThinkingPolicy
from r1.machine.cores import Threads
from r1.render.reply_text import ReplyText
from tests.cli.engine.test_generation import record
from tests.fakes.scripted import END, ScriptedSampler, tokens_of

THOUGHT = "We add the ones, then the tens, and carry what is left over."
CIRCLE = "Wait, let me look at the ones again, and then at the tens. "
LOOP = "First we add. " + CIRCLE * 16
ANSWER = "It is 42."


@dataclass(slots=True)
class Replied:
    """A finished reply, and the events about it."""

    thinking: str
    answer: str
    finished: Finished
    events: list[Event]

    @property
    def thought(self) -> Thought:
        (event,) = [event for event in self.events if isinstance(event, Thought)]
        return event

    @property
    def rewinds(self) -> list[Rewound]:
        return [event for event in self.events if isinstance(event, Rewound)]


@pytest.fixture
def roomy(model: Model) -> Iterator[Context]:
    with Context(model, ContextParams(4096, threads=Threads.of(1))) as made:
        yield made


@pytest.fixture
def decoded(roomy: Context) -> list[int]:
    """The tokens that are decoded, in order."""
    return record(roomy)


Ask = Callable[..., Replied]


@pytest.fixture
def ask(roomy: Context, monkeypatch: pytest.MonkeyPatch) -> Ask:
    """Asks a question; the reply is `script`, as far as nothing steps in."""

    def asked(script: str, params: ThinkingParams = UNGUARDED, *, max_tokens: int = 2048, **options: Any) -> Replied:
        monkeypatch.setattr(generation, "Sampler", ScriptedSampler(roomy.model, script))
        request = request_for(roomy.model, params, max_tokens, **options)
        return collected(roomy, request)

    return asked


def request_for(model: Model, params: ThinkingParams, max_tokens: int, **options: Any) -> Request:
    beginning = NO_THINKING if params.budget == 0 else NOTHING_GIVEN
    prompt = prompt_segments(model, Conversation(), "What is 17 + 25?", beginning)
    return Request(prompt, SamplingParams(seed=1, max_tokens=max_tokens), params, **options)


def collected(context: Context, request: Request) -> Replied:
    text, events = ReplyText(), list(generate(Scheduler(context), request))
    replies = [reply for event in events if (reply := text.add(event))]
    return Replied(replies[0].thinking, replies[0].answer, replies[0].finished, events)


def length(model: Model, text: str) -> int:
    return len(model.tokenize(text))


def after(calls: int) -> Callable[[], bool]:
    """False so often, then True."""
    counter = count()
    return lambda: next(counter) >= calls


class TestNaturalEnd:
    """Thinking that stays within its bounds is left alone."""

    def test_is_said(self, ask: Ask, model: Model) -> None:
        reply = ask(f"{THOUGHT}\n</think>\n\n{ANSWER}{END}", ThinkingParams(budget=2000))
        assert (reply.thinking, reply.answer) == (THOUGHT, ANSWER)
        assert reply.thought == Thought(length(model, f"{THOUGHT}\n") + 1, "natural")
        assert (reply.finished.reason, reply.finished.thinking_end) == ("stop", "natural")

    @pytest.mark.parametrize("params", [ThinkingParams(), ThinkingParams(budget=1000), ThinkingParams(reserve=300)])
    def test_the_bits_are_those_without_a_policy(self, roomy: Context, params: ThinkingParams) -> None:
        """The real sampler, hot enough that a single other logit would show."""
        replies = []
        for each in (UNGUARDED, params):
            request = request_for(roomy.model, each, 1500)
            request.sampling = SamplingParams(temperature=0.9, seed=5, max_tokens=1500)
            replies.append(collected(roomy, request))
        assert replies[0].events[:-1] == replies[1].events[:-1]
        assert replies[0].finished.usage == replies[1].finished.usage
        assert replies[0].finished.thinking_end == "natural"

    def test_an_empty_answer_stays_empty(self, ask: Ask) -> None:
        reply = ask(f"{THOUGHT}\n</think>{END}", ThinkingParams())
        assert (reply.answer, reply.finished.reason) == ("", "stop")


class TestBudget:
    """The thinking is closed when the budget is used up, and the answer follows."""

    @pytest.mark.parametrize("budget", [1, 2, 5, 20, 55])
    def test_counts_what_the_model_thought(self, ask: Ask, model: Model, budget: int) -> None:
        reply = ask(f"{THOUGHT * 3}", ThinkingParams(budget=budget), max_tokens=200)
        thought = b"".join(map(model.piece, model.tokenize(THOUGHT * 3)[:budget]))
        assert reply.thinking == thought.decode().strip()
        assert reply.thought == Thought(budget + 2, "budget")
        assert reply.finished.thinking_end == "budget"

    def test_the_model_sees_how_r1_closes_it(self, ask: Ask, decoded: list[int], model: Model) -> None:
        reply = ask(f"{THOUGHT}", ThinkingParams(budget=5), max_tokens=60)
        begun = [*model.tokenize(THOUGHT)[:5], *tokens_of(model, "\n</think>\n\n")]
        start = reply.finished.usage.prompt_tokens
        assert decoded[start : start + len(begun)] == begun
        assert reply.answer

    def test_no_second_line_break_after_a_line(self, ask: Ask, model: Model) -> None:
        line = "We add.\n"
        reply = ask(line * 9, ThinkingParams(budget=length(model, line)), max_tokens=60)
        assert reply.thought.tokens == length(model, line) + 1

    def test_zero_begins_with_the_answer(self, ask: Ask) -> None:
        reply = ask(f"{ANSWER}{END}", ThinkingParams(budget=0))
        assert (reply.thinking, reply.answer) == ("", ANSWER)
        assert reply.thought == Thought(0, "budget")
        assert reply.finished.usage.thinking_tokens == 0

    def test_without_thinking_the_prompt_ends_with_an_empty_block(self, model: Model) -> None:
        (segment,) = prompt_segments(model, Conversation(), "Hi", NO_THINKING)
        assert segment[-len(tokens_of(model, "\n\n</think>\n\n")) - 1 :] == [
            model.control.think,
            *tokens_of(model, "\n\n</think>\n\n"),
        ]

    def test_the_end_is_made_likelier_bit_by_bit_in_the_last_eighth(self, model: Model) -> None:
        policy = ThinkingPolicy(ThinkingParams(budget=80, guards_loops=False), 1000, model)
        steps = [(policy.next(answers_now=False), policy.add(100))[0] for _ in range(81)]
        assert steps[:71] == [Step()] * 71
        nudges = [step.nudge for step in steps[71:80]]
        assert nudges == sorted(nudges)
        assert min(nudges) > 0
        assert steps[80].forced == model.tokenize("\n")[0]

    def test_an_end_in_that_part_is_put_down_to_the_budget(self, ask: Ask, model: Model) -> None:
        thought = length(model, THOUGHT)
        early, late = (
            ask(f"{THOUGHT}</think>{ANSWER}", ThinkingParams(budget=2 * thought)),
            ask(f"{THOUGHT}</think>{ANSWER}", ThinkingParams(budget=thought + 2)),
        )
        assert (early.finished.thinking_end, late.finished.thinking_end) == ("natural", "budget")

    def test_efforts_are_budgets(self) -> None:
        assert EFFORTS == {"none": 0, "low": 1024, "medium": 4096, "high": 16_384, "max": None}


class TestReserve:
    """Thinking leaves room for an answer."""

    @pytest.mark.parametrize(
        ("room", "reserve", "thought"),
        # a quarter; the most; what was asked for; nothing left
        [(400, None, 300), (20_000, None, 17_952), (400, 50, 350), (400, 500, 0)],
    )
    def test_is_what_the_thinking_may_not_use(self, model: Model, room: int, reserve: int | None, thought: int) -> None:
        policy = ThinkingPolicy(ThinkingParams(reserve=reserve, guards_loops=False), room, model)
        steps = 0
        while policy.next(answers_now=False).forced is None:
            policy.add(100 + steps % 50)
            steps += 1
        closing = len(tokens_of(model, "\n</think>\n\n"))
        assert (steps, policy.end) == (max(thought - closing, 0), "limit")

    def test_zero_lets_the_thinking_use_everything(self, ask: Ask) -> None:
        reply = ask(THOUGHT * 20, ThinkingParams(reserve=0, guards_loops=False), max_tokens=100)
        assert (reply.finished.reason, reply.finished.thinking_end, reply.answer) == ("length", None, "")

    def test_without_an_answer_there_is_none(self, ask: Ask) -> None:
        params = ThinkingParams(reserve=50, guards_loops=False)
        reply = ask(THOUGHT * 20, params, max_tokens=100, stop_after_thinking=True)
        assert (reply.finished.reason, reply.finished.usage.thinking_tokens) == ("length", 100)

    def test_of_max_tokens(self, ask: Ask) -> None:
        reply = ask(THOUGHT * 20, ThinkingParams(guards_loops=False), max_tokens=100)
        assert reply.finished.thinking_end == "limit"
        assert reply.answer
        assert reply.finished.usage.answer_tokens <= 100 // 4 + len(reply.answer)

    def test_of_the_context(self, model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
        with Context(model, ContextParams(256, threads=Threads.of(1))) as small:
            monkeypatch.setattr(generation, "Sampler", ScriptedSampler(model, THOUGHT * 20))
            reply = collected(small, request_for(model, ThinkingParams(guards_loops=False), 32_768))
        assert reply.finished.thinking_end == "limit"
        assert reply.answer


class TestEndOfTurn:
    """A turn that ends inside its thinking is made to answer."""

    def test_closes_the_thinking(self, ask: Ask, model: Model) -> None:
        reply = ask(f"{THOUGHT}{END}{ANSWER}{END}")
        assert (reply.thinking, reply.answer) == (THOUGHT, ANSWER)
        assert reply.thought == Thought(length(model, THOUGHT) + 2, "eos")
        assert (reply.finished.reason, reply.finished.thinking_end) == ("stop", "eos")

    def test_at_the_first_token(self, ask: Ask) -> None:
        reply = ask(f"{END}{ANSWER}{END}")
        assert (reply.thinking, reply.answer, reply.finished.thinking_end) == ("", ANSWER, "eos")

    def test_a_second_one_before_the_answer_does_not_end_it_either(self, ask: Ask) -> None:
        """The likeliest token that does not end the turn comes instead."""
        reply = ask(f"{THOUGHT}{END}{END}")
        assert reply.answer
        assert reply.finished.reason == "stop"

    def test_the_token_is_not_decoded(self, ask: Ask, decoded: list[int], model: Model) -> None:
        ask(f"{THOUGHT}{END}{ANSWER}{END}")
        assert model.control.eos not in decoded


class TestAnswerNow:
    """The user ends the thinking."""

    def test_is_said(self, ask: Ask, model: Model) -> None:
        reply = ask(THOUGHT * 5, max_tokens=100, answer_now=after(10))
        assert reply.thought == Thought(10 + 2, "user")
        assert model.tokenize(THOUGHT)[:10] == model.tokenize(reply.thinking)[:10]

    def test_before_the_first_token(self, ask: Ask) -> None:
        reply = ask(f"{ANSWER}{END}", answer_now=lambda: True)
        assert (reply.thinking, reply.answer, reply.finished.thinking_end) == ("", ANSWER, "user")

    def test_does_nothing_once_the_thinking_is_being_closed(self, ask: Ask) -> None:
        reply = ask(THOUGHT * 5, ThinkingParams(budget=5), max_tokens=40, answer_now=after(6))
        assert reply.finished.thinking_end == "budget"


class TestLoops:
    """Thinking that goes round in circles goes back; when that does not help, it is closed."""

    GUARDED = ThinkingParams(reserve=0)

    def test_goes_back_to_where_it_began(self, ask: Ask, decoded: list[int], model: Model) -> None:
        """What was said once stays. The last token that stays is decoded again, for its logits."""
        reply = ask(f"{LOOP}\n</think>\n\n{ANSWER}{END}", self.GUARDED)
        first, usage = reply.rewinds[0], reply.finished.usage
        assert LOOP.startswith(first.thinking)
        assert first.thinking.count("Wait") in {1, 2}
        start, kept = usage.prompt_tokens, model.tokenize(LOOP)[: first.tokens]
        assert decoded[start : start + first.tokens] == kept
        assert decoded[start + first.tokens + first.dropped - 1] == kept[-1]
        assert usage.discarded_tokens == sum(event.dropped for event in reply.rewinds) > 0
        assert usage.thinking_tokens == reply.thought.tokens

    def test_is_closed_when_it_begins_a_third_time(self, ask: Ask) -> None:
        reply = ask(CIRCLE * 200, self.GUARDED)
        assert len(reply.rewinds) == 3
        assert reply.finished.thinking_end == "loop"
        assert reply.thinking.count(CIRCLE.strip()) <= 6
        assert reply.answer

    def test_the_same_run_of_eight_tokens_does_not_come_again(self, model: Model) -> None:
        """Nor after other words. A run of seven may."""
        policy, loop = ThinkingPolicy(self.GUARDED, 4000, model), [50, *range(60, 69)]
        reply = loop * 4
        policy.go_back(reply, len(loop))
        assert policy.next(answers_now=False).banned == (50,)
        for token, banned in [(49, ()), *((other, ()) for other in range(60, 66)), (66, (67,)), (70, ()), (71, ())]:
            policy.add(token)
            assert policy.next(answers_now=False).banned == banned

    def test_after_a_while_it_may_say_it_again(self, model: Model) -> None:
        policy, loop = ThinkingPolicy(self.GUARDED, 4000, model), list(range(60, 72))
        policy.go_back(loop * 3, len(loop))
        for token in [*(100 + number % 40 for number in range(512 - 7)), *loop[:7]]:
            policy.add(token)
        assert policy.next(answers_now=False).banned == ()
        policy.go_back(loop * 4, len(loop))
        assert policy.next(answers_now=False).banned == (60,)

    def test_the_guard_can_be_off(self, ask: Ask) -> None:
        reply = ask(CIRCLE * 200, UNGUARDED, max_tokens=700)
        assert (reply.rewinds, reply.finished.reason) == ([], "length")

    def test_an_answer_in_circles_is_stopped(self, ask: Ask) -> None:
        reply = ask(f"{THOUGHT}</think>{CIRCLE * 200}", self.GUARDED)
        assert (reply.finished.reason, reply.finished.thinking_end) == ("loop", "natural")
        assert reply.answer.startswith(CIRCLE * 3)

    def test_a_budget_counts_what_is_left(self, ask: Ask) -> None:
        reply = ask(CIRCLE * 8 + "It rains. " * 90, ThinkingParams(budget=300, reserve=0))
        assert reply.rewinds
        assert reply.finished.usage.thinking_tokens <= 300 + 2


class TestGoingOn:
    """A reply whose beginning is given, or a text without turns: the events have what is new."""

    @pytest.mark.parametrize(("continues", "answer"), [("answer", "  It is 42."), ("text", "  It is 42. \n")])
    def test_an_answer_or_a_text_has_no_thinking(self, ask: Ask, continues: Continued, answer: str) -> None:
        """White space counts at the start, and at the end of a text. The thinking was over before."""
        reply = ask(f"  It is 42. \n{END}", continues=continues)
        assert (reply.thinking, reply.answer, reply.finished.reason) == ("", answer, "stop")
        assert reply.finished.thinking_end is None
        assert {type(event) for event in reply.events} == {Prefill, Answer, Finished}

    @pytest.mark.parametrize("continues", ["answer", "text"])
    def test_the_turn_may_end_at_once(self, ask: Ask, continues: Continued) -> None:
        reply = ask(END, continues=continues)
        assert (reply.answer, reply.finished.reason, reply.finished.usage.answer_tokens) == ("", "stop", 0)

    def test_a_tag_is_text(self, ask: Ask) -> None:
        assert ask(f" a</think> b{END}", continues="text").answer == " a</think> b"

    def test_thinking(self, ask: Ask) -> None:
        reply = ask(f" so it is.\n</think>\n\n{ANSWER}{END}", continues="thinking")
        assert (reply.thinking, reply.answer, reply.finished.thinking_end) == (" so it is.", ANSWER, "natural")

    def test_thinking_that_ends_its_turn_is_made_to_answer(self, ask: Ask) -> None:
        reply = ask(f"{END}{ANSWER}{END}", continues="thinking")
        assert (reply.answer, reply.finished.thinking_end) == (ANSWER, "eos")

    def test_a_budget_counts_what_is_new(self, ask: Ask) -> None:
        reply = ask(THOUGHT * 9, ThinkingParams(budget=20), max_tokens=60, continues="thinking")
        assert reply.thought == Thought(20 + 2, "budget")

    def test_white_space_at_the_start_stays_after_going_back(self, ask: Ask) -> None:
        reply = ask(f"\n{LOOP}", ThinkingParams(reserve=0), max_tokens=350, continues="thinking")
        assert reply.rewinds[0].thinking.startswith("\nFirst we add.")


class TestForms:
    """An answer that keeps to a grammar."""

    GRAMMAR = 'root ::= "{\\"sum\\": " [0-9]{1,3} "}"'

    @pytest.mark.parametrize(
        ("script", "params", "options", "end"),
        [
            (f"{THOUGHT}</think>", UNGUARDED, {}, "natural"),
            (THOUGHT * 9, ThinkingParams(budget=12), {}, "budget"),
            ("", ThinkingParams(budget=0), {}, "budget"),
            (f"{THOUGHT}{END}", UNGUARDED, {}, "eos"),
            (THOUGHT * 9, UNGUARDED, {"answer_now": after(6)}, "user"),
            (THOUGHT * 99, ThinkingParams(guards_loops=False), {"max_tokens": 120}, "limit"),
            (CIRCLE * 200, ThinkingParams(reserve=0), {}, "loop"),
        ],
        ids=["natural", "budget", "none", "eos", "user", "limit", "loop"],
    )
    def test_hold_however_the_thinking_ends(
        self, ask: Ask, script: str, params: ThinkingParams, options: dict[str, Any], end: str
    ) -> None:
        reply = ask(script, params, grammar=self.GRAMMAR, **options)
        assert reply.finished.thinking_end == end
        assert reply.answer.startswith('{"sum": ')
        assert reply.answer.endswith("}")
        assert reply.finished.reason == "stop"

    def test_the_thinking_is_free(self, ask: Ask) -> None:
        reply = ask(f"{THOUGHT}</think>", grammar=self.GRAMMAR)
        assert reply.thinking == THOUGHT

    def test_a_token_that_fits_is_taken(self, ask: Ask) -> None:
        reply = ask(f'{THOUGHT}</think>{{"sum": 42}}', grammar=self.GRAMMAR)
        assert reply.answer == '{"sum": 42}'

    def test_the_model_cannot_end_it_early(self, ask: Ask) -> None:
        reply = ask(f'{THOUGHT}</think>{{"sum": {END}', grammar=self.GRAMMAR)
        assert reply.answer.endswith("}")

    def test_cut_by_max_tokens(self, ask: Ask) -> None:
        reply = ask("</think>", grammar='root ::= "a"{200}', max_tokens=20)
        assert (reply.finished.reason, set(reply.answer)) == ("length", {"a"})


SCENES = {
    "natural": (f"{THOUGHT}</think>{ANSWER}", UNGUARDED, {}),
    "budget": (THOUGHT, ThinkingParams(budget=6), {}),
    "none": (ANSWER, ThinkingParams(budget=0), {}),
    "eos": (f"We add.{END}{ANSWER}", UNGUARDED, {}),
    "user": (THOUGHT, UNGUARDED, {"answer_now": after(5)}),
    "form": ("We add.</think>", UNGUARDED, {"grammar": TestForms.GRAMMAR}),
}


class TestCancelling:
    """A reply that is cancelled in the middle of any of this ends at once, and leaves a context that can go on."""

    @pytest.mark.parametrize("scene", SCENES)
    def test_at_every_token(self, roomy: Context, model: Model, monkeypatch: pytest.MonkeyPatch, scene: str) -> None:
        script, params, options = SCENES[scene]
        scheduler, undisturbed = Scheduler(roomy), self.greedy_text(Scheduler(roomy), model)
        for at in range(1, 8, 2):
            sampler = ScriptedSampler(model, script)
            with monkeypatch.context() as patch:
                patch.setattr(generation, "Sampler", sampler)
                request = request_for(model, params, 200, **options)
                scheduler.submit(request)
                events: list[Event] = []
                while not scheduler.is_idle:
                    events += [event for _, event in scheduler.step()]
                    if scheduler.running and sampler.drawn >= at:
                        request.cancel()
            assert isinstance(events[-1], Finished)
            assert events[-1].reason == "interrupted"
            assert sampler.is_closed
        assert self.greedy_text(scheduler, model) == undisturbed

    @staticmethod
    def greedy_text(scheduler: Scheduler, model: Model) -> str:
        request = request_for(model, UNGUARDED, 100)
        request.sampling = SamplingParams(temperature=0, max_tokens=100)
        events = generate(scheduler, request)
        return "".join(event.text for event in events if isinstance(event, Thinking | Answer))
