"""Sends one request, leaves in the middle of it if it is to be cut off, and judges what came back."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

import httpx2

from scripts.soak.apis import Api, Body, read_piece
from scripts.soak.hostile import Hostile
from scripts.soak.questions import Question

_ANSWER_S = 120.0
_BUSY = {503, 529}

Kind = Literal["answered", "cut off", "turned away", "hostile", "failed"]


@dataclass(frozen=True, slots=True)
class Cut:
    """Where a client goes away: after so many seconds, or after so many lines of a stream."""

    after_s: float | None = None
    after_lines: int | None = None


@dataclass(frozen=True, slots=True)
class Ask:
    """A request for a reply. `question` None: the reply is random, and nothing is expected but that it is complete."""

    api: Api
    body: Body
    question: Question | None = None
    cut: Cut | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """`first_s` and `whole_s` are seconds from the request to the first piece of a stream, and to the end of a reply.

    `has_other_thinking`: the answer is right, but the way to it is not that of the model alone.
    """

    kind: Kind
    problem: str | None = None
    first_s: float | None = None
    whole_s: float | None = None
    has_other_thinking: bool = False


async def send(client: httpx2.AsyncClient, request: Ask | Hostile) -> Outcome:
    """Never raises: what goes wrong is the outcome's problem."""
    try:
        if isinstance(request, Hostile):
            return await _annoy(str(client.base_url), request)
        async with asyncio.timeout(request.cut.after_s if request.cut else None):
            return await asyncio.wait_for(_ask(client, request), _ANSWER_S)
    except TimeoutError:
        if isinstance(request, Ask) and request.cut is not None:
            return Outcome("cut off")
        return Outcome("failed", f"{_name(request)}: no answer within {_ANSWER_S:.0f} s")
    except Exception as exc:  # all are told
        return Outcome("failed", f"{_name(request)}: {type(exc).__name__}: {exc}")


def _name(request: Ask | Hostile) -> str:
    return request.name if isinstance(request, Hostile) else request.api.name


async def _ask(client: httpx2.AsyncClient, ask: Ask) -> Outcome:
    began = time.perf_counter()
    async with client.stream("POST", ask.api.path, json=ask.body) as response:
        if response.status_code in _BUSY:
            is_polite = "retry-after" in response.headers
            return Outcome("turned away", None if is_polite else f"{ask.api.name}: no Retry-After")
        if response.status_code != 200:
            text = (await response.aread()).decode(errors="replace")
            return Outcome("failed", f"{ask.api.name}: status {response.status_code}: {text:.300}")
        if ask.body["stream"]:
            return await _stream(response, ask, began)
        await response.aread()
        thinking, answer = ask.api.whole(response.json()) if ask.question else ("", "")
    return _judged(ask, thinking, answer, None, time.perf_counter() - began)


async def _stream(response: httpx2.Response, ask: Ask, began: float) -> Outcome:
    thinking, answer, last, lines = "", "", "", 0
    first_s: float | None = None
    async for line in response.aiter_lines():
        if not line:
            continue
        lines += 1
        if ask.cut is not None and ask.cut.after_lines == lines:
            return Outcome("cut off", first_s=first_s)
        last = line
        piece = read_piece(ask.api, line)
        if first_s is None and any(piece):
            first_s = time.perf_counter() - began
        thinking, answer = thinking + piece[0], answer + piece[1]
    if ask.api.end not in last:
        return Outcome("failed", f"{ask.api.name}: the stream ended with {last:.200}")
    return _judged(ask, thinking, answer, first_s, time.perf_counter() - began)


def _judged(ask: Ask, thinking: str, answer: str, first_s: float | None, whole_s: float) -> Outcome:
    question, problem = ask.question, None
    if question is not None and answer != question.answer:
        problem = f"{ask.api.name}: {question.prompt} was answered by {answer!r}, alone by {question.answer!r}"
    other = question is not None and thinking != question.thinking
    return Outcome("failed" if problem else "answered", problem, first_s, whole_s, other)


async def _annoy(address: str, hostile: Hostile) -> Outcome:
    """Sends the bytes, and reads the status or leaves."""
    url = urlsplit(address)
    reader, writer = await asyncio.open_connection(url.hostname, url.port)
    try:
        sending = asyncio.ensure_future(_write(writer, hostile.sent))
        if not hostile.statuses:
            await asyncio.sleep(hostile.silent_s)
            return Outcome("hostile")
        line = await asyncio.wait_for(reader.readline(), _ANSWER_S)
        status = int(line.split()[1]) if line.startswith(b"HTTP/1.1 ") else 0
        is_expected = status in hostile.statuses or status in _BUSY
        return Outcome("hostile", None if is_expected else f"{hostile.name}: status {status}, {line!r:.80}")
    finally:
        sending.cancel()
        writer.close()
        with suppress(OSError, asyncio.CancelledError):
            await asyncio.wait_for(writer.wait_closed(), 5)


async def _write(writer: asyncio.StreamWriter, sent: bytes) -> None:
    with suppress(OSError):  # the server may close the connection before it has read all
        writer.write(sent)
        await writer.drain()
