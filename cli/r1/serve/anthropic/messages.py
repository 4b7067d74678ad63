"""Anthropic's `POST /v1/messages` (https://platform.claude.com/docs/en/api/messages), as a whole or streamed.

A stream is a message without content, its blocks one after the other, each with its start, its deltas and its stop, and
at the end the reason and the usage.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from r1.engine.events import Answer, Event, Thinking, Thought, Usage
from r1.render.reply_text import Reply, ReplyText
from r1.serve.anthropic.fields import Shown, message_request_in
from r1.serve.anthropic.objects import (
    SIGNATURE,
    error_object,
    message_object,
    new_id,
    stop_object,
    text_block,
    thinking_block,
    usage_object,
)
from r1.serve.asked import Asked
from r1.serve.collected import Collected
from r1.serve.errors import ApiError
from r1.serve.http import StreamedResponse, json_response, read_fields, respond, sse
from r1.serve.question import Question
from r1.serve.service import Service


@dataclass(frozen=True, slots=True)
class _Answering:
    """What is needed for all parts of an answer."""

    asked: Asked
    service: Service
    question: Question
    shown: Shown
    id: str = field(default_factory=lambda: new_id("msg"))
    request_id: str = field(default_factory=lambda: new_id("req"))

    def warm_after(self, reply: Reply) -> None:
        """Makes the next turn quick."""
        self.service.warm(self.asked, self.question, reply)


async def create_message(request: Request) -> Response:
    """Answers one request. Raises ApiError before the answer has begun."""
    service: Service = request.app.state.service
    fields = await read_fields(request)
    wanted = await asyncio.to_thread(message_request_in, fields)  # a schema may take its time
    asked = await service.ask(wanted.question)
    answering = _Answering(asked, service, wanted.question, wanted.shown)

    def stream() -> StreamedResponse:
        return StreamedResponse(asked, _frames(answering), "text/event-stream", _event("ping"))

    def whole(replies: list[Collected]) -> Response:
        answering.warm_after(replies[0].reply)
        return json_response(_message(answering, replies[0]))

    response = await respond(request, asked, stream if wanted.is_streamed else None, whole)
    response.headers["request-id"] = answering.request_id
    return response


# As a whole


def _message(answering: _Answering, collected: Collected) -> dict[str, Any]:
    reply, asked = collected.reply, answering.asked
    content = [text_block(reply.answer)]
    if reply.thinking and answering.shown != "no":
        content.insert(0, thinking_block(reply.thinking if answering.shown == "yes" else ""))
    stop = stop_object(reply.finished, collected.stop_text)
    message = message_object(answering.id, asked.model, content, stop, usage_object(reply.finished.usage))
    return {**message, **asked.fields}


# Streamed


async def _frames(answering: _Answering) -> AsyncIterator[str]:
    """Server-sent events. An error ends the stream as an event of its own."""
    text, blocks = ReplyText(), _Blocks(answering.shown)
    yield _start(answering)
    try:
        async for happened in answering.asked.events():
            for frame in blocks.frames(happened.event):
                yield frame
            reply = text.add(happened.event)
            if reply is not None:
                for frame in blocks.last_frames():
                    yield frame
                yield _end(answering, reply, happened.stop_text)
                yield _event("message_stop")
                answering.warm_after(reply)
    except ApiError as exc:
        yield sse(error_object(exc, answering.request_id), "error")


def _start(answering: _Answering) -> str:
    """The message without content. How much of the prompt is in the KV cache is said at the end."""
    usage = usage_object(Usage(answering.asked.prompt_tokens, 0, 0))
    stop = {"stop_reason": None, "stop_sequence": None}
    return _event("message_start", message=message_object(answering.id, answering.asked.model, [], stop, usage))


def _end(answering: _Answering, reply: Reply, stop_text: str | None) -> str:
    delta = stop_object(reply.finished, stop_text)
    return _event("message_delta", delta=delta, usage=usage_object(reply.finished.usage), **answering.asked.fields)


@dataclass(slots=True)
class _Blocks:
    """The content blocks of a streamed message: one for the thinking, if it is shown, and one for the answer.

    `open` is the kind of the block that has begun; `index` is its number.
    """

    shown: Shown
    index: int = -1
    open: str | None = None

    def frames(self, event: Event) -> Iterator[str]:
        """The server-sent events that an event of the reply leads to. What was thought and taken back stays sent."""
        if isinstance(event, Thinking) and self.shown != "no":
            if self.open is None:
                yield self._begin("thinking", thinking_block("", ""))
            if self.shown == "yes":
                yield self._delta(type="thinking_delta", thinking=event.text)
        elif isinstance(event, Thought):
            yield from self._stop()
        elif isinstance(event, Answer):
            yield from self._begin_text()
            yield self._delta(type="text_delta", text=event.text)

    def last_frames(self) -> Iterator[str]:
        """Ends the last block. There is always a text block, as in a whole answer."""
        yield from self._begin_text()
        yield from self._stop()

    def _begin_text(self) -> Iterator[str]:
        if self.open != "text":
            yield from self._stop()
            yield self._begin("text", text_block(""))

    def _begin(self, kind: str, block: dict[str, Any]) -> str:
        self.open = kind
        self.index += 1
        return _event("content_block_start", index=self.index, content_block=block)

    def _delta(self, **delta: str) -> str:
        return _event("content_block_delta", index=self.index, delta=delta)

    def _stop(self) -> Iterator[str]:
        if self.open is None:
            return
        if self.open == "thinking":
            yield self._delta(type="signature_delta", signature=SIGNATURE)
        self.open = None
        yield _event("content_block_stop", index=self.index)


def _event(kind: str, **fields: object) -> str:
    """A server-sent event of Anthropic's: its type is its name, too."""
    return sse({"type": kind, **fields}, kind)
