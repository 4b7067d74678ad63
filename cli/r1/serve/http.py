"""HTTP for all APIs: reading a body, an answer as a whole or as a stream, and noticing that a client has gone away."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from r1.serve.asked import Asked
from r1.serve.collected import Collected, collect
from r1.serve.errors import ApiError
from r1.serve.fields import Fields

MAX_BODY = 16 << 20
"""Bytes; the longest prompt that any of the models can take has about one."""

MAX_BODIES = 256 << 20
"""Bytes of all bodies that arrive at once: many clients that each stay below MAX_BODY would fill the memory."""

PING_S = 15.0
_BODY_S = 60.0  # for a whole body to arrive

_LINE_BREAKS = {ord(mark): f"\\u{ord(mark):04x}" for mark in "\x85\u2028\u2029"}
"""Those that JSON itself does not escape, as `str.splitlines` knows them."""

_Result = TypeVar("_Result")


@dataclass(slots=True)
class _Arriving:
    """Bytes of the bodies that are arriving."""

    total: int = 0


_arriving = _Arriving()


class ClientGone(Exception):
    """The client has closed its connection; nobody reads the answer."""


async def read_fields(request: Request) -> Fields:
    """The body's JSON object. Raises ApiError for one that is too large, too slow or no JSON object, and ClientGone."""
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and int(announced[:20]) > MAX_BODY:
        raise _too_large()
    body = bytearray()
    try:
        async with asyncio.timeout(_BODY_S):
            async for part in request.stream():
                body += part
                _arriving.total += len(part)
                if len(body) > MAX_BODY:
                    raise _too_large()
                if _arriving.total > MAX_BODIES:
                    raise ApiError(503, "too much arrives at once", code="overloaded", retry_after_s=5)
    except ClientDisconnect as exc:
        raise ClientGone from exc
    except TimeoutError as exc:
        raise ApiError(408, f"the body did not arrive within {_BODY_S:.0f} seconds") from exc
    finally:
        _arriving.total -= len(body)
    return Fields.parse(bytes(body))


def _too_large() -> ApiError:
    return ApiError(413, f"the body is larger than {MAX_BODY >> 20} MiB")


def json_response(value: object, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """Compact JSON in UTF-8; half a character, which only a client can have sent, becomes a question mark."""
    body = in_one_line(value).encode(errors="replace")
    return Response(body, status, headers, media_type="application/json")


async def respond(
    request: Request,
    asked: Asked,
    stream: Callable[[], StreamedResponse] | None,
    whole: Callable[[list[Collected]], Response],
) -> Response:
    """What `stream` makes of the replies when they begin, or, if it is None, `whole` when they have ended.

    Closes `asked` in any case. Raises ApiError before the answer has begun, and ClientGone.
    """
    try:
        await unless_gone(request, asked.begin(PING_S if stream else None))
        if stream is not None:
            return stream()
        replies = await unless_gone(request, collect(asked))
    except BaseException:
        asked.close()
        raise
    asked.close()
    return whole(replies)


async def unless_gone(request: Request, work: Awaitable[_Result]) -> _Result:
    """The result of the work, which is cancelled when the client goes away: then raises ClientGone."""
    return await _unless_gone(request.receive, work)


async def _unless_gone(receive: Receive, work: Awaitable[_Result]) -> _Result:
    task = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_disconnected(receive))
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        raise ClientGone
    finally:
        await _cancel(task, gone)


class StreamedResponse(Response):
    """Sends what `frames` yields as it comes, with a ping when there is nothing for a while, and closes `asked` when it
    is over or the client has gone away.
    """

    def __init__(self, asked: Asked, frames: AsyncIterator[str], media_type: str, ping: str) -> None:
        """`ping` is something to send that means nothing."""
        super().__init__(media_type=media_type, headers={"cache-control": "no-cache", "x-accel-buffering": "no"})
        del self.headers["content-length"]
        self._asked = asked
        self._frames = frames
        self._ping = ping
        self._sent_at = 0.0  # by the event loop's clock
        self._is_sending = False  # a slow reader needs no ping

    async def __call__(self, _scope: Scope, receive: Receive, send: Send) -> None:
        try:
            with suppress(ClientGone):
                await _unless_gone(receive, self._send_all(send))
        finally:
            self._asked.close()

    async def _send_all(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        self._sent_at = asyncio.get_running_loop().time()
        pings = asyncio.ensure_future(self._send_pings(send))  # one task: a timeout for each frame costs a third more
        try:
            async for frame in self._frames:
                await self._send_part(send, frame)
        finally:
            await _cancel(pings)
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _send_part(self, send: Send, text: str) -> None:
        self._is_sending = True
        await send({"type": "http.response.body", "body": text.encode(errors="replace"), "more_body": True})
        self._is_sending = False
        self._sent_at = asyncio.get_running_loop().time()

    async def _send_pings(self, send: Send) -> None:
        """One after each PING_S seconds in which nothing was sent."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(max(self._sent_at + PING_S - loop.time(), 0) if not self._is_sending else PING_S)
            if not self._is_sending and loop.time() >= self._sent_at + PING_S:
                await self._send_part(send, self._ping)


async def _disconnected(receive: Callable[[], Awaitable[Any]]) -> None:
    """Returns when the client has closed the connection; only after its body was read."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def _cancel(*tasks: asyncio.Future[Any]) -> None:
    for task in tasks:
        task.cancel()
    for task in tasks:
        with suppress(asyncio.CancelledError, Exception):
            await task


def sse(data: object, event: str | None = None) -> str:
    """One server-sent event with JSON as its data."""
    name = f"event: {event}\n" if event else ""
    return f"{name}data: {in_one_line(data)}\n\n"


def in_one_line(value: object) -> str:
    """Compact JSON without anything that a client could take for the end of a line, as httpx does with U+2028."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return text if text.isascii() else text.translate(_LINE_BREAKS)
