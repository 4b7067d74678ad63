"""From a body to an answer, for all of OpenAI's routes that make replies: as a whole, or streamed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from secrets import token_hex
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from r1.render.reply_text import Reply
from r1.serve.asked import Asked
from r1.serve.collected import Collected
from r1.serve.errors import ApiError
from r1.serve.fields import Fields
from r1.serve.http import StreamedResponse, json_response, read_fields, respond, sse
from r1.serve.openai.objects import error_object
from r1.serve.question import Question
from r1.serve.service import Service

_TOO_LONG = "context_length_exceeded"
"""The code of an ApiError for a prompt."""


@dataclass(frozen=True, slots=True)
class Answering:
    """One answer while it is made: what the client sent, what that asks, and what is the same in all its objects."""

    fields: Fields
    question: Question
    asked: Asked
    service: Service
    id: str
    created: int
    """Seconds since the epoch."""

    def head(self, kind: str) -> dict[str, Any]:
        return {"id": self.id, "object": kind, "created": self.created, "model": self.asked.model}

    def end(self, reply: Reply) -> None:
        """Makes the next turn quick."""
        self.service.warm(self.asked, self.question, reply)


@dataclass(frozen=True, slots=True)
class Shape:
    """What differs between the routes. `question_of` raises ApiError, which names the field.

    `asked_field` is the one that has what is to be answered. `whole` makes the object for finished replies, `frames`
    the events of a stream.
    """

    id_prefix: str
    asked_field: str
    question_of: Callable[[Fields], Question]
    whole: Callable[[Answering, list[Collected]], dict[str, Any]]
    frames: Callable[[Answering], AsyncIterator[str]]


async def answer(request: Request, shape: Shape) -> Response:
    """Answers one request. Raises ApiError before the answer has begun."""
    service: Service = request.app.state.service
    fields = await read_fields(request)
    is_streamed = fields.flag("stream")
    question = await asyncio.to_thread(shape.question_of, fields)  # a schema or an expression may take its time
    asked = await service.ask(question)
    answering = Answering(fields, question, asked, service, f"{shape.id_prefix}{token_hex(12)}", int(time.time()))

    def stream() -> StreamedResponse:
        return StreamedResponse(asked, shape.frames(answering), "text/event-stream", ping=": ping\n\n")

    def whole(replies: list[Collected]) -> Response:
        for each in replies:
            answering.end(each.reply)
        return json_response(shape.whole(answering, replies))

    try:
        return await respond(request, asked, stream if is_streamed else None, whole)
    except ApiError as exc:
        if exc.code == _TOO_LONG:
            exc.param = shape.asked_field
        raise


async def until_done(chunks: AsyncIterator[dict[str, Any]]) -> AsyncIterator[str]:
    """A stream of chunks, with an error at its end if there is one, and the mark that it is over."""
    try:
        async for chunk in chunks:
            yield sse(chunk)
    except ApiError as exc:
        yield sse(error_object(exc))
    yield "data: [DONE]\n\n"


def includes_usage(fields: Fields) -> bool:
    """Whether a stream is to end with the usage."""
    options = fields.object("stream_options")
    return bool(options and options.flag("include_usage"))
