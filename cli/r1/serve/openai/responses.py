"""OpenAI's `POST /v1/responses` (https://platform.openai.com/docs/api-reference/responses), as a whole or streamed.

Nothing is stored here: a client sends the whole conversation each time. The thinking is a `reasoning` item: R1's own
words as `content`, as OpenAI's open models are served; or, for clients that ask for a summary, as its `summary`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

from starlette.requests import Request
from starlette.responses import Response

from r1.serve.errors import ApiError
from r1.serve.fields import Fields
from r1.serve.messages import Message, dialogue_of
from r1.serve.openai.answering import Answering, Shape, answer
from r1.serve.openai.fields import (
    content_of,
    form_of,
    limited_sampling_in,
    refuse_unsupported,
    stop_texts_in,
    thinking_in,
)
from r1.serve.openai.response_objects import output_of, response_object, summary_asked
from r1.serve.openai.response_stream import ResponseStream
from r1.serve.question import MOST_TOP_LOGPROBS, Question
from r1.serve.votes import votes_in

_WITH_LOGPROBS = "message.output_text.logprobs"

_STORED = {
    "previous_response_id": "is not supported, because responses are not stored here; send the whole conversation",
    "conversation": "is not supported, because conversations are not stored here; send the whole conversation",
    "prompt": "is not supported, because prompts are not stored here; send it as instructions or input",
}


async def responses(request: Request) -> Response:
    """Answers one request. Raises ApiError before the answer has begun."""
    return await answer(request, _SHAPE)


def question_of(fields: Fields) -> Question:
    """What the body asks. Raises ApiError, which names the field."""
    _refuse_what_is_stored(fields)
    refuse_unsupported(fields)
    _check_what_is_told_again(fields)
    described = fields.object("text")
    wanted = described and described.object("format")
    return Question(
        model=fields.text("model"),
        dialogue=dialogue_of(_messages_in(fields), "input"),
        changed={**limited_sampling_in(fields, "max_output_tokens"), **thinking_in(fields)},
        form=form_of(fields, wanted, wanted),
        stop_texts=stop_texts_in(fields),
        votes=votes_in(fields),
        top_logprobs=_top_logprobs_in(fields),
    )


def _refuse_what_is_stored(fields: Fields) -> None:
    for name, problem in _STORED.items():
        if name in fields:
            fields.refuse(name, problem)
    if fields.flag("background"):
        fields.refuse("background", "is not supported, because responses are not stored here; leave it out")


def _check_what_is_told_again(fields: Fields) -> None:
    """Raises ApiError."""
    fields.one_of("truncation", ("auto", "disabled"))
    fields.text("user")
    fields.flag("parallel_tool_calls")
    fields.texts_by_name("metadata")
    summary_asked(fields)


def _messages_in(fields: Fields) -> Iterator[Message]:
    """The instructions and the messages of the input. Earlier thinking is left out, as R1 wants it."""
    instructions = fields.text("instructions")
    if instructions:
        yield Message("instructions", "system", instructions)
    if isinstance(fields.values.get("input"), str):
        yield Message("input", "user", fields.text("input") or "")
        return
    for item in fields.objects("input"):
        kind = item.text("type") or "message"
        if kind == "message":
            yield Message(item.path, item.required_text("role"), content_of(item))
        elif kind.endswith(("_call", "_output")):
            item.refuse("type", f"is {kind!r:.40}: tools are not supported, because R1 was not trained to call them")
        elif kind != "reasoning":
            item.refuse("type", f"must be message or reasoning, not {kind!r:.40}")


def _top_logprobs_in(fields: Fields) -> int | None:
    top = fields.integer("top_logprobs", 0, MOST_TOP_LOGPROBS)
    included = fields.values.get("include")
    is_included = isinstance(included, list) and _WITH_LOGPROBS in included
    return top or (0 if is_included or top == 0 else None)


async def _frames(answering: Answering) -> AsyncIterator[str]:
    """The events of a stream, in OpenAI's order."""
    stream = ResponseStream(answering)
    for frame in stream.begin():
        yield frame
    try:
        async for happened in answering.asked.events():
            for frame in stream.feed(happened.event):
                yield frame
    except ApiError as exc:
        yield stream.fail(exc.message)


_SHAPE = Shape(
    "resp_",
    "input",
    question_of,
    lambda answering, replies: response_object(answering, output_of(answering, replies[0]), replies[0].reply.finished),
    _frames,
)
