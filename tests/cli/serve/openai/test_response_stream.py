"""The order of a streamed response's events, for replies of all kinds."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from r1.engine.events import (
    Answer,
    Event,
    Finished,
    FinishReason,
    Prefill,
    Rewound,
    Scored,
    Thinking,
    Thought,
    Timings,
    Usage,
)
from r1.engine.llama import Stop
from r1.serve.asked import Asked
from r1.serve.engine_thread import EngineThread
from r1.serve.fields import Fields
from r1.serve.model_host import ModelHost
from r1.serve.openai.answering import Answering
from r1.serve.openai.response_stream import ResponseStream
from r1.serve.openai.responses import question_of
from r1.serve.served_models import ServedModels
from r1.serve.service import Service
from r1.settings import Settings


def finished(reason: FinishReason = "stop") -> Finished:
    return Finished(reason, Usage(5, 3, 4), Timings(0.1, 90.0, 30.0, 1.0))


def answering(**fields: object) -> Answering:
    """Of a service whose engine was never started."""

    async def made() -> Answering:
        engine = EngineThread(ModelHost(lambda _: pytest.fail("loads a model"), None), Stop())
        service = Service(engine, ServedModels({}, "tiny"), Settings(), 1)
        given = Fields({"input": "Hi", **fields})
        return Answering(given, question_of(given), Asked("tiny:Q8_0", lambda: None), service, "resp_1", 7)

    return asyncio.run(made())


def streamed(events: Sequence[Event], error: str | None = None, **fields: object) -> list[dict[str, Any]]:
    """The data of all frames. Each frame's name is that of its data."""
    stream = ResponseStream(answering(**fields))
    frames = [*stream.begin(), *(frame for event in events for frame in stream.feed(event))]
    frames += [stream.fail(error)] if error is not None else []
    found = []
    for frame in frames:
        name, data = frame.rstrip("\n").split("\n")
        found.append(json.loads(data.removeprefix("data: ")))
        assert name == f"event: {found[-1]['type']}"
    assert [each["sequence_number"] for each in found] == list(range(len(found)))
    return found


def kinds(events: Sequence[dict[str, Any]]) -> list[str]:
    return [event["type"].removeprefix("response.") for event in events]


MESSAGE = ["output_item.added", "content_part.added", "output_text.delta"]
END_OF_MESSAGE = ["output_text.done", "content_part.done", "output_item.done"]


def test_thinking_and_answer() -> None:
    found = streamed([Prefill(5, 5), Thinking("H", 1), Thinking("m", 2), Thought(3), Answer("Hello", 1), finished()])
    assert kinds(found) == [
        *("created", "in_progress"),
        *("output_item.added", "reasoning_text.delta", "reasoning_text.delta", "reasoning_text.done"),
        *("output_item.done", *MESSAGE, *END_OF_MESSAGE, "completed"),
    ]
    assert [event["output_index"] for event in found if "output_index" in event] == [0] * 5 + [1] * 6
    items = found[-1]["response"]["output"]
    assert items == [event["item"] for event in found if event["type"] == "response.output_item.done"]
    assert [item["status"] for item in items] == ["completed", "completed"]


def test_an_answer_alone() -> None:
    found = streamed([Thought(0), Answer("Hello", 1), finished()])
    assert kinds(found) == ["created", "in_progress", *MESSAGE, *END_OF_MESSAGE, "completed"]
    assert found[2]["output_index"] == 0


def test_an_empty_answer_is_a_message_without_text() -> None:
    found = streamed([Thought(0), finished()])
    assert kinds(found) == ["created", "in_progress", *MESSAGE, *END_OF_MESSAGE, "completed"]
    assert found[-1]["response"]["output"][0]["content"][0]["text"] == ""


def test_a_summary() -> None:
    found = streamed([Thinking("Hm", 1), Thought(2), Answer("Hi", 1), finished()], reasoning={"summary": "auto"})
    assert kinds(found)[2:8] == [
        "output_item.added",
        "reasoning_summary_part.added",
        "reasoning_summary_text.delta",
        "reasoning_summary_text.done",
        "reasoning_summary_part.done",
        "output_item.done",
    ]
    assert found[7]["item"]["summary"] == [{"type": "summary_text", "text": "Hm"}]
    assert found[7]["item"]["content"] == []


def test_what_the_thinking_took_back_is_not_in_the_finished_item() -> None:
    found = streamed([Thinking("ab", 2), Rewound("a", 1, 1), Thinking("c", 2), Thought(3), Answer("x", 1), finished()])
    done = next(event for event in found if event["type"] == "response.reasoning_text.done")
    assert done["text"] == "ac"


@pytest.mark.parametrize("reason", ["length", "context", "loop"])
@pytest.mark.parametrize(("events", "items"), [([Thinking("Hm", 1)], 1), ([Thinking("Hm", 1), Thought(2)], 1), ([], 0)])
def test_one_that_was_cut_off_before_its_answer_has_no_message(
    events: list[Event], items: int, reason: FinishReason
) -> None:
    last = streamed([*events, finished(reason)])[-1]
    assert last["type"] == "response.incomplete"
    assert last["response"]["incomplete_details"] == {"reason": "max_output_tokens"}
    assert [item["type"] for item in last["response"]["output"]] == ["reasoning"] * items


def test_one_that_was_cut_off_in_its_answer() -> None:
    response = streamed([Thought(0), Answer("Hel", 1), finished("length")])[-1]["response"]
    assert (response["status"], response["output"][0]["status"]) == ("incomplete", "incomplete")


def test_the_end_of_the_server_is_a_failure() -> None:
    response = streamed([Thought(0), Answer("Hel", 1), finished("interrupted")])[-1]["response"]
    assert (response["status"], response["error"]["message"]) == ("failed", "the server is ending")


def test_an_error_in_the_middle() -> None:
    last = streamed([Thinking("Hm", 1)], error="lost")[-1]
    assert last["type"] == "response.failed"
    assert last["response"]["error"] == {"code": "server_error", "message": "lost"}
    assert last["response"]["status"] == "failed"


TEXT = st.text(min_size=1, max_size=5)
REPLIES = st.tuples(
    st.lists(TEXT.map(Thinking) | TEXT.map(lambda text: Rewound(text, 1, 1)), max_size=4),
    st.lists(TEXT.map(Answer) | st.just(Scored(b"x", -1.0, (), is_thinking=False)), max_size=4),
    st.sampled_from(["stop", "length", "loop", "interrupted"]),
    st.booleans(),
)


@given(REPLIES)
def test_every_item_is_opened_and_closed_and_no_text_is_lost(
    reply: tuple[list[Event], list[Event], FinishReason, bool],
) -> None:
    thinking, answer, reason, as_summary = reply
    found = streamed(
        [*thinking, Thought(1), *answer, finished(reason)], reasoning={"summary": "auto" if as_summary else None}
    )
    added = [event["output_index"] for event in found if event["type"] == "response.output_item.added"]
    done = [event["output_index"] for event in found if event["type"] == "response.output_item.done"]
    assert added == done == list(range(len(added)))
    told = "".join(event["delta"] for event in found if event["type"] == "response.output_text.delta")
    assert told == "".join(event.text for event in answer if isinstance(event, Answer))
    assert found[-1]["response"]["output"] == [
        event["item"] for event in found if event["type"] == "response.output_item.done"
    ]
