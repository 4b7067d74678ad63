"""Clients that are slow, many or no HTTP clients at all, over real sockets, with an application that does little."""

from __future__ import annotations

import asyncio
import json
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send

from r1.serve.web import connection
from r1.serve.web.connection import MAX_CONNECTIONS, most_connections
from r1.serve.web.server import bind, configured

HOST = b"Host: localhost\r\n"
ECHO = b"POST /echo HTTP/1.1\r\n" + HOST
SHORT_S, LONG_S = 0.15, 30.0
DEADLINE_S = 20.0


@dataclass(slots=True)
class Running:
    """A server in a thread. `left` has the paths whose clients went away while they were answered."""

    port: int
    server: uvicorn.Server
    left: list[str] = field(default_factory=list)

    def connect(self) -> socket.socket:
        client = socket.create_connection(("127.0.0.1", self.port))
        client.settimeout(DEADLINE_S)
        return client

    def ask(self, data: bytes) -> bytes:
        """All that is answered until the connection is closed."""
        with self.connect() as client:
            client.sendall(data)
            return rest_of(client)

    def lives(self) -> bool:
        return self.ask(b"GET /echo HTTP/1.0\r\n\r\n").startswith(b"HTTP/1.1 200")

    @property
    def connections(self) -> int:
        return len(self.server.server_state.connections)


async def application(running: Running, scope: Scope, receive: Receive, send: Send) -> None:
    """/echo answers with the body, /refuse before it reads, /stream never ends, /large is more than a socket holds."""
    path = scope["path"]
    body = b""
    while path == "/echo":
        message = await receive()
        if message["type"] == "http.disconnect":
            running.left.append(path)
            return
        body += message["body"]
        if not message["more_body"]:
            break
    status = 413 if path == "/refuse" else 200
    await send({"type": "http.response.start", "status": status, "headers": [(b"x-length", b"%d" % len(body))]})
    try:
        while path == "/stream":
            await send({"type": "http.response.body", "body": bytes(1 << 16), "more_body": True})
            if await is_gone(receive):
                running.left.append(path)
                return
    finally:
        large = bytes(16 << 20) if path == "/large" else body
        await send({"type": "http.response.body", "body": large})


async def is_gone(receive: Receive) -> bool:
    try:
        async with asyncio.timeout(0.001):
            while (await receive())["type"] != "http.disconnect":
                pass
    except TimeoutError:
        return False
    return True


@contextmanager
def serving(most: int = MAX_CONNECTIONS) -> Iterator[Running]:
    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        await application(running, scope, receive, send)

    with closing(bind("127.0.0.1", 0)) as bound:
        config = configured(answer, 1)
        config.limit_concurrency = most
        running = Running(bound.getsockname()[1], uvicorn.Server(config))
        thread = threading.Thread(target=running.server.run, args=([bound],))
        thread.start()
        try:
            until(lambda: running.server.started)
            yield running
        finally:
            running.server.should_exit = True
            thread.join(DEADLINE_S)
        assert not thread.is_alive()


@pytest.fixture(scope="module")
def running() -> Iterator[Running]:
    with serving() as server:
        yield server


@pytest.fixture(autouse=True)
def long_times(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a busy machine changes nothing."""
    times(monkeypatch, _HEADERS_S=LONG_S, _REST_S=LONG_S, _WRITE_S=LONG_S, _LINGER_S=LONG_S)


def times(monkeypatch: pytest.MonkeyPatch, **seconds: float) -> None:
    for name, value in seconds.items():
        monkeypatch.setattr(connection, name, value)


def until(is_true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not is_true():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def is_cut_off(client: socket.socket) -> bool:
    """Whether it can no longer send, after one more byte."""
    try:
        client.sendall(b"G")
    except ConnectionError:
        return True
    return False


def rest_of(client: socket.socket) -> bytes:
    """All that still comes, up to the end."""
    parts = []
    while part := client.recv(1 << 20):
        parts.append(part)
    return b"".join(parts)


def error_in(answer: bytes) -> dict[str, str]:
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"content-type: application/json" in head
    return json.loads(body)["error"]


class TestSlow:
    @pytest.mark.parametrize("sent", [b"", b"GET / HT", ECHO, ECHO + b"Content-"])
    def test_headers_that_do_not_end_are_not_waited_for(
        self, running: Running, monkeypatch: pytest.MonkeyPatch, sent: bytes
    ) -> None:
        times(monkeypatch, _HEADERS_S=SHORT_S)
        answer = running.ask(sent)
        assert answer.startswith(b"HTTP/1.1 408 ") if sent else answer == b""

    def test_a_byte_now_and_then_wins_no_time(self, running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
        times(monkeypatch, _HEADERS_S=SHORT_S)
        with running.connect() as client:
            client.settimeout(0.01)
            answer = b""
            while not answer:
                client.sendall(b"A")
                try:
                    answer = client.recv(1 << 16)
                except TimeoutError:
                    continue
            client.settimeout(DEADLINE_S)
            answer += rest_of(client)
        assert answer.startswith(b"HTTP/1.1 408 ")
        assert error_in(answer)["type"] == "invalid_request_error"

    def test_nor_do_the_headers_of_a_second_request(self, running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
        with running.connect() as client:
            client.sendall(ECHO + b"Content-Length: 2\r\n\r\nhi")
            assert client.recv(1 << 16).startswith(b"HTTP/1.1 200 ")
            times(monkeypatch, _HEADERS_S=SHORT_S)
            client.sendall(b"POST /ec")
            assert b"HTTP/1.1 408 " in rest_of(client)

    def test_the_rest_of_a_body_that_was_refused_is_not_waited_for(
        self, running: Running, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        times(monkeypatch, _REST_S=SHORT_S)
        with running.connect() as client:
            client.sendall(b"POST /refuse HTTP/1.1\r\n" + HOST + b"Content-Length: 1000000000\r\n\r\nabc")
            assert client.recv(1 << 16).startswith(b"HTTP/1.1 413 ")
            until(lambda: is_cut_off(client))

    def test_a_rest_that_comes_is_thrown_away_and_the_connection_goes_on(self, running: Running) -> None:
        with running.connect() as client:
            client.sendall(b"POST /refuse HTTP/1.1\r\n" + HOST + b"Content-Length: 300000\r\n\r\n")
            assert client.recv(1 << 16).startswith(b"HTTP/1.1 413 ")
            client.sendall(bytes(300_000) + b"GET /echo HTTP/1.0\r\n\r\n")
            assert b"HTTP/1.1 200 " in rest_of(client)

    @pytest.mark.parametrize("path", [b"/stream", b"/large"])
    @pytest.mark.parametrize("version", [b"1.0", b"1.1"])
    def test_a_client_that_does_not_read_is_cut_off(
        self, running: Running, monkeypatch: pytest.MonkeyPatch, path: bytes, version: bytes
    ) -> None:
        times(monkeypatch, _WRITE_S=SHORT_S)
        before = running.connections
        with running.connect() as client:
            client.sendall(b"GET " + path + b" HTTP/" + version + b"\r\n" + HOST + b"\r\n")
            until(lambda: running.connections > before)
            until(lambda: running.connections == before)
            assert len(rest_of(client)) < 16 << 20

    def test_one_that_reads_slowly_is_not(self, running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
        with running.connect() as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
            client.sendall(b"GET /large HTTP/1.0\r\n\r\n")
            answer = client.recv(1000)
            for _ in range(20):
                time.sleep(0.01)
                answer += client.recv(1000)
            answer += rest_of(client)
        assert len(answer.partition(b"\r\n\r\n")[2]) == 16 << 20


class TestNoHttp:
    @pytest.mark.parametrize(
        ("sent", "status"),
        [
            (b"hello\r\n\r\n", 400),
            (b"\r\n", 400),
            (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
            (b"GET /echo HTTP/1.1\r\n\r\n", 400),
            (b"GET /echo HTTP/1.1\r\n" + HOST + HOST + b"\r\n", 400),
            (b"GET /echo HTTP/1.1\r\n" + HOST + b"X: a\x00b\r\n\r\n", 400),
            (b"GET /echo HTTP/1.1\r\n" + HOST + b"X : a\r\n\r\n", 400),
            (b"GET /echo HTTP/1.1\r\n" + HOST + b"no header\r\n\r\n", 400),
            (b"GET /ec ho HTTP/1.1\r\n" + HOST + b"\r\n", 400),
            (b"GET /\xc3\xa4 HTTP/1.1\r\n" + HOST + b"\r\n", 400),
            (b"GET /echo HTTP/1.1\r\n" + HOST + b"X: " + b"a" * 3_000_000, 431),
            (b"GET /" + b"a" * 3_000_000, 431),
            (ECHO + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello", 400),
            (ECHO + b"Content-Length: -5\r\n\r\n", 400),
            (ECHO + b"Content-Length: 5x\r\n\r\n", 400),
            (ECHO + b"Content-Length: " + b"9" * 30 + b"\r\n\r\n", 400),
            (ECHO + b"Transfer-Encoding: gzip, chunked\r\n\r\n", 501),
            (ECHO + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 501),
            (ECHO + b"Transfer-Encoding: chunked\r\n\r\nxyz\r\n\r\n", 400),
            (ECHO + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhelloNO", 400),
            (ECHO + b"Transfer-Encoding: chunked\r\n\r\n" + b"0" * 30 + b"\r\n\r\n", 400),
        ],
    )
    def test_what_is_no_request_gets_an_error_and_the_server_lives(
        self, running: Running, capfd: pytest.CaptureFixture[str], sent: bytes, status: int
    ) -> None:
        with running.connect() as client:
            client.sendall(sent)
            client.shutdown(socket.SHUT_WR)
            answer = rest_of(client)
        assert answer.startswith(b"HTTP/1.1 %d " % status)
        assert error_in(answer)["message"].startswith("this is no valid HTTP request: ")
        assert "bytearray" not in error_in(answer)["message"]
        assert running.lives()
        assert capfd.readouterr() == ("", "")

    def test_an_application_that_waits_for_the_body_learns_that_it_went_wrong(self, running: Running) -> None:
        running.left.clear()
        answer = running.ask(ECHO + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n" + b"?\r\n")
        assert answer.startswith(b"HTTP/1.1 400 ")
        until(lambda: running.left == ["/echo"])

    def test_a_client_that_does_not_go_after_its_error_is_cut_off(
        self, running: Running, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        times(monkeypatch, _LINGER_S=SHORT_S)
        before = running.connections
        with running.connect() as client:
            client.sendall(b"hello\r\n\r\n")
            assert rest_of(client).startswith(b"HTTP/1.1 400 ")
            until(lambda: running.connections == before)

    def test_the_server_can_end_while_one_lingers(self) -> None:
        with serving() as running, running.connect() as client:
            client.sendall(b"hello\r\n\r\n")
            assert rest_of(client).startswith(b"HTTP/1.1 400 ")


class TestUnusual:
    def test_requests_that_come_at_once_are_answered_in_order(self, running: Running) -> None:
        answer = running.ask(
            ECHO + b"Content-Length: 3\r\n\r\none" + ECHO + b"Content-Length: 5\r\nConnection: close\r\n\r\nthree"
        )
        assert answer.count(b"HTTP/1.1 200 ") == 2
        assert answer.index(b"one") < answer.index(b"three")

    def test_http_1_0_is_answered_and_closed(self, running: Running) -> None:
        answer = running.ask(b"POST /echo HTTP/1.0\r\nContent-Length: 2\r\n\r\nhi")
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert answer.endswith(b"\r\n\r\nhi")

    def test_head_gets_no_body(self, running: Running) -> None:
        answer = running.ask(b"HEAD /echo HTTP/1.1\r\n" + HOST + b"Content-Length: 2\r\nConnection: close\r\n\r\nhi")
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert answer.endswith(b"\r\n\r\n")

    def test_a_client_that_asks_first_is_told_to_go_on(self, running: Running) -> None:
        with running.connect() as client:
            client.sendall(ECHO + b"Expect: 100-continue\r\nContent-Length: 2\r\nConnection: close\r\n\r\n")
            assert client.recv(1 << 16).startswith(b"HTTP/1.1 100 ")
            client.sendall(b"hi")
            assert b"\r\nhi\r\n" in rest_of(client)

    def test_and_not_told_so_if_the_answer_is_known(self, running: Running) -> None:
        with running.connect() as client:
            client.sendall(b"POST /refuse HTTP/1.1\r\n" + HOST + b"Expect: 100-continue\r\nContent-Length: 2\r\n\r\n")
            assert client.recv(1 << 16).startswith(b"HTTP/1.1 413 ")

    def test_a_websocket_is_not_opened(self, running: Running) -> None:
        upgrade = b"Connection: close, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        answer = running.ask(b"GET /echo HTTP/1.1\r\n" + HOST + upgrade + b"Sec-WebSocket-Key: AAAA\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 200 ")


class TestMany:
    def test_one_too_many_is_turned_away_in_words_and_more_are_cut_off(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(connection, "_TURNED_AWAY", 1)
        get = b"GET /echo HTTP/1.1\r\n" + HOST + b"\r\n"
        with serving(most=2) as running, running.connect() as first, running.connect() as second:
            for client in (first, second):
                client.sendall(get)
                assert client.recv(1 << 16).startswith(b"HTTP/1.1 200 ")
            with running.connect() as third:
                until(lambda: running.connections == 3)
                with running.connect() as fourth:
                    until(lambda: is_cut_off(fourth))
                third.sendall(get)
                answer = rest_of(third)
            assert answer.startswith(b"HTTP/1.1 503 ")
            assert b"retry-after: " in answer
            assert "too many connections" in error_in(answer)["message"]
            second.close()
            until(lambda: running.connections == 1)
            assert running.lives()

    @pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such limit")
    @pytest.mark.parametrize(
        ("soft", "hard", "raised", "most"),
        [
            (1 << 20, 1 << 20, None, 1000),
            (-1, -1, None, 1000),
            (256, -1, 2000, 1000),  # macOS
            (1024, 1 << 19, 2000, 1000),  # Linux
            (256, 512, 512, 256),
            (64, 64, 64, 32),
        ],
    )
    def test_as_many_as_the_process_may_have_files(
        self, monkeypatch: pytest.MonkeyPatch, soft: int, hard: int, raised: int | None, most: int
    ) -> None:
        import resource

        limits: list[tuple[int, int]] = []
        monkeypatch.setattr(resource, "RLIM_INFINITY", -1)
        monkeypatch.setattr(resource, "getrlimit", lambda _: (soft, hard))
        monkeypatch.setattr(resource, "setrlimit", lambda _, pair: limits.append(pair))
        assert most_connections() == most
        assert limits == ([] if raised is None else [(raised, hard)])
