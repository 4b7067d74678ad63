"""Runs the application on a socket until a signal comes, and ends it in order.

The first SIGINT or SIGTERM lets the replies under way finish, for as long as the grace lasts; the second one ends them;
the third kills the process, even while C code blocks and Python handles no signals.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.types import ASGIApp

from r1.serve.web.access import addresses
from r1.serve.web.connection import MAX_HEADERS, Connection, most_connections
from r1_quantize.errors import UsageError, debugging

_BACKLOG = 128  # connections that wait, and that are accepted at once
_KEEP_ALIVE_S = 75  # longer than the pools of most clients keep an idle connection
_LAST_S = 2  # for the ends of replies that are cut off to reach their clients

_SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))


def bind(host: str, port: int) -> socket.socket:
    """A socket for connections to come; port 0: a free one. Raises UsageError."""
    family, kind, protocol, _, address = addresses(host, port)[0]
    with ExitStack() as stack:
        try:
            bound = stack.enter_context(socket.socket(family, kind, protocol))
            if hasattr(socket, "SO_REUSEADDR") and hasattr(signal, "SIGHUP"):  # on Windows it would share the port
                bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            bound.bind(address)
            bound.listen(_BACKLOG)
        except OSError as exc:
            where = f"{host} port {port}" if ":" in host else f"{host}:{port}"
            raise UsageError(f"cannot listen on {where} ({exc.strerror}); choose another address or --port") from exc
        stack.pop_all()
    return bound


def address_of(bound: socket.socket) -> str:
    """The address as a client writes it, such as `http://127.0.0.1:8017`; with the name of this machine if it listens
    on all of its addresses.
    """
    host, port = bound.getsockname()[:2]
    if host in {"0.0.0.0", "::"}:
        host = socket.gethostname()
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


@dataclass(frozen=True, slots=True)
class Ending:
    """What happens at the end. `first` is called at the first signal, `second` at the second one or after `grace_s`
    seconds. They may be called while anything else is done; `begun` is called in peace, after the first signal.
    """

    grace_s: float
    first: Callable[[], None]
    second: Callable[[], None]
    begun: Callable[[], None]


def serve(app: Starlette, bound: socket.socket, ending: Ending) -> signal.Signals:
    """Serves until a signal comes; returns the first one. Only in the main thread."""
    if not debugging():  # it warns when several pieces of a stream were sent to a client that has just gone away
        logging.getLogger("asyncio").setLevel(logging.ERROR)
    server = _Server(configured(app, ending.grace_s), ending)
    server.run(sockets=[bound])
    return server.first_signal


def configured(app: ASGIApp, grace_s: float) -> uvicorn.Config:
    """uvicorn's settings. `grace_s` is how long the replies under way may go on at the end."""
    return uvicorn.Config(
        app,
        http=Connection,
        ws="none",
        loop="asyncio",
        lifespan="off",
        log_config=None,
        log_level="error" if debugging() else "critical",  # the log of requests is our own
        access_log=False,
        backlog=_BACKLOG,
        server_header=False,
        proxy_headers=False,
        limit_concurrency=most_connections(),
        h11_max_incomplete_event_size=MAX_HEADERS,
        timeout_keep_alive=_KEEP_ALIVE_S,
        timeout_graceful_shutdown=int(grace_s) + _LAST_S,
    )


class _Server(uvicorn.Server):
    """uvicorn's, with signals of our own."""

    def __init__(self, config: uvicorn.Config, ending: Ending) -> None:
        super().__init__(config)
        self.first_signal = signal.SIGINT
        self._ending = ending
        self._signals = 0
        self._handled: list[int] = []

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._ending.begun()
        timer = asyncio.get_running_loop().call_later(self._ending.grace_s, self._ending.second)
        try:
            await super().shutdown(sockets)
        finally:
            timer.cancel()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        self._handled = [number for number in _SIGNALS if signal.getsignal(number) != signal.SIG_IGN]  # as by nohup
        previous = {number: signal.signal(number, self._handle) for number in self._handled}
        try:
            yield
        finally:
            self._ending.second()
            for number, handler in previous.items():
                signal.signal(number, handler)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        asyncio.get_running_loop().set_exception_handler(_on_loop_error)
        await super().startup(sockets)

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        self._signals += 1
        if self._signals == 1:
            self.first_signal = signal.Signals(number)
            self.should_exit = True
            self._ending.first()
            return
        for each in self._handled:
            signal.signal(each, signal.SIG_DFL)
        self.force_exit = True
        self._ending.second()


def _on_loop_error(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """A loop that may open no more files accepts connections again after a second, which needs no traceback."""
    error = context.get("exception")
    if not (isinstance(error, OSError) and error.errno in {errno.EMFILE, errno.ENFILE}) or debugging():
        loop.default_exception_handler(context)
