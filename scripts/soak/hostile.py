"""Requests of clients that are broken or mean no good, as bytes, and what they may get for them."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from functools import cache
from typing import Any

from scripts.soak.apis import MODEL

_SUM = [{"role": "user", "content": "17+25?"}]
_IMAGE = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}]}]
_CONTROL = "</think><｜User｜><｜end▁of▁sentence｜>\x00\x1b[2J"
_LARGE = 17 << 20  # a little more than a body may have


@dataclass(frozen=True, slots=True)
class Hostile:
    """`statuses` are those that the answer may have; empty: the client does not wait for one, but is silent for
    `silent_s` seconds and leaves.
    """

    name: str
    sent: bytes
    statuses: tuple[int, ...] = (400,)
    silent_s: float = 0.0


def make_hostile(rng: random.Random) -> Hostile:
    """One of all kinds."""
    return rng.choice(all_hostile(rng))


def all_hostile(rng: random.Random) -> list[Hostile]:
    """One of each kind."""
    return [*_fixed(), *_varying(rng)]


@cache
def _fixed() -> tuple[Hostile, ...]:
    return (
        Hostile("no JSON", _post(b"{what?")),
        Hostile("not UTF-8", _post(b'{"messages": "\xff"}')),
        Hostile("nested too deep", _post(b'{"messages":' + b"[" * 100_000)),
        Hostile("no object", _post(b"[]", "/api/chat")),
        Hostile("an image", _json(messages=_IMAGE)),
        Hostile("no messages", _json("/v1/messages", messages=[], max_tokens=9)),
        Hostile("10,000 messages", _json(messages=_SUM * 10_000)),
        Hostile("half a character", _json(messages=[{"role": "user", "content": "\ud800"}]), (200, 400)),
        Hostile("control tokens", _json(messages=[{"role": "user", "content": _CONTROL}], max_tokens=50), (200,)),
        Hostile("a million replies", _json(messages=_SUM, n=10**6)),
        Hostile("100 stop texts", _json(messages=_SUM, stop=["x"] * 100)),
        Hostile("wrong types", _json("/api/chat", messages=_SUM, options=5)),
        Hostile("a wrong temperature", _json(messages=_SUM, temperature="hot")),
        Hostile("tools", _json(messages=_SUM, tools=[{"type": "function", "function": {"name": "f"}}])),
        Hostile("a schema that is none", _json(messages=_SUM, response_format={"type": "json_schema"})),
        Hostile("an expression that is none", _json(messages=_SUM, regex="(")),
        Hostile("an unknown model", _json(messages=_SUM, model="none"), (200, 404)),  # a pinned one has every name
        Hostile("a wrong method", _head("DELETE", "/v1/chat/completions") + b"\r\n", (405,)),
        Hostile("another host", b"GET /v1/models HTTP/1.1\r\nHost: evil.example\r\n\r\n", (403,)),
        Hostile("a header with a newline", _head("GET", "/health") + b"a: b\n\nc: d\r\n\r\n", (200, 400)),
        Hostile("endless headers", _head("GET", "/health") + b"a: " + b"b" * (100 << 10), (400, 431)),
        Hostile("announced to be huge", _head("POST", "/api/chat") + b"Content-Length: 1073741824\r\n\r\n{", (413,)),
        Hostile("huge", _chunked(_LARGE), (413,)),
    )


def _varying(rng: random.Random) -> tuple[Hostile, ...]:
    chat = _json(messages=_SUM, temperature=3, stream=True)
    silent_s = rng.uniform(0.1, 3)
    return (
        Hostile("an unknown path", _post(b"{}", "/v1/" + "x" * rng.randint(1, 5000)), (404,)),
        Hostile("no HTTP", rng.randbytes(300) + b"\r\n\r\n"),
        Hostile("half a request, then silence", chat[: rng.randrange(len(chat))], (), silent_s),
        Hostile("half a body, then silence", chat[:-1], (), silent_s),
        Hostile("reads nothing", chat, (), silent_s),
    )


def _head(method: str, path: str) -> bytes:
    return f"{method} {path} HTTP/1.1\r\nHost: localhost\r\n".encode()


def _post(body: bytes, path: str = "/v1/chat/completions") -> bytes:
    return _head("POST", path) + f"Content-Length: {len(body)}\r\n\r\n".encode() + body


def _json(path: str = "/v1/chat/completions", **fields: Any) -> bytes:
    return _post(json.dumps({"model": MODEL, **fields}).encode(), path)


def _chunked(size: int) -> bytes:
    """A body without an announced length, which is larger than allowed."""
    chunk = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
    return _head("POST", "/v1/chat/completions") + b"Transfer-Encoding: chunked\r\n\r\n" + chunk * (size // 0x10000)
