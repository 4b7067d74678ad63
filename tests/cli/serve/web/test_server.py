"""The socket, its address, and what the signals do."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest

from r1.serve.web.server import address_of, bind
from r1_quantize.errors import UsageError
from tests.conftest import own_environ

POSIX = pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")
WAIT_S = 60


@pytest.fixture
def taken() -> Iterator[int]:
    """A port on which another program listens."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        yield other.getsockname()[1]


class TestBind:
    def test_a_free_port_of_this_machine(self) -> None:
        with bind("127.0.0.1", 0) as bound, socket.create_connection(bound.getsockname()) as client:
            assert client.getpeername() == bound.getsockname()

    def test_twice_in_a_row(self) -> None:
        """A server that is started again at once finds connections of the one before."""
        with bind("127.0.0.1", 0) as bound:
            port = bound.getsockname()[1]
            with socket.create_connection(bound.getsockname()):
                accepted, _ = bound.accept()
            accepted.close()
        bind("127.0.0.1", port).close()

    def test_a_port_in_use(self, taken: int) -> None:
        with pytest.raises(UsageError, match=rf"^cannot listen on 127\.0\.0\.1:{taken} \(.+\); .+ --port$"):
            bind("127.0.0.1", taken)

    def test_of_another_server(self) -> None:
        with bind("127.0.0.1", 0) as first, pytest.raises(UsageError, match="cannot listen"):
            bind("127.0.0.1", first.getsockname()[1])

    @pytest.mark.parametrize("host", ["no-such-host.invalid", "300.1.1.1", "a" * 300, "\ud800", "x\0y"])
    def test_a_host_that_is_none(self, host: str) -> None:
        with pytest.raises(UsageError, match="no such address"):
            bind(host, 0)

    @pytest.mark.parametrize("host", ["192.0.2.1", "2001:db8::1"])
    def test_an_address_of_another_machine(self, host: str) -> None:
        """Those are for documents (RFC 5737, RFC 3849)."""
        with pytest.raises(UsageError, match=rf"^cannot listen on {host}( port |:)8017 \("):
            bind(host, 8017)


class TestAddress:
    def test_of_ipv4(self) -> None:
        with bind("127.0.0.1", 0) as bound:
            assert address_of(bound) == f"http://127.0.0.1:{bound.getsockname()[1]}"

    def test_of_ipv6_is_in_brackets(self) -> None:
        try:
            bound = bind("::1", 0)
        except UsageError:
            pytest.skip("no IPv6 here")
        with bound:
            assert address_of(bound) == f"http://[::1]:{bound.getsockname()[1]}"

    def test_on_all_addresses_it_is_the_name_of_the_machine(self) -> None:
        with bind("0.0.0.0", 0) as bound:
            assert address_of(bound) == f"http://{socket.gethostname()}:{bound.getsockname()[1]}"


SERVER = """
import asyncio, sys, time
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from r1.serve.web.server import Ending, bind, serve

async def wait(request):
    print("begun", flush=True)
    await asyncio.sleep(60) if request.url.path == "/wait" else time.sleep(60)
    return PlainTextResponse("done")

def say(word):
    return lambda: print(word, flush=True)

bound = bind("127.0.0.1", 0)
print(bound.getsockname()[1], flush=True)
app = Starlette(routes=[Route("/wait", wait), Route("/block", wait)])
number = serve(app, bound, Ending(float(sys.argv[1]), say("first"), say("second"), say("waiting")))
print(number.name, flush=True)
"""


class Process:
    """A server that says what it does, and one request that it answers for a minute."""

    def __init__(self, grace: str, path: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", SERVER, grace], stdout=subprocess.PIPE, env=own_environ(), text=True
        )
        self.client = socket.create_connection(("127.0.0.1", int(self.line())), WAIT_S)
        self.client.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        assert self.line() == "begun"

    def line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def lines(self) -> list[str]:
        assert self.process.stdout is not None
        return self.process.stdout.read().split()

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close()
        self.process.kill()
        self.process.communicate()


@POSIX
class TestSignals:
    def test_the_second_ends_what_the_first_lets_finish(self) -> None:
        with Process("3600", "/wait") as server:
            server.process.send_signal(signal.SIGTERM)
            assert [server.line(), server.line()] == ["first", "waiting"]
            server.process.send_signal(signal.SIGINT)
            assert server.line() == "second"
            assert server.process.wait(WAIT_S) == 0
            assert server.lines()[-1] == "SIGTERM", "the first counts"
            assert b"done" not in server.client.recv(1000)

    def test_without_grace_the_first_ends_it(self) -> None:
        with Process("0", "/wait") as server:
            server.process.send_signal(signal.SIGINT)
            assert [server.line(), server.line(), server.line()] == ["first", "waiting", "second"]
            assert server.process.wait(WAIT_S) == 0

    def test_the_third_kills_a_process_that_is_blocked(self) -> None:
        with Process("3600", "/block") as server:
            server.process.send_signal(signal.SIGTERM)
            assert server.line() == "first"
            server.process.send_signal(signal.SIGTERM)
            assert server.line() == "second"
            server.process.send_signal(signal.SIGTERM)
            assert server.process.wait(WAIT_S) == -signal.SIGTERM
