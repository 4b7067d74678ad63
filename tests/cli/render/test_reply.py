"""`r1.render.reply`: what of a turn is finished, what is live, and the line of what is going on."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from r1.engine.events import Answer, Event, Finished, Prefill, Thinking, Thought, Timings, Usage
from r1.render.reply import Frame, ReplyView, duration
from r1.render.style import Style

THOUGHT = [Prefill(0, 9), Prefill(9, 9), Thinking("Let me ", 2), Thinking("see.", 4)]
ANSWERED = [*THOUGHT, Thought(5), Answer("It is ", 2), Answer("**42**.", 4)]
END = Finished("stop", Usage(9, 5, 4), Timings(0.1, 90.0, 30.0, 1.0))


class Clock:
    """Seconds that pass when told to."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def view(clock: Clock, *, shows: bool, width: int = 40) -> ReplyView:
    return ReplyView(Style(width, colour=False), shows_thinking=shows, clock=clock)


def after(reply: ReplyView, events: Sequence[Event]) -> Frame:
    for event in events:
        reply.show(event)
    return reply.frame(10)


class TestHidden:
    """One quiet line that counts, then one that stands in its place."""

    def test_a_line_counts_seconds_and_tokens_and_says_how_to_see_more(self, clock: Clock) -> None:
        reply = view(clock, shows=False)
        after(reply, THOUGHT)
        clock.now += 12.7
        assert reply.frame(10) == Frame("", "", "thinking · 12 s · 4 tokens")
        wide = view(clock, shows=False, width=80)
        assert after(wide, THOUGHT).activity == "thinking · 0 s · 4 tokens · ctrl-t shows it · esc answers now"

    def test_afterwards_one_line_stands_for_it(self, clock: Clock) -> None:
        reply = view(clock, shows=False)
        after(reply, THOUGHT)
        clock.now += 23
        frame = after(reply, [Thought(812), Answer("So", 1)])
        assert frame == Frame("thought for 23 s · 812 tokens\n\n", "So", "")
        clock.now += 100
        assert reply.frame(10).finished == ""

    def test_the_end_lets_go_of_everything(self, clock: Clock) -> None:
        reply = view(clock, shows=False)
        said = after(reply, ANSWERED).finished + after(reply, [END]).finished
        assert said == "thought for 0 s · 5 tokens\n\nIt is 42.\n"

    def test_no_thinking_no_line(self, clock: Clock) -> None:
        frame = after(view(clock, shows=False), [Prefill(9, 9), Thought(2), Answer("Yes.", 2), END])
        assert frame.finished == "Yes.\n"

    def test_what_was_thought_when_it_was_stopped_has_its_line(self, clock: Clock) -> None:
        frame = after(view(clock, shows=False), [*THOUGHT, Finished("interrupted", Usage(9, 4, 0), END.timings)])
        assert frame == Frame("thought for 0 s · 4 tokens\n\n", "", "")


class TestShown:
    """The trace streams, apart from the answer."""

    def test_the_last_line_is_live(self, clock: Clock) -> None:
        frame = after(view(clock, shows=True), THOUGHT)
        assert frame == Frame("", "│ Let me see.", "thinking · 0 s · 4 tokens")

    def test_stands_above_the_line_that_closes_it(self, clock: Clock) -> None:
        reply = view(clock, shows=True)
        said = after(reply, ANSWERED).finished + after(reply, [END]).finished
        assert said == "│ Let me see.\nthought for 0 s · 5 tokens\n\nIt is 42.\n"


class TestTurnedOver:
    """At any moment, in the middle of a sentence too."""

    def test_turning_it_on_brings_up_what_was_thought_so_far(self, clock: Clock) -> None:
        reply = view(clock, shows=False)
        after(reply, THOUGHT)
        reply.shows_thinking = True
        assert reply.frame(10).live == "│ Let me see."

    def test_turned_off_and_on_again_nothing_is_missing_and_nothing_comes_twice(self, clock: Clock) -> None:
        reply, said = view(clock, shows=True, width=20), ""
        words = [Thinking(f"word{number} ", number) for number in range(30)]
        after(reply, THOUGHT[:2])
        for number, word in enumerate(words):
            reply.shows_thinking = number % 7 < 4
            said += after(reply, [word]).finished
        reply.shows_thinking = True
        said += after(reply, [Thought(31)]).finished
        trace = said.partition("thought for")[0].replace("│", " ")
        assert trace.split() == [f"word{number}" for number in range(30)]

    def test_while_it_answers_no_trace_comes_in_between(self, clock: Clock) -> None:
        reply = view(clock, shows=False)
        after(reply, ANSWERED)
        reply.shows_thinking = True
        assert reply.frame(10).finished == ""
        assert after(reply, [END]).finished == "It is 42.\n"


class TestBefore:
    """Loading and a long prefill say how far they are, once they take longer than a moment."""

    def test_a_moment_is_not_worth_a_line(self, clock: Clock) -> None:
        assert after(view(clock, shows=False), [Prefill(0, 9000)]).activity == ""

    def test_a_long_prompt_shows_its_progress(self, clock: Clock) -> None:
        reply = view(clock, shows=False)
        clock.now += 1
        assert after(reply, [Prefill(1024, 9000)]).activity == "reading · 1,024 of 9,000 tokens"

    def test_a_model_that_is_not_there_yet_is_waited_for(self, clock: Clock) -> None:
        reply = view(clock, shows=False)
        clock.now += 1
        assert reply.frame(10).activity == "waiting for the model"


class TestDuration:
    """Seconds, and minutes when there are any."""

    @pytest.mark.parametrize(
        ("seconds", "words"), [(0.4, "0 s"), (23.9, "23 s"), (60, "1 min 0 s"), (245, "4 min 5 s")]
    )
    def test_in_words(self, seconds: float, words: str) -> None:
        assert duration(seconds) == words
