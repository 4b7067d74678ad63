"""Ollama's `POST /api/generate` (https://docs.ollama.com/api/generate): an answer to a prompt, or what follows a text.

The `context` of earlier versions, a conversation as token ids, is neither given nor taken.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from r1.serve.fields import Fields
from r1.serve.http import read_fields
from r1.serve.messages import Message, dialogue_of
from r1.serve.ollama.answering import Answering, answer, load_or_free
from r1.serve.ollama.fields import changed_in, form_in, refuse_images, stop_texts_in, top_logprobs_in
from r1.serve.question import Question
from r1.settings import Settings

_NOT_SUPPORTED = {
    "suffix": "is not supported: R1 was not trained to fill in the middle",
    "template": "is not supported: R1 is always asked in the format that it was trained on; raw leaves it out",
    "context": "is not supported; send the conversation to /api/chat",
}


async def generate(request: Request) -> Response:
    """Answers one request; one without a prompt loads or frees the model. Raises ApiError before it has begun."""
    fields = await read_fields(request)
    answering = Answering.of(request, fields, _response, is_conversation=False)
    asked = partial(question_of, fields, answering.service.settings)
    if fields.text("prompt"):
        return await answer(request, answering, asked)
    return await load_or_free(request, answering, asked)


def question_of(fields: Fields, settings: Settings) -> Question:
    """What the body asks, of a server with these settings. Raises ApiError, which names the field."""
    refuse_images(fields)
    for name, problem in _NOT_SUPPORTED.items():
        if fields.values.get(name):
            fields.refuse(name, problem)
    is_raw = fields.flag("raw")
    prompt, system = fields.text("prompt") or "", fields.text("system")
    if is_raw and (system or fields.values.get("format")):
        fields.refuse("raw", "is for a text to go on with, and system and format are for an answer; leave them out")
    messages = [Message("system", "system", system)] if system else []
    return Question(
        model=fields.text("model"),
        dialogue=None if is_raw or not prompt else dialogue_of([*messages, Message("prompt", "user", prompt)]),
        text=prompt if is_raw else "",
        changed=changed_in(fields, settings),
        form=form_in(fields),
        stop_texts=stop_texts_in(fields),
        top_logprobs=top_logprobs_in(fields),
    )


def _response(thinking: str, response: str) -> dict[str, Any]:
    return {"response": response, **({"thinking": thinking} if thinking else {})}
