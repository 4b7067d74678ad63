"""Ollama's `POST /api/chat` (https://docs.ollama.com/api/chat)."""

from __future__ import annotations

from functools import partial
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from r1.serve.fields import Fields
from r1.serve.http import read_fields
from r1.serve.messages import dialogue_of
from r1.serve.ollama.answering import Answering, answer, load_or_free
from r1.serve.ollama.fields import changed_in, form_in, messages_in, refuse_tools, stop_texts_in, top_logprobs_in
from r1.serve.question import Question
from r1.settings import Settings


async def chat(request: Request) -> Response:
    """Answers one request; one without messages loads or frees the model. Raises ApiError before it has begun."""
    fields = await read_fields(request)
    answering = Answering.of(request, fields, _message, is_conversation=True)
    asked = partial(question_of, fields, answering.service.settings)
    if _has_messages(fields):
        return await answer(request, answering, asked)
    return await load_or_free(request, answering, asked)


def question_of(fields: Fields, settings: Settings) -> Question:
    """What the body asks, of a server with these settings. Raises ApiError, which names the field."""
    refuse_tools(fields)
    return Question(
        model=fields.text("model"),
        dialogue=dialogue_of(messages_in(fields)) if _has_messages(fields) else None,
        changed=changed_in(fields, settings),
        form=form_in(fields),
        stop_texts=stop_texts_in(fields),
        top_logprobs=top_logprobs_in(fields),
    )


def _has_messages(fields: Fields) -> bool:
    return fields.values.get("messages") not in (None, [])


def _message(thinking: str, content: str) -> dict[str, Any]:
    thought = {"thinking": thinking} if thinking else {}
    return {"message": {"role": "assistant", "content": content, **thought}}
