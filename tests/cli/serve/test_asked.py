"""Replies while they are generated, as a coroutine reads them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import pytest

from r1.engine.events import Answer, Event, Finished, FinishReason, Prefill, Scored, Thinking, Thought, Timings, Usage
from r1.serve.asked import Asked, Happened, Pace
from r1.serve.errors import ApiError
from r1.serve.jobs import Begun, Failed, JobEvent
from r1_quantize.errors import NotEnoughSpace


def finished(reason: FinishReason = "stop") -> Finished:
    return Finished(reason, Usage(5, 3, 4), Timings(0.1, 90.0, 30.0, 1.0))


def score(piece: str, *, is_thinking: bool = False) -> Scored:
    return Scored(piece.encode(), -0.5, (), is_thinking)


class Asking:
    """Two replies, whose events a test gives."""

    def __init__(self, *stop_texts: str) -> None:
        self.cancelled: list[int] = []
        self.times_ended = 0
        self.asked = Asked("tiny:Q8_0", self._end)
        self._sinks: list[Callable[[Sequence[JobEvent]], None]] = []
        for index in range(2):
            self._sinks.append(self.asked.sink(index))
            self.asked.add(lambda index=index: self.cancelled.append(index), stop_texts)

    def _end(self) -> None:
        self.times_ended += 1

    async def gets(self, index: int, *events: JobEvent) -> None:
        await asyncio.to_thread(self._sinks[index], events)  # the engine has a thread of its own

    async def rest(self) -> list[Happened]:
        return [happened async for happened in self.asked.events()]


async def one(stop_texts: Sequence[str], *events: Event) -> tuple[list[Happened], list[int]]:
    """What is seen of the first reply, and which ones were cancelled."""
    asking = Asking(*stop_texts)
    await asking.gets(1, finished())
    await asking.gets(0, *events)
    return [happened for happened in await asking.rest() if happened.index == 0], asking.cancelled


def test_events_of_all_replies_come_until_each_has_finished() -> None:
    async def test() -> None:
        asking = Asking()
        await asking.gets(0, Begun(0.5, 5), Thinking("a", 1))
        await asking.gets(1, Begun(0.25, 5), Thought(0), Answer("b", 1), finished("length"))
        await asking.gets(0, finished())
        seen = await asking.rest()
        assert [(each.index, type(each.event)) for each in seen] == [
            (0, Thinking),
            (1, Thought),
            (1, Answer),
            (1, Finished),
            (0, Finished),
        ]
        assert (asking.asked.load_s, asking.asked.prompt_tokens) == (0.75, 5)
        assert [each.reason for each in asking.asked.finished] == ["length", "stop"]

    asyncio.run(test())


def test_replies_one_after_the_other_are_not_faster_together() -> None:
    """Each has 7 tokens. The time of a prompt is not theirs."""
    pace = Pace()
    pace.add([Begun(0.5, 5)], 10.0)
    pace.add([Prefill(5, 5)], 11.0)
    assert pace.tps == 0
    pace.add([Thinking("a", 1)], 12.0)
    pace.add([finished()], 13.0)
    pace.add([Begun(0.0, 5), Thinking("a", 1)], 13.0)
    pace.add([finished()], 14.0)
    assert pace.tps == 7


def test_the_speed_of_one_reply_is_as_it_was_measured_and_that_of_several_is_of_all_together() -> None:
    async def test() -> None:
        asking = Asking()
        assert asking.asked.decode_tps == 0
        for index in range(2):
            await asking.gets(index, Begun(0.0, 5), Thinking("a", 1))
            await asking.gets(index, finished())
        await asking.rest()
        pace = asking.asked.pace
        assert pace.since is not None
        assert (pace.tokens, asking.asked.decode_tps) == (14, pace.tps)
        asked = Asked("tiny:Q8_0", lambda: None)
        asked.add(lambda: None, ())
        assert asked.decode_tps == 0
        asked.finished.append(finished())
        assert asked.decode_tps == 30

    asyncio.run(test())


def test_a_stop_text_cancels_the_reply_and_hides_what_follows() -> None:
    async def test() -> None:
        given = (Answer("one E", 1), Answer("ND", 2), Answer("two", 3), finished("interrupted"))
        seen, cancelled = await one(["END"], *given)
        assert [each.event for each in seen] == [Answer("one "), finished("stop")]
        assert (seen[-1].stop_text, cancelled) == ("END", [0])

    asyncio.run(test())


def test_what_was_held_back_for_a_stop_text_that_did_not_come_is_shown_at_the_end() -> None:
    async def test() -> None:
        seen, cancelled = await one(["END"], Answer("one E", 1), finished())
        assert [each.event for each in seen] == [Answer("one "), Answer("E"), finished()]
        assert (seen[-1].stop_text, cancelled) == (None, [])

    asyncio.run(test())


def test_the_scores_of_what_a_stop_text_cut_off_are_not_shown() -> None:
    async def test() -> None:
        one_, end = score("one "), score("E")
        thought = score("</think>", is_thinking=True)
        given = (thought, Thought(1), one_, Answer("one ", 1), end, Answer("E", 2), score("ND"), Answer("ND", 3))
        seen, _ = await one(["END"], *given, finished())
        assert [each.event for each in seen if isinstance(each.event, Scored)] == [thought, one_]
        seen, _ = await one(["END"], *given[:-2], finished())
        assert [each.event for each in seen if isinstance(each.event, Scored)] == [thought, one_, end]

    asyncio.run(test())


def test_an_error_before_the_beginning_has_its_status() -> None:
    async def test() -> None:
        asking = Asking()
        await asking.gets(0, Failed(NotEnoughSpace("no memory")))
        with pytest.raises(ApiError, match="no memory") as caught:
            await asking.asked.begin()
        assert caught.value.status == 503
        assert asking.asked.error is caught.value

    asyncio.run(test())


def test_an_error_in_the_middle_ends_the_events() -> None:
    async def test() -> None:
        asking = Asking()
        await asking.gets(0, Begun(0.0, 5), Thinking("a", 1), Failed(RuntimeError("lost")))
        await asking.asked.begin()
        with pytest.raises(ApiError, match="RuntimeError: lost") as caught:
            await asking.rest()
        assert caught.value.status == 500

    asyncio.run(test())


def test_the_beginning_loses_no_event_and_can_be_waited_for_only_so_long() -> None:
    async def test() -> None:
        asking = Asking()
        await asking.asked.begin(0.01)
        await asking.gets(0, finished("interrupted"))  # it was cancelled in the line
        await asking.asked.begin()
        await asking.gets(1, Begun(0.0, 5), Answer("a", 1), finished())
        assert [type(each.event) for each in await asking.rest()] == [Finished, Answer, Finished]

    asyncio.run(test())


def test_closing_cancels_what_has_not_finished_once() -> None:
    async def test() -> None:
        asking = Asking()
        await asking.gets(1, finished())
        events = asking.asked.events()
        await anext(events)
        asking.asked.close()
        asking.asked.close()
        assert (asking.cancelled, asking.times_ended) == ([0], 1)

    asyncio.run(test())


def test_events_that_come_after_the_loop_has_ended_are_dropped() -> None:
    async def begin() -> Callable[[Sequence[JobEvent]], None]:
        return Asked("tiny:Q8_0", lambda: None).sink(0)

    asyncio.run(begin())([finished()])
