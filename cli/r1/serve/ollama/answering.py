"""How chat and generate answer: as a whole, or as lines of JSON; they differ in where the text stands.

A request without a prompt only loads the model, or frees it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from r1.engine.events import Answer, Finished, Rewound, Scored, Thinking
from r1.render.reply_text import Reply, ReplyText
from r1.serve.asked import Asked
from r1.serve.collected import Collected
from r1.serve.errors import ApiError
from r1.serve.fields import Fields
from r1.serve.http import StreamedResponse, in_one_line, json_response, respond, unless_gone
from r1.serve.ollama.fields import KeepAlive, is_streamed, keep_alive_in
from r1.serve.ollama.objects import done_reason, error_object, figures, logprobs, moment
from r1.serve.question import Question
from r1.serve.service import Service

Wording = Callable[[str, str], dict[str, Any]]
"""A piece of thinking and one of the answer → the fields of an object that hold them."""


@dataclass(frozen=True, slots=True)
class Answering:
    """What is the same for all objects of an answer.

    `is_conversation`: the client will probably go on, so that the start of its next prompt is known.
    """

    service: Service
    wording: Wording
    keep_alive: KeepAlive | None
    is_streamed: bool
    is_conversation: bool
    began_ns: int = field(default_factory=time.perf_counter_ns)

    @classmethod
    def of(cls, request: Request, fields: Fields, wording: Wording, *, is_conversation: bool) -> Answering:
        """Raises ApiError, which names the field."""
        service: Service = request.app.state.service
        return cls(service, wording, keep_alive_in(fields), is_streamed(fields), is_conversation)

    def object(self, model: str, thinking: str = "", answer: str = "") -> dict[str, Any]:
        """An object with this text, which is not the last one."""
        return {
            "model": model,
            "created_at": moment(time.time_ns()),
            **self.wording(thinking, answer),
            "done": False,
        }

    def last(self, asked: Asked, finished: Finished, thinking: str = "", answer: str = "") -> dict[str, Any]:
        return {
            **self.object(asked.model, thinking, answer),
            "done": True,
            "done_reason": done_reason(finished.reason),
            **figures(finished, _load_s(asked), time.perf_counter_ns() - self.began_ns),
        }

    def keep(self, model: str) -> None:
        """Keeps the model, which is loaded now, for as long as the client wants."""
        if self.keep_alive is not None:
            self.service.engine.keep(model, self.keep_alive.seconds)

    def ended(self, asked: Asked, question: Question, reply: Reply) -> None:
        """Makes the next prompt quick, unless the model is to be freed."""
        is_freed = self.keep_alive is not None and self.keep_alive.is_zero
        if self.is_conversation and not is_freed:
            self.service.warm(asked, question, reply)


def _load_s(asked: Asked) -> float:
    """The time that this client waited for the model, which may have been loaded in part before it came."""
    return min(asked.load_s, asked.wait_s or 0.0)


async def answer(request: Request, answering: Answering, question_of: Callable[[], Question]) -> Response:
    """The answer to a question. Raises ApiError before it has begun."""
    question = await asyncio.to_thread(question_of)  # a schema may take its time
    asked = await answering.service.ask(question)
    asked.begun = lambda: answering.keep(asked.model)

    def stream() -> StreamedResponse:
        ping = _line(answering.object(asked.model))
        return StreamedResponse(asked, _lines(answering, asked, question), "application/x-ndjson", ping)

    def whole(replies: list[Collected]) -> Response:
        [collected] = replies
        answering.ended(asked, question, collected.reply)
        return json_response(_whole(answering, asked, collected))

    return await respond(request, asked, stream if answering.is_streamed else None, whole)


async def load_or_free(request: Request, answering: Answering, question_of: Callable[[], Question]) -> Response:
    """Loads the model, or frees it as soon as nothing uses it, if `keep_alive` is 0. Raises ApiError, also for what a
    question without a prompt has besides the model.
    """
    service, keep_alive = answering.service, answering.keep_alive
    name = (await asyncio.to_thread(question_of)).model
    if keep_alive is not None and keep_alive.is_zero:
        model, reason = await service.name_of(name), "unload"
    else:
        model, reason = await unless_gone(request, service.load(name)), "load"
    answering.keep(model)
    return json_response({**answering.object(model), "done": True, "done_reason": reason})


def _whole(answering: Answering, asked: Asked, collected: Collected) -> dict[str, Any]:
    reply = collected.reply
    scores = {"logprobs": logprobs(collected.scores)} if collected.scores else {}
    return {**answering.last(asked, reply.finished, reply.thinking, reply.answer), **scores, **asked.fields}


async def _lines(answering: Answering, asked: Asked, question: Question) -> AsyncIterator[str]:
    """A line for each piece of text, with the log-probabilities of its tokens, and one for the end."""
    text = ReplyText()
    scores: list[Scored] = []
    try:
        async for happened in asked.events():
            event = happened.event
            reply = text.add(event)
            if isinstance(event, Scored):
                scores.append(event)
            elif isinstance(event, Rewound):
                scores.clear()
            elif isinstance(event, Thinking | Answer):
                yield _line({**_piece(answering, asked.model, event), **_taken(scores)})
            elif reply is not None:
                answering.ended(asked, question, reply)
                yield _line({**answering.last(asked, reply.finished), **_taken(scores), **asked.fields})
    except ApiError as exc:
        yield _line(error_object(exc))


def _piece(answering: Answering, model: str, event: Thinking | Answer) -> dict[str, Any]:
    if isinstance(event, Thinking):
        return answering.object(model, thinking=event.text)
    return answering.object(model, answer=event.text)


def _taken(scores: list[Scored]) -> dict[str, Any]:
    """The log-probabilities that were not sent yet."""
    taken = {"logprobs": logprobs(scores)} if scores else {}
    scores.clear()
    return taken


def _line(value: object) -> str:
    return f"{in_one_line(value)}\n"
