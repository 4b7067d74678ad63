"""A client that calls an ASGI application in the same process, and can send what no well-kept client sends."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from starlette.types import ASGIApp, Message, Scope

ANSWER_S = 60.0


@dataclass(slots=True)
class Answered:
    """What the application sent. `parts` are the pieces of its body as they came."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    parts: list[bytes] = field(default_factory=list)

    @property
    def body(self) -> bytes:
        return b"".join(self.parts)

    def json(self) -> Any:
        return json.loads(self.body)

    def events(self) -> list[Any]:
        """The data of server-sent events, without the mark of the end."""
        frames = [line.removeprefix("data: ") for line in self.body.decode().splitlines() if line.startswith("data: ")]
        return [json.loads(frame) for frame in frames if frame != "[DONE]"]


@dataclass(slots=True)
class Exchange:
    """One request. It sends `chunks`, and takes the answer into `answered`; `leave` makes the client go away."""

    chunks: Iterable[bytes]
    answered: Answered = field(default_factory=Answered)
    sent: int = 0
    """Chunks that the application has read."""
    _gone: asyncio.Event = field(default_factory=asyncio.Event)

    def leave(self) -> None:
        self._gone.set()

    async def run(self, app: ASGIApp, scope: Scope) -> Answered:
        chunks = iter(self.chunks)

        async def receive() -> Message:
            chunk = next(chunks, None)
            if chunk is not None:
                self.sent += 1
                return {"type": "http.request", "body": chunk, "more_body": True}
            if self.sent >= 0:
                self.sent = -1
                return {"type": "http.request", "body": b"", "more_body": False}
            await self._gone.wait()
            return {"type": "http.disconnect"}

        async def send(message: Message) -> None:
            if message["type"] == "http.response.start":
                self.answered.status = message["status"]
                headers = message.get("headers", ())
                self.answered.headers = {name.decode(): value.decode() for name, value in headers}
            else:
                self.answered.parts.append(message.get("body", b""))

        await asyncio.wait_for(app(scope, receive, send), ANSWER_S)
        return self.answered


def scope_of(method: str, path: str, headers: Mapping[str, str] | None = None) -> Scope:
    given = {"host": "127.0.0.1:8017", **(headers or {})}
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [(name.encode(), value.encode()) for name, value in given.items()],
        "client": ("127.0.0.1", 50000),
        "server": ("127.0.0.1", 8017),
    }


def ask(
    app: ASGIApp, method: str, path: str, body: object = None, headers: Mapping[str, str] | None = None
) -> Answered:
    """The answer to one request. `body` is JSON, or bytes as they are."""
    chunks = [] if body is None else [body if isinstance(body, bytes) else json.dumps(body).encode()]
    return asyncio.run(Exchange(chunks).run(app, scope_of(method, path, headers)))
