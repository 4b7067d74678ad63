"""From a body to an answer: conversations that go on, clients that go away, and streams that fail."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator
from typing import Any

import pytest
from starlette.applications import Starlette

from r1.serve import http
from r1.serve.errors import ApiError
from r1.serve.fields import Fields
from r1.serve.openai.answering import includes_usage, until_done
from r1.serve.service import Service
from tests.fakes.asgi import ANSWER_S, Answered, Exchange, ask, scope_of

PATH = "/v1/chat/completions"
SUM = {"role": "user", "content": "17+25?"}


def cached_of_second_turn(app: Starlette, number: int, *, is_streamed: bool) -> tuple[int, int]:
    """The tokens of the prompt of a second turn that were in the cache, and the letters of the first answer."""
    first = {"role": "user", "content": f"{number}+25?"}
    ask(app, "POST", PATH, {"model": "tiny", "messages": [first], "stream": is_streamed})
    answer = f"\\({number} + 25 = \\boxed{{{number + 25}}}\\)"
    messages = [first, {"role": "assistant", "content": answer}, SUM]
    made = ask(app, "POST", PATH, {"model": "tiny", "messages": messages, "max_tokens": 1}).json()
    return made["usage"]["prompt_tokens_details"]["cached_tokens"], len(answer)


@pytest.mark.parametrize("is_streamed", [False, True])
def test_the_second_turn_finds_the_first_in_the_cache(app: Starlette, *, is_streamed: bool) -> None:
    """The server decodes it while nothing else is to be done; a client that is very quick can come before that."""
    tries = (cached_of_second_turn(app, number, is_streamed=is_streamed) for number in range(40 + is_streamed, 60, 2))
    assert any(cached > letters for cached, letters in tries), "tiny has a token for each letter"


def test_a_client_that_goes_away_is_not_answered(app: Starlette, service: Service) -> None:
    async def test(body: dict[str, Any]) -> None:
        exchange = Exchange([json.dumps(body).encode()])
        exchange.leave()
        await exchange.run(app, scope_of("POST", PATH))

    for is_streamed in (False, True):
        asyncio.run(test({"model": "tiny", "messages": [SUM], "n": 64, "stream": is_streamed}))
        assert service.active == 0


def wait(is_held: threading.Event) -> None:
    """Holds up the engine, so that nothing is answered."""
    is_held.wait(ANSWER_S)


def test_too_many_are_turned_away(app: Starlette, service: Service) -> None:
    async def test() -> list[int]:
        body = json.dumps({"model": "tiny", "messages": [SUM], "max_tokens": 1}).encode()
        exchanges = [Exchange([body]) for _ in range(20)]
        is_held = threading.Event()
        service.engine.call(lambda: wait(is_held))
        running = [asyncio.ensure_future(each.run(app, scope_of("POST", PATH))) for each in exchanges]
        while sum(task.done() for task in running) < 20 - most:
            await asyncio.sleep(0.001)
        is_held.set()
        await asyncio.gather(*running)
        refused = next(each.answered for each in exchanges if each.answered.status == 503)
        assert int(refused.headers["retry-after"]) > 0
        assert refused.json()["error"]["code"] == "overloaded"
        return [each.answered.status for each in exchanges]

    most = service.engine.sequences + service.queue
    statuses = asyncio.run(test())
    assert (statuses.count(200), statuses.count(503)) == (most, 20 - most)


@pytest.mark.parametrize("text", ["17+25?", "word " * 3000])
def test_a_stream_that_waits_for_its_turn_begins_with_pings(
    app: Starlette, service: Service, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    """So an error that comes after them has no status of its own."""
    monkeypatch.setattr(http, "PING_S", 0.01)

    async def test() -> Answered:
        body = {"model": "tiny", "messages": [{"role": "user", "content": text}], "stream": True}
        exchange = Exchange([json.dumps(body).encode()])
        is_held = threading.Event()
        service.engine.call(lambda: wait(is_held))
        running = asyncio.ensure_future(exchange.run(app, scope_of("POST", PATH)))
        while b": ping\n\n" not in exchange.answered.parts:
            await asyncio.sleep(0.001)
        is_held.set()
        return await running

    answered = asyncio.run(test())
    assert answered.status == 200
    assert answered.body.endswith(b"data: [DONE]\n\n")
    last = answered.events()[-1]
    if text == "17+25?":
        assert last["choices"][0]["finish_reason"] == "stop"
    else:
        assert last["error"]["code"] == "context_length_exceeded"


def test_an_error_in_the_middle_of_a_stream_is_its_last_event() -> None:
    async def chunks() -> AsyncIterator[dict[str, Any]]:
        yield {"a": 1}
        raise ApiError(500, "lost")

    async def test() -> list[str]:
        return [frame async for frame in until_done(chunks())]

    first, error, end = asyncio.run(test())
    assert (first, end) == ('data: {"a":1}\n\n', "data: [DONE]\n\n")
    assert json.loads(error.removeprefix("data: "))["error"]["message"] == "lost"


def test_usage_at_the_end_of_a_stream_is_asked_for() -> None:
    assert includes_usage(Fields({"stream_options": {"include_usage": True}}))
    assert not includes_usage(Fields({"stream_options": {}}))
    assert not includes_usage(Fields({"stream_options": None}))
