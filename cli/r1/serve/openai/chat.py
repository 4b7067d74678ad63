"""OpenAI's `POST /v1/chat/completions` (https://platform.openai.com/docs/api-reference/chat), as a whole or streamed.

The thinking comes as `reasoning_content`, as DeepSeek's own API and llama-server name it, and as `reasoning`, as Ollama
and vLLM do: clients look for one or the other. `timings` are llama-server's.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from secrets import token_hex
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from r1.engine.events import Answer, Finished, FinishReason, Scored, Thinking
from r1.render.reply_text import ReplyText
from r1.serve.asked import Asked, Happened
from r1.serve.collected import Collected, collect
from r1.serve.errors import ApiError
from r1.serve.fields import Fields
from r1.serve.http import PING_S, StreamedResponse, json_response, read_fields, sse, unless_gone
from r1.serve.messages import dialogue_of
from r1.serve.openai.fields import (
    messages_in,
    refuse_tools,
    response_form_in,
    stop_texts_in,
    thinking_in,
)
from r1.serve.openai.objects import error_object, finish_reason, score_object, timings_object, usage_object
from r1.serve.question import MOST_REPLIES, Question
from r1.serve.reply_fields import sampling_in
from r1.serve.service import Service
from r1.serve.votes import votes_in

_MOST_TOP_LOGPROBS = 20


@dataclass(frozen=True, slots=True)
class _Answering:
    """What is the same in all objects of an answer."""

    asked: Asked
    service: Service
    question: Question
    id: str
    created: int
    includes_usage: bool

    def head(self, kind: str) -> dict[str, Any]:
        return {"id": self.id, "object": kind, "created": self.created, "model": self.asked.model}


async def chat_completions(request: Request) -> Response:
    """Answers one request. Raises ApiError before the answer has begun."""
    service: Service = request.app.state.service
    fields = await read_fields(request)
    question = question_of(fields)
    asked = await service.ask(question)
    includes_usage = _includes_usage(fields)
    answering = _Answering(asked, service, question, f"chatcmpl-{token_hex(12)}", int(time.time()), includes_usage)
    try:
        is_streamed = fields.flag("stream")
        await unless_gone(request, asked.begin(PING_S if is_streamed else None))
        if is_streamed:
            return StreamedResponse(asked, _frames(answering), "text/event-stream", ping=": ping\n\n")
        replies = await unless_gone(request, collect(asked))
    except BaseException:
        asked.close()
        raise
    asked.close()
    return json_response(_completion(answering, replies))


def question_of(fields: Fields) -> Question:
    """What the body asks. Raises ApiError, which names the field."""
    refuse_tools(fields)
    fields.flag("stream")
    dialogue = dialogue_of(messages_in(fields))
    wants_scores = fields.flag("logprobs")
    top = fields.integer("top_logprobs", 0, _MOST_TOP_LOGPROBS)
    if top is not None and not wants_scores:
        fields.refuse("top_logprobs", "is given, and logprobs is not true; set it, or leave both out")
    count = fields.integer("n", 1, MOST_REPLIES) or 1
    return Question(
        model=fields.text("model"),
        dialogue=dialogue,
        changed={**sampling_in(fields, "max_completion_tokens", "max_tokens"), **thinking_in(fields)},
        form=response_form_in(fields),
        stop_texts=stop_texts_in(fields),
        count=count,
        votes=votes_in(fields, count),
        top_logprobs=(top or 0) if wants_scores else None,
    )


def _includes_usage(fields: Fields) -> bool:
    options = fields.object("stream_options")
    return bool(options and options.flag("include_usage"))


# As a whole


def _completion(answering: _Answering, replies: list[Collected]) -> dict[str, Any]:
    finished = [each.reply.finished for each in replies]
    first = replies[0].reply
    if answering.question.count == 1 and first.finished.reason == "stop":
        answering.service.warm(answering.asked, answering.question, first.thinking, first.answer)
    return {
        **answering.head("chat.completion"),
        "choices": [_choice(index, each) for index, each in enumerate(replies)],
        "usage": usage_object([each.usage for each in finished]),
        "timings": timings_object(finished[0]),
        **answering.asked.fields,
    }


def _choice(index: int, collected: Collected) -> dict[str, Any]:
    reply = collected.reply
    thinking = {"reasoning_content": reply.thinking, "reasoning": reply.thinking} if reply.thinking else {}
    return {
        "index": index,
        "message": {"role": "assistant", "content": reply.answer, **thinking},
        "logprobs": _logprobs(collected.scores) if collected.scores else None,
        "finish_reason": finish_reason(reply.finished.reason),
    }


def _logprobs(scores: Iterable[Scored]) -> dict[str, Any]:
    """Of the answer, and of the thinking under the name that DeepSeek's API gives it."""
    found: dict[str, list[dict[str, Any]]] = {"content": [], "reasoning_content": []}
    for score in scores:
        found["reasoning_content" if score.is_thinking else "content"].append(score_object(score))
    return {**found, "refusal": None}


# Streamed


async def _frames(answering: _Answering) -> AsyncIterator[str]:
    """Server-sent events: a chunk for each piece of text, one that ends each reply, the usage, and the end."""
    finished: list[Finished] = []
    text = ReplyText()
    try:
        for index in range(answering.question.count):
            yield sse(_chunk(answering, index, {"role": "assistant", "content": None}))
        async for happened in answering.asked.events():
            reply = text.add(happened.event) if happened.index == 0 else None
            if isinstance(happened.event, Finished):
                finished.append(happened.event)
                yield sse(_last_chunk(answering, happened.index, happened.event))
            elif chunk := _delta(answering, happened):
                yield sse(chunk)
            if reply is not None and reply.finished.reason == "stop":
                answering.service.warm(answering.asked, answering.question, reply.thinking, reply.answer)
        if answering.includes_usage:
            usage = usage_object([each.usage for each in finished])
            yield sse({**answering.head("chat.completion.chunk"), "choices": [], "usage": usage})
    except ApiError as exc:
        yield sse(error_object(exc))
    yield "data: [DONE]\n\n"


def _delta(answering: _Answering, happened: Happened) -> dict[str, Any] | None:
    """The chunk for a piece of text, or for a token's log-probabilities."""
    event = happened.event
    if isinstance(event, Thinking):
        return _chunk(answering, happened.index, {"reasoning_content": event.text, "reasoning": event.text})
    if isinstance(event, Answer):
        return _chunk(answering, happened.index, {"content": event.text})
    if isinstance(event, Scored):
        return _chunk(answering, happened.index, {}, logprobs=_logprobs([event]))
    return None


def _last_chunk(answering: _Answering, index: int, finished: Finished) -> dict[str, Any]:
    chunk = _chunk(answering, index, {}, reason=finished.reason)
    return {**chunk, "timings": timings_object(finished), **answering.asked.fields}


def _chunk(
    answering: _Answering,
    index: int,
    delta: dict[str, Any],
    *,
    logprobs: dict[str, Any] | None = None,
    reason: FinishReason | None = None,
) -> dict[str, Any]:
    ended = None if reason is None else finish_reason(reason)
    choice = {"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": ended}
    return {**answering.head("chat.completion.chunk"), "choices": [choice]}
