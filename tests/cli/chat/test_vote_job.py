"""`r1.chat.vote_job`: a vote over the real model, and the events that the chat gets of it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from r1.chat import vote_job
from r1.chat.vote_job import Tallied, VoteEvent, VoteJob, VoteOver, events_of
from r1.engine.events import Answer, Finished, Prefill, Thinking, Thought
from r1.engine.prompt import Turn
from r1.engine.request import Request
from r1.evaluate.polling import Polling
from r1.fit.fitted_model import Workload
from r1.forms.form import Form, FormOptions
from r1.loaded_model import LoadedModel
from r1.render.reply_text import Reply, ReplyText
from r1.settings import Settings
from tests.cli.chat.conftest import LETTERS, SUM
from tests.fakes.chats import TIMINGS, finished

AT_ONCE = 4


class Observed(LoadedModel):
    """A model that keeps the requests it makes."""

    def request(self, *arguments: Any, **options: Any) -> Request:
        made = super().request(*arguments, **options)
        self.requests.append(made)
        return made

    requests: list[Request]


@dataclass
class Held:
    """A vote that was held, and what became of it."""

    events: list[VoteEvent]
    requests: list[Request]
    tallies: list[str] = field(init=False)
    over: VoteOver = field(init=False)
    reply: Reply = field(init=False)

    def __post_init__(self) -> None:
        self.tallies = [event.wordings[0] for event in self.events if isinstance(event, Tallied)]
        (self.over,) = (event for event in self.events if isinstance(event, VoteOver))
        text = ReplyText()
        for event in self.events:
            if not isinstance(event, Tallied | VoteOver) and (reply := text.add(event)):
                self.reply = reply


Hold = Callable[..., Held]


@pytest.fixture
def hold(tiny_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hold]:
    """Holds votes over one model, with a tally before every step but the first."""
    monkeypatch.setattr(vote_job, "_TALLY_EVERY_S", 0.0)
    settings = Settings(votes=8, parallel=AT_ONCE, temp=1.0, seed=5, ctx=512, max_tokens=200, threads=1, confidence=1)
    with Observed(tiny_path, settings, workload=Workload(is_parallel=True)) as model, Polling(model) as polling:

        def held(
            prompt: str = SUM,
            turns: list[Turn] | None = None,
            *,
            form: Form | None = None,
            hurried: Callable[[list[VoteEvent]], int] = lambda _: 0,
            stop: Callable[[list[VoteEvent]], bool] = lambda _: False,
            **changes: Any,
        ) -> Held:
            model.requests = []
            model.configure(replace(settings, **changes))
            events: list[VoteEvent] = []
            job = VoteJob(model, prompt, turns or [], form, lambda: hurried(events), lambda: stop(events))
            job.hold(polling, events.append)
            return Held(events, model.requests)

        yield held


def tallies(events: list[VoteEvent]) -> list[str]:
    return [event.wordings[-1] for event in events if isinstance(event, Tallied)]


class TestVote:
    """Nothing is streamed; at the end the winner comes like any reply."""

    def test_the_winner_comes_as_a_whole_after_the_tally(self, hold: Hold) -> None:
        held = hold()
        kinds = [type(event) for event in held.events if not isinstance(event, Tallied)]
        assert kinds == [VoteOver, Prefill, Thinking, Thought, Answer, Finished]
        assert re.match(r"reading the prompt · 0 of \d+ tokens$", held.tallies[0])
        assert next(line for line in held.tallies if "reading" not in line).startswith("0 of 8 · 4 running · ")
        assert r"\boxed{42}" in held.reply.answer
        assert "17 + 25" in held.reply.answer
        assert held.reply.finished.reason == "stop"
        assert (held.over.problem, held.over.is_stopped) == (None, False)
        assert " votes for 42" in held.over.remarks[0]
        assert held.over.thinking_s > 0

    def test_the_samples_are_those_of_the_same_conversation_with_seeds_of_their_own(self, hold: Hold) -> None:
        held = hold("And 1 more?", [Turn(SUM, "", "42")])
        assert len({request.sampling.seed for request in held.requests}) == len(held.requests) >= AT_ONCE
        assert all(request.prompt == held.requests[0].prompt for request in held.requests)
        assert held.requests[0].sampling.seed == 5
        assert held.reply.finished.usage.prompt_tokens == held.requests[0].prompt_tokens
        assert held.requests[0].prompt_tokens > hold("And 1 more?").requests[0].prompt_tokens

    def test_answers_in_a_form_are_counted_as_they_are(self, hold: Hold) -> None:
        form = FormOptions(choices="41,42").compile()
        held = hold(form=form)
        assert held.reply.answer in {"41", "42"}
        assert held.over.remarks[0].split(" for ")[1].startswith(held.reply.answer)

    def test_samples_without_an_answer_are_a_problem(self, hold: Hold) -> None:
        held = hold(LETTERS, max_tokens=8, reserve=0)
        assert held.over.problem == "none of 8 samples has an answer to vote on"
        assert held.over.remarks == ()
        assert held.reply.finished.reason == "length"


class TestStop:
    """Ctrl-C ends it with the winner so far."""

    def test_a_reply_that_was_complete_wins(self, hold: Hold) -> None:
        held = hold(stop=lambda events: tallies(events)[-1][0] in "1234")
        assert held.over.is_stopped
        remark = held.over.remarks[0]  # of those in that step
        assert re.fullmatch(r"([1-4]) of \1 votes? for 42; the vote was interrupted", remark)
        assert held.reply.finished.reason == "stop"
        assert held.reply.answer

    def test_without_one_the_reply_is_an_interrupted_one(self, hold: Hold) -> None:
        for steps in (0, 10):
            held = hold(stop=lambda events, steps=steps: len(tallies(events)) > steps)
            assert held.over.is_stopped
            assert held.reply.finished.reason == "interrupted"
            assert held.reply.answer == ""
            assert held.over.problem == "the vote was interrupted before a sample had an answer to vote on"


class TestAnswerNow:
    """Esc is for the samples under way; those that begin later think as usual."""

    def test_the_running_samples_answer(self, hold: Hold) -> None:
        held = hold(votes=AT_ONCE, hurried=lambda events: len(tallies(events)) > 9)
        assert held.reply.finished.thinking_end == "user"
        assert held.reply.finished.usage.thinking_tokens < 12

    def test_before_the_first_samples_it_is_for_them_only(self, hold: Hold) -> None:
        held = hold(hurried=lambda _: 1)
        told = [request.answer_now() for request in held.requests]
        assert told[:AT_ONCE] == [True] * AT_ONCE
        assert len(told) > AT_ONCE
        assert not any(told[AT_ONCE:])

    def test_a_second_time_it_is_for_those_that_run_then(self, hold: Hold) -> None:
        presses = count(1)
        held = hold(hurried=lambda _: next(presses))  # a key is pressed before every token
        assert all(request.answer_now() for request in held.requests)
        assert len(held.requests) > AT_ONCE


def test_the_events_of_a_reply_make_the_same_reply() -> None:
    for reply in (Reply(finished(), "hm", "42"), Reply(finished("interrupted"), "", "")):
        text = ReplyText()
        assert [made for event in events_of(reply) if (made := text.add(event))] == [reply]
    assert reply.finished.timings == TIMINGS
