"""One connection: uvicorn's, with limits for clients that are slow, many or no HTTP clients at all.

uvicorn limits how long an idle connection stays open after an answer. Here are the times for all the rest: headers
that do not end, a body that nobody wants, an answer that is not read.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, cast

import h11
from starlette.requests import Request
from starlette.types import Receive, Scope, Send
from uvicorn.config import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from r1.serve.errors import ApiError
from r1.serve.openai.objects import error_object
from r1.serve.web.app import refuse

MAX_CONNECTIONS = 1_000
MAX_HEADERS = 64 << 10  # bytes, with the request line

_TURNED_AWAY = 64  # connections beyond the limit that get an answer; further ones are cut off

_HEADERS_S = 20.0  # for the headers of a request, from the first byte; for the first byte of a connection
_REST_S = 30.0  # for the rest of a body that is not wanted any more, after the answer
_WRITE_S = 120.0  # for a client that reads nothing, while there is something to read
_LINGER_S = 5.0  # for a client to read a last answer, before the connection is cut off


def most_connections() -> int:
    """How many may be open at once. Raises the process's limit of open files if it is too low for MAX_CONNECTIONS."""
    if sys.platform == "win32":
        return MAX_CONNECTIONS
    import resource

    wanted = 2 * MAX_CONNECTIONS  # the rest is for models, and for connections that are accepted only to be cut off
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return MAX_CONNECTIONS
    allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    except (OSError, ValueError):  # macOS has a limit of its own besides
        allowed = soft
    return allowed // 2


class Connection(H11Protocol):
    """Two clocks: for what the client should send next, and for a client that does not read."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._most = config.limit_concurrency or MAX_CONNECTIONS
        self.limit_concurrency = None  # uvicorn's own answer has no API's shape
        self._reading: asyncio.TimerHandle | None = None
        self._otherwise: Callable[[], None] | None = None  # what that clock does
        self._writing: asyncio.TimerHandle | None = None
        self._is_over = False  # what still comes is thrown away

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(cast("asyncio.Transport", _Lingering(transport, self)))
        if len(self.connections) > self._most + _TURNED_AWAY:
            transport.abort()
            return
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        self._expect_nothing()
        self.resume_writing()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._is_over:
            return
        self.app = _turn_away if len(self.connections) > self._most else self.config.loaded_app
        super().data_received(data)
        self._watch()

    def on_response_complete(self) -> None:
        if self._is_over:
            self.flow.resume_reading()
        else:
            super().on_response_complete()
            self._watch()

    def wants_the_rest(self) -> bool:
        """Whether the client still sends a body, which must be read although the connection is to be closed."""
        return self.conn.their_state is h11.SEND_BODY and not self._is_over

    def pause_writing(self) -> None:
        super().pause_writing()
        self._writing = self._writing or self.loop.call_later(_WRITE_S, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._writing is not None:
            self._writing.cancel()
            self._writing = None

    def send_400_response(self, msg: str) -> None:
        """Called for what is no HTTP request, while h11's error is handled, which has the better status and text."""
        problem = sys.exception()
        status = problem.error_status_hint if isinstance(problem, h11.RemoteProtocolError) else 400
        if self.cycle is not None and not self.cycle.response_complete:  # its body went wrong
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        if self.conn.our_state in {h11.IDLE, h11.SEND_RESPONSE}:
            what = str(problem or msg).partition(": bytearray")[0]  # not what was sent
            self._send_last(ApiError(status, f"this is no valid HTTP request: {what}"))
        self.end()

    def end(self) -> None:
        """Closes the connection when the client has read the answer: closed at once, it would lose it, because of the
        bytes that it still sends.
        """
        self._is_over = True
        self._expect(_WRITE_S if self.transport.get_write_buffer_size() else _LINGER_S, self.transport.abort)
        if self.transport.can_write_eof():
            self.transport.write_eof()
        else:
            self.transport.close()

    def shutdown(self) -> None:
        if not self._is_over:
            super().shutdown()
        if self._is_over:
            self.transport.close()

    def timeout_keep_alive_handler(self) -> None:
        super().timeout_keep_alive_handler()
        self._watch()

    def _watch(self) -> None:
        """Sets the clock for what the client should do next."""
        if self._is_over:
            return
        if self.transport.is_closing():  # it waits until the client has taken what there is
            self._expect(_WRITE_S, self.transport.abort)
        elif self.conn.their_state is h11.IDLE and self.timeout_keep_alive_task is None:
            self._expect(_HEADERS_S, self._refuse_slow)
        elif self.conn.their_state is h11.SEND_BODY and self.cycle.response_complete:
            self._expect(_REST_S, self._cut)
        else:
            self._expect_nothing()

    def _expect(self, seconds: float, otherwise: Callable[[], None]) -> None:
        """A clock that runs for the same goes on: a byte now and then wins no time."""
        if self._otherwise != otherwise:
            self._expect_nothing()
            self._reading = self.loop.call_later(seconds, otherwise)
            self._otherwise = otherwise

    def _expect_nothing(self) -> None:
        if self._reading is not None:
            self._reading.cancel()
        self._reading = self._otherwise = None

    def _cut(self) -> None:
        self.transport.abort()

    def _refuse_slow(self) -> None:
        if self.conn.trailing_data[0]:
            self._send_last(ApiError(408, f"the headers did not arrive within {_HEADERS_S:.0f} seconds"))
            self.end()
        else:
            self.transport.close()

    def _send_last(self, error: ApiError) -> None:
        """An answer to a request that has no path yet, so that its API is not known: OpenAI's shape."""
        body = json.dumps(error_object(error)).encode()
        headers = [("content-type", "application/json"), ("content-length", str(len(body))), ("connection", "close")]
        reason = HTTPStatus(error.status).phrase.encode()
        response = h11.Response(status_code=error.status, headers=headers, reason=reason)
        for event in (response, h11.Data(data=body), h11.EndOfMessage()):
            self.transport.write(self.conn.send(event) or b"")


class _Lingering:
    """A transport that uvicorn may close before the whole request has come."""

    def __init__(self, transport: asyncio.Transport, connection: Connection) -> None:
        self._transport = transport
        self._connection = connection

    def close(self) -> None:
        if self._connection.wants_the_rest():
            self._connection.end()
        else:
            self._transport.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


async def _turn_away(scope: Scope, receive: Receive, send: Send) -> None:
    """The answer over a connection too many, which is closed then."""
    error = ApiError(503, "too many connections", code="overloaded", retry_after_s=5)
    response = await refuse(Request(scope), error)
    response.headers["connection"] = "close"
    await response(scope, receive, send)
