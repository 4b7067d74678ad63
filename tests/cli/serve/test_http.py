"""Bodies that arrive, answers that are sent, and clients that go away."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Iterator

import pytest
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from r1.serve import http
from r1.serve.asked import Asked
from r1.serve.errors import ApiError
from r1.serve.http import (
    MAX_BODY,
    ClientGone,
    StreamedResponse,
    in_one_line,
    json_response,
    read_fields,
    sse,
    unless_gone,
)
from tests.fakes.asgi import Answered, Exchange, ask, scope_of


async def reading(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers with the names of the body's fields."""
    request = Request(scope, receive)
    try:
        response = json_response(list((await read_fields(request)).values))
    except ApiError as exc:
        response = json_response(exc.message, exc.status)
    await response(scope, receive, send)


class TestBodies:
    def test_one_in_chunks(self) -> None:
        exchange = Exchange([b'{"a"', b"", b': 1, "b": 2}'])
        assert asyncio.run(exchange.run(reading, scope_of("POST", "/"))).json() == ["a", "b"]

    def test_one_gigabyte_is_refused_before_any_of_it_is_read(self) -> None:
        exchange = Exchange([b"{" * 1000] * 10)
        scope = scope_of("POST", "/", {"content-length": str(1 << 30)})
        assert asyncio.run(exchange.run(reading, scope)).status == 413
        assert exchange.sent <= 0

    def test_chunks_without_an_end_are_refused_when_they_are_too_many(self) -> None:
        def endless() -> Iterator[bytes]:
            while True:
                yield b" " * 100_000

        exchange = Exchange(endless())
        assert asyncio.run(exchange.run(reading, scope_of("POST", "/"))).status == 413
        assert exchange.sent <= MAX_BODY // 100_000 + 1

    def test_many_at_once_are_refused_before_they_fill_the_memory(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(http, "MAX_BODIES", 5_500)

        async def ask(gate: asyncio.Event, arrived: asyncio.Semaphore) -> int:
            parts = iter([b" " * 1000, b"{}"])

            async def receive() -> Message:
                part = next(parts)
                if part == b"{}":
                    arrived.release()
                    await gate.wait()
                return {"type": "http.request", "body": part, "more_body": part != b"{}"}

            try:
                await read_fields(Request(scope_of("POST", "/"), receive))
            except ApiError as exc:
                return exc.status
            return 200

        async def test() -> None:
            gate, arrived = asyncio.Event(), asyncio.Semaphore(0)
            waiting = [asyncio.ensure_future(ask(gate, arrived)) for _ in range(5)]
            for _ in waiting:
                await arrived.acquire()
            assert await ask(gate, arrived) == 503
            gate.set()
            assert await asyncio.gather(*waiting) == [200] * 5
            assert await ask(gate, arrived) == 200

        asyncio.run(test())

    @pytest.mark.parametrize("length", ["-1", "²", "9" * 1000, "1e3", ""])
    def test_a_length_that_is_none_is_no_matter(self, length: str) -> None:
        answered = asyncio.run(Exchange([b"{}"]).run(reading, scope_of("POST", "/", {"content-length": length})))
        assert answered.status == (413 if length.startswith("9") else 200)

    def test_one_that_does_not_arrive_is_not_waited_for(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(http, "_BODY_S", 0.02)

        async def receive() -> None:
            await asyncio.sleep(3600)

        async def test() -> None:
            with pytest.raises(ApiError) as caught:
                await read_fields(Request(scope_of("POST", "/"), receive))  # type: ignore[arg-type]
            assert caught.value.status == 408

        asyncio.run(test())


class TestClientsThatGoAway:
    def test_work_is_cancelled(self) -> None:
        async def test() -> None:
            was_cancelled = asyncio.Event()

            async def work() -> None:
                try:
                    await asyncio.sleep(3600)
                finally:
                    was_cancelled.set()

            async def receive() -> dict[str, str]:
                return {"type": "http.disconnect"}

            with pytest.raises(ClientGone):
                await unless_gone(Request(scope_of("POST", "/"), receive), work())
            assert was_cancelled.is_set()

        asyncio.run(test())

    def test_work_that_is_done_has_its_result_or_its_error(self) -> None:
        async def test() -> None:
            async def receive() -> None:
                await asyncio.sleep(3600)

            async def fails() -> None:
                raise ApiError(400, "no")

            request = Request(scope_of("POST", "/"), receive)  # type: ignore[arg-type]
            assert await unless_gone(request, asyncio.sleep(0, "done")) == "done"
            with pytest.raises(ApiError, match="no"):
                await unless_gone(request, fails())

        asyncio.run(test())


class Streaming:
    """An application that answers with `frames`. `is_closed` once nobody needs the replies any more."""

    def __init__(self, frames: AsyncIterator[str], ping: str = ": ping\n\n") -> None:
        self.is_closed = False
        self._frames = frames
        self._ping = ping

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await Request(scope, receive).body()
        asked = Asked("tiny:Q8_0", self._close)
        await StreamedResponse(asked, self._frames, "text/event-stream", self._ping)(scope, receive, send)

    def _close(self) -> None:
        self.is_closed = True


class TestStreams:
    def test_frames_are_sent_as_they_come(self) -> None:
        async def frames() -> AsyncIterator[str]:
            yield sse({"a": "ä"})
            yield sse({"b": 1}, "named")

        app = Streaming(frames())
        answered = ask(app, "POST", "/")
        assert answered.parts == ['data: {"a":"ä"}\n\n'.encode(), b'event: named\ndata: {"b":1}\n\n', b""]
        assert answered.headers["content-type"].startswith("text/event-stream")
        assert "content-length" not in answered.headers
        assert app.is_closed

    def test_half_a_character_is_sent_as_a_question_mark(self) -> None:
        async def frames() -> AsyncIterator[str]:
            yield sse("\ud800")

        assert ask(Streaming(frames()), "POST", "/").parts[0] == b'data: "?"\n\n'
        assert json_response("\ud800").body == b'"?"'

    def test_pings_fill_the_silence(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(http, "PING_S", 0.01)

        async def frames() -> AsyncIterator[str]:
            yield "one"
            await asyncio.sleep(0.05)
            yield "two"

        parts = ask(Streaming(frames(), "ping"), "POST", "/").parts
        assert (parts[0], parts[-2:]) == (b"one", [b"two", b""])
        assert set(parts[1:-2]) == {b"ping"}

    def test_a_client_that_goes_away_ends_the_frames(self) -> None:
        async def frames() -> AsyncIterator[str]:
            yield "one"
            await asyncio.sleep(3600)

        async def test(app: ASGIApp) -> Answered:
            exchange = Exchange([])
            running = asyncio.ensure_future(exchange.run(app, scope_of("POST", "/")))
            while not exchange.answered.parts:
                await asyncio.sleep(0)
            exchange.leave()
            return await running

        app = Streaming(frames())
        assert asyncio.run(test(app)).parts == [b"one"]
        assert app.is_closed

    def test_an_error_in_a_frame_closes_the_replies(self) -> None:
        async def frames() -> AsyncIterator[str]:
            yield "one"
            raise RuntimeError("lost")

        app = Streaming(frames())
        with pytest.raises(RuntimeError, match="lost"):
            ask(app, "POST", "/")
        assert app.is_closed


def test_json_is_compact_and_has_all_of_unicode() -> None:
    response = json_response({"a": ["ä", 1]}, 201, {"x-y": "z"})
    assert isinstance(response, Response)
    assert (response.status_code, response.body) == (201, '{"a":["ä",1]}'.encode())
    assert (response.headers["x-y"], response.headers["content-type"]) == ("z", "application/json")


def test_json_is_in_one_line_for_every_client() -> None:
    """Python's own idea of a line is the widest; httpx has it, and with it the clients of Ollama and others."""
    text = "".join(map(chr, range(sys.maxunicode + 1)))
    made = in_one_line({text: text})
    assert len(made.splitlines()) == 1
    assert json.loads(made) == {text: text}
