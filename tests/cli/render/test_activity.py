"""`r1.render.activity`: what a reply is doing, in a few words."""

from __future__ import annotations

import pytest

from r1.engine.events import Answer, Event, Finished, Prefill, Rewound, Thinking, Thought, Timings, Usage
from r1.render.activity import Activity, running, shortened
from tests.fakes.clock import Clock

END = Finished("stop", Usage(4, 5, 1), Timings(0, 0, 0, 0))


class TestActivity:
    """Waiting, reading the prompt, thinking, answering; with a clock from the moment each of the last two began."""

    @pytest.mark.parametrize(
        ("events", "line"),
        [
            ([], "waiting for the model"),
            ([Prefill(1024, 9000)], "reading the prompt · 1,024 of 9,000 tokens"),
            ([Prefill(9000, 9000)], "thinking · 12 s · 0 tokens"),
            ([Prefill(4, 4), Thinking("a", 2431)], "thinking · 12 s · 2,431 tokens"),
            ([Prefill(4, 4), Thinking("a", 90), Rewound("", 40, 50)], "thinking · 12 s · 40 tokens"),
            ([Prefill(4, 4), Thinking("a", 1), Thought(2), Answer("b", 7)], "answering · 12 s · 7 tokens"),
            ([Prefill(4, 4), Thought(0, "budget")], "answering · 12 s · 0 tokens"),
        ],
    )
    def test_describes_the_present_state(self, events: list[Event], line: str) -> None:
        clock = Clock()
        activity = Activity(clock)
        for event in events:
            activity.add(event)
        clock.now += 12.9
        assert " · ".join(activity.parts()) == line

    def test_counts_the_thinking_against_its_budget(self) -> None:
        activity = Activity(Clock(), budget=1024)
        activity.add(Prefill(4, 4))
        activity.add(Thinking("a", 431))
        assert activity.parts() == ["thinking", "0 s", "431 of 1,024 tokens"]
        activity.add(Thought(1024, "budget"))
        assert activity.parts() == ["answering", "0 s", "0 tokens"]

    @pytest.mark.parametrize("end", [Thought(5), END])
    def test_the_thinking_time_stops_at_its_end(self, end: Event) -> None:
        clock = Clock()
        activity = Activity(clock)
        assert activity.thinking_s is None
        activity.add(Prefill(4, 4))
        clock.now += 3
        assert (activity.thinking_s, activity.is_thinking) == (3, True)
        activity.add(end)
        clock.now += 3
        assert (activity.thinking_s, activity.is_thinking) == (3, False)


def test_a_running_clock_does_not_round_up() -> None:
    assert [running(seconds) for seconds in (0.9, 59.9, 60.0)] == ["0 s", "59 s", "1 min 0 s"]


def test_shorter_wordings_leave_out_the_last_parts() -> None:
    assert shortened(["a", "b", "c"]) == ["a · b · c", "a · b", "a"]
