"""Proxies on loopback: SOCKS 5 (RFC 1928, passwords RFC 1929), and HTTP with CONNECT. They count what they pass on."""

from __future__ import annotations

import base64
import gc
import select
import socket
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from socketserver import BaseRequestHandler, ThreadingTCPServer
from typing import Literal, Self
from urllib.parse import urlsplit

Refusal = Literal["by rule", "of the host", "garbage", "hang up"]
_REPLIES = {"by rule": 2, "of the host": 5}  # RFC 1928, section 6
_IPV4, _NAME = 1, 3


class Proxy:
    """A proxy. With `password` it wants user "user" and that password; with `refusal` it connects to nothing."""

    def __init__(
        self, kind: Literal["socks5", "http"] = "socks5", *, password: str | None = None, refusal: Refusal | None = None
    ) -> None:
        self.kind = kind
        self.password = password
        self.refusal = refusal
        self.targets: list[tuple[str, int]] = []  # the hosts that were asked for
        self._server = _Server(("127.0.0.1", 0), _Socks if kind == "socks5" else _Http)
        self._server.proxy = self

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Go away: every connection breaks, and no new one is accepted."""
        self._server.shutdown()
        for connection in list(self._server.connections):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self._server.server_close()

    @property
    def address(self) -> str:
        """HOST:PORT."""
        return f"127.0.0.1:{self._server.server_address[1]}"


@contextmanager
def unclosed_connections() -> Iterator[None]:
    """Around a test with a SOCKS proxy that refuses: httpcore2 leaves closing that connection to the collector."""
    gc.freeze()  # the objects of other tests would make a collection slow
    yield
    with warnings.catch_warnings(action="ignore", category=ResourceWarning):
        gc.collect()
    gc.unfreeze()


class _Server(ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False
    proxy: Proxy

    def __init__(self, *arguments: object) -> None:
        super().__init__(*arguments)  # type: ignore[arg-type]
        self.connections: set[socket.socket] = set()

    def handle_error(self, *_: object) -> None:
        """Keep the tests' output clean: either side may hang up at any time."""


class _Handler(BaseRequestHandler):
    server: _Server
    request: socket.socket

    def handle(self) -> None:
        self.server.connections.add(self.request)
        if self.server.proxy.refusal == "garbage":
            self.request.sendall(b"SSH-2.0-OpenSSH_9.6\r\n")
        elif self.server.proxy.refusal != "hang up":
            self.serve()

    def serve(self) -> None:
        raise NotImplementedError

    def read(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            piece = self.request.recv(count - len(data))
            if not piece:
                raise ConnectionError
            data += piece
        return data

    def relay(self, target: tuple[str, int], greeting: bytes, first: bytes = b"") -> None:
        """Connect, say so with `greeting`, and copy bytes both ways until one side is done.

        With `first`, a request, the answer to it is marked as the last of its connection.
        """
        with socket.create_connection(target) as other:
            self.server.connections.add(other)
            self.request.sendall(greeting)
            other.sendall(first)
            pairs = {self.request: other, other: self.request}
            while True:
                for ready in select.select(list(pairs), [], [])[0]:
                    data = ready.recv(1 << 16)
                    if not data:
                        return
                    if first and ready is other:
                        data, first = data.replace(b"\r\n", b"\r\nConnection: close\r\n", 1), b""
                    pairs[ready].sendall(data)


class _Socks(_Handler):
    def serve(self) -> None:
        proxy = self.server.proxy
        version, count = self.read(2)
        methods = self.read(count)
        wanted = 2 if proxy.password else 0
        if version != 5 or wanted not in methods:
            self.request.sendall(b"\x05\xff")
            return
        self.request.sendall(bytes([5, wanted]))
        if proxy.password and not self._password_is(proxy.password):
            return
        _, command, _, kind = self.read(4)
        host = socket.inet_ntoa(self.read(4)) if kind == _IPV4 else self.read(self.read(1)[0]).decode()
        port = int.from_bytes(self.read(2))
        assert (command, kind in {_IPV4, _NAME}) == (1, True)
        proxy.targets.append((host, port))
        reply = _REPLIES.get(proxy.refusal or "", 0)
        answer = bytes([5, reply, 0, 1, 0, 0, 0, 0, 0, 0])
        if reply:
            self.request.sendall(answer)
        else:
            self.relay((host, port), answer)

    def _password_is(self, password: str) -> bool:
        self.read(1)
        user = self.read(self.read(1)[0])
        given = self.read(self.read(1)[0])
        right = (user, given) == (b"user", password.encode())
        self.request.sendall(bytes([1, 0 if right else 1]))
        return right


class _Http(_Handler):
    """CONNECT for https, and absolute addresses for http."""

    def serve(self) -> None:
        proxy, head = self.server.proxy, b""
        while b"\r\n\r\n" not in head:
            head += self.read(1)
        line, *fields = head.decode("latin-1").split("\r\n")
        method, address, _ = line.split(" ")
        given = [field.partition(": ")[2] for field in fields if field.lower().startswith("proxy-authorization")]
        wanted = "Basic " + base64.b64encode(f"user:{proxy.password}".encode()).decode()
        if proxy.password and given != [wanted]:
            self._answer("407 Proxy Authentication Required")
        elif proxy.refusal:
            self._answer("403 Forbidden" if proxy.refusal == "by rule" else "502 Bad Gateway")
        else:
            parts = urlsplit(f"//{address}" if method == "CONNECT" else address)
            target = (parts.hostname or "", parts.port or 80)
            proxy.targets.append(target)
            if method == "CONNECT":
                self.relay(target, b"HTTP/1.1 200 Connection established\r\n\r\n")
            else:
                local = f"{parts.path}?{parts.query}" if parts.query else parts.path
                head = head.replace(address.encode(), local.encode(), 1).replace(b"keep-alive", b"close", 1)
                self.relay(target, b"", head)

    def _answer(self, status: str) -> None:
        self.request.sendall(f"HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode())
