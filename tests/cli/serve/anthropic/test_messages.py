"""Messages, whole and streamed, of replies that a script gives. The order of a stream's events is that of
https://platform.claude.com/docs/en/build-with-claude/streaming.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, MutableMapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from r1.engine.events import Answer, Event, Finished, FinishReason, Prefill, Rewound, Thinking, Thought, Timings, Usage
from r1.render.reply_text import Reply
from r1.serve.anthropic.api import ANTHROPIC
from r1.serve.anthropic.objects import SIGNATURE
from r1.serve.asked import Asked
from r1.serve.errors import ApiError
from r1.serve.jobs import Begun, Failed, JobEvent
from r1.serve.question import Question
from r1.serve.web.app import refuse

BODY = {"model": "m", "max_tokens": 100, "messages": [{"role": "user", "content": "17+25?"}]}
SHOWN = {"thinking": {"type": "adaptive"}}

USAGE = Usage(prompt_tokens=11, thinking_tokens=4, answer_tokens=3, cached_tokens=5)
DONE = Finished("stop", USAGE, Timings(0.1, 90.0, 30.0, 1.0))
REPLY = (
    Prefill(11, 11),
    Thinking("17 +", 3),
    Thinking(" 25", 4),
    Thought(4),
    Answer("It is", 2),
    Answer(" 42", 3),
    DONE,
)


@dataclass
class ScriptedService:
    """Answers every question with these events."""

    events: Sequence[JobEvent]
    warmed: list[tuple[str, str]] = field(default_factory=list)
    asked: list[Asked] = field(default_factory=list)
    is_cancelled: bool = False
    is_left: bool = False

    async def ask(self, question: Question) -> Asked:
        asked = Asked("m:Q8_0", self._leave)
        asked.add(self._cancel, question.stop_texts)
        asked.sink(0)([Begun(0.0, 11), *self.events])
        self.asked.append(asked)
        return asked

    def warm(self, _asked: Asked, _question: Question, reply: Reply) -> None:
        self.warmed.append((reply.thinking, reply.answer))

    def _cancel(self) -> None:
        self.is_cancelled = True

    def _leave(self) -> None:
        self.is_left = True


def app_of(service: ScriptedService) -> Starlette:
    app = Starlette(routes=ANTHROPIC.routes, exception_handlers={ApiError: refuse})
    app.state.service = service
    return app


def client(service: ScriptedService) -> TestClient:
    return TestClient(app_of(service))


def message(*events: JobEvent, **fields: object) -> dict[str, Any]:
    response = client(ScriptedService(events)).post("/v1/messages", json={**BODY, **fields})
    assert response.status_code == 200, response.text
    made: dict[str, Any] = response.json()
    return made


def stream(*events: JobEvent, **fields: object) -> list[dict[str, Any]]:
    """The data of the stream's events, whose names are their types."""
    response = client(ScriptedService(events)).post("/v1/messages", json={**BODY, **fields, "stream": True})
    assert response.headers["content-type"].startswith("text/event-stream")
    made = []
    for block in response.text.removesuffix("\n\n").split("\n\n"):
        name, data = block.split("\n")
        made.append(json.loads(data.removeprefix("data: ")))
        assert name == f"event: {made[-1]['type']}"
    return made


def kinds(events: list[dict[str, Any]]) -> list[str]:
    return [event["type"].removeprefix("content_block_") for event in events]


def test_a_whole_message() -> None:
    made = message(*REPLY, **SHOWN)
    assert made.pop("id").startswith("msg_")
    usage = made.pop("usage")
    assert made == {
        "type": "message",
        "role": "assistant",
        "model": "m:Q8_0",
        "content": [
            {"type": "thinking", "thinking": "17 + 25", "signature": SIGNATURE},
            {"type": "text", "text": "It is 42"},
        ],
        "stop_reason": "end_turn",
        "stop_sequence": None,
    }
    assert (usage["input_tokens"], usage["cache_read_input_tokens"], usage["output_tokens"]) == (6, 5, 7)


def test_a_streamed_message() -> None:
    events = stream(*REPLY, **SHOWN)
    assert kinds(events) == [
        "message_start",
        *("start", "delta", "delta", "delta", "stop"),
        *("start", "delta", "delta", "stop"),
        "message_delta",
        "message_stop",
    ]
    start = events[0]["message"]
    assert (start["content"], start["stop_reason"], start["usage"]["input_tokens"]) == ([], None, 11)
    assert events[1] == {
        "type": "content_block_start",
        "index": 0,
        "content_block": {"type": "thinking", "thinking": "", "signature": ""},
    }
    assert [event["delta"] for event in events[2:5]] == [
        {"type": "thinking_delta", "thinking": "17 +"},
        {"type": "thinking_delta", "thinking": " 25"},
        {"type": "signature_delta", "signature": SIGNATURE},
    ]
    assert (events[5]["index"], events[6]["index"]) == (0, 1)
    assert events[6]["content_block"] == {"type": "text", "text": ""}
    assert [event["delta"]["text"] for event in events[7:9]] == ["It is", " 42"]
    assert events[-2]["delta"] == {"stop_reason": "end_turn", "stop_sequence": None}


def test_the_usage_at_the_end_of_a_stream_is_that_of_the_whole() -> None:
    assert stream(*REPLY)[-2]["usage"] == message(*REPLY)["usage"]


def test_a_client_that_does_not_ask_for_thinking_gets_no_block_of_it() -> None:
    assert [block["type"] for block in message(*REPLY)["content"]] == ["text"]
    assert kinds(stream(*REPLY)) == [
        "message_start",
        "start",
        "delta",
        "delta",
        "stop",
        "message_delta",
        "message_stop",
    ]


def test_omitted_thinking_is_a_block_without_text() -> None:
    fields = {"thinking": {"type": "adaptive", "display": "omitted"}}
    empty = {"type": "thinking", "thinking": "", "signature": SIGNATURE}
    assert message(*REPLY, **fields)["content"][0] == empty
    deltas = [event["delta"] for event in stream(*REPLY, **fields) if event["type"] == "content_block_delta"]
    assert deltas[0] == {"type": "signature_delta", "signature": SIGNATURE}
    assert [delta["type"] for delta in deltas[1:]] == ["text_delta", "text_delta"]


@pytest.mark.parametrize(
    "events",
    [
        (Prefill(11, 11), DONE),
        (Prefill(11, 11), Thinking("Hm", 1), replace(DONE, reason="length")),
        (Prefill(11, 11), Thought(0, "budget"), DONE),
    ],
)
def test_there_is_always_a_text_block(events: tuple[Event, ...]) -> None:
    """Clients read the first or the last block, and one that ended in its thinking has none otherwise."""
    assert message(*events, **SHOWN)["content"][-1] == {"type": "text", "text": ""}
    assert kinds(stream(*events, **SHOWN))[-4:] == ["start", "stop", "message_delta", "message_stop"]


def test_an_answer_that_goes_on_with_a_beginning_has_one_block() -> None:
    events = (Prefill(11, 11), Answer("(", 1), Answer("B)", 2), DONE)
    assert message(*events, **SHOWN)["content"] == [{"type": "text", "text": "(B)"}]
    assert kinds(stream(*events, **SHOWN)).count("start") == 1


def test_thinking_that_was_taken_back_is_not_in_a_whole_message() -> None:
    events = (Thinking("A", 1), Thinking("BBB", 4), Rewound("A", 1, 3), Thinking("C", 2), Thought(2), DONE)
    assert message(*events, **SHOWN)["content"][0]["thinking"] == "AC"


@pytest.mark.parametrize(
    ("reason", "stop_reason"),
    [
        ("stop", "end_turn"),
        ("length", "max_tokens"),
        ("loop", "max_tokens"),
        ("context", "model_context_window_exceeded"),
        ("interrupted", "pause_turn"),
    ],
)
def test_stop_reasons(reason: FinishReason, stop_reason: str) -> None:
    events = (Answer("It", 1), replace(DONE, reason=reason))
    assert message(*events)["stop_reason"] == stop_reason
    assert stream(*events)[-2]["delta"]["stop_reason"] == stop_reason


def test_a_stop_sequence_ends_the_answer_and_is_told() -> None:
    events = (Answer("1, 2", 3), Answer(", 3, 4", 6), replace(DONE, reason="interrupted"))
    made = message(*events, stop_sequences=["3", "9"])
    assert (made["content"][0]["text"], made["stop_reason"], made["stop_sequence"]) == ("1, 2, ", "stop_sequence", "3")
    assert stream(*events, stop_sequences=["3", "9"])[-2]["delta"] == {
        "stop_reason": "stop_sequence",
        "stop_sequence": "3",
    }


def test_an_error_before_the_answer_has_a_status() -> None:
    response = client(ScriptedService([])).post("/v1/messages", content=b"{")
    assert (response.status_code, response.json()["error"]["type"]) == (400, "invalid_request_error")
    assert response.json()["request_id"] == response.headers["request-id"]


def test_an_error_amid_a_stream_is_an_event_that_ends_it() -> None:
    service = ScriptedService([Prefill(11, 11), Answer("It", 1), Failed(ApiError(503, "no memory"))])
    response = client(service).post("/v1/messages", json={**BODY, "stream": True})
    assert response.status_code == 200
    *_, last = response.text.removesuffix("\n\n").split("\n\n")
    name, data = last.split("\n")
    error = json.loads(data.removeprefix("data: "))
    assert name == "event: error"
    assert error["error"] == {"type": "api_error", "message": "no memory"}
    assert error["request_id"] == response.headers["request-id"]
    assert service.is_left


@pytest.mark.parametrize("is_streamed", [False, True])
def test_after_a_complete_reply_the_next_turn_is_made_ready(*, is_streamed: bool) -> None:
    service = ScriptedService(REPLY)
    client(service).post("/v1/messages", json={**BODY, "stream": is_streamed})
    assert service.warmed == [("17 + 25", "It is 42")]
    assert service.is_left


def test_a_stream_is_pinged_while_nothing_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    """The reply is held back until the client has seen a ping."""
    monkeypatch.setattr("r1.serve.http.PING_S", 0.01)
    service = ScriptedService([])
    sent = streamed_until(service, "ping", lambda: service.asked[0].sink(0)(REPLY))
    assert 'event: ping\ndata: {"type":"ping"}\n\n' in sent
    assert "event: message_stop" in sent


def test_a_client_that_leaves_amid_a_stream_ends_the_reply() -> None:
    service = ScriptedService([Prefill(11, 11), Answer("It", 1)])
    sent = streamed_until(service, "content_block_delta", None)
    assert "event: message_stop" not in sent
    assert service.is_cancelled
    assert service.is_left


def streamed_until(service: ScriptedService, event: str, then: Callable[[], None] | None) -> str:
    """What is sent to a client that does something at the first event of that name; None: it leaves."""
    return asyncio.run(_streamed_until(service, event, then))


async def _streamed_until(service: ScriptedService, event: str, then: Callable[[], None] | None) -> str:
    body = json.dumps({**BODY, "stream": True}).encode()
    received = [{"type": "http.request", "body": body, "more_body": False}]
    sent = ""
    has_left = asyncio.Event()

    async def receive() -> dict[str, Any]:
        if received:
            return received.pop()
        await has_left.wait()
        return {"type": "http.disconnect"}

    async def send(part: MutableMapping[str, Any]) -> None:
        nonlocal sent
        frame = part.get("body", b"").decode()
        if f"event: {event}" in frame and f"event: {event}" not in sent:
            (then or has_left.set)()
        sent += frame

    scope = {"type": "http", "method": "POST", "path": "/v1/messages", "query_string": b"", "headers": []}
    await app_of(service)(scope, receive, send)
    return sent
