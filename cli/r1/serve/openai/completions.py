"""OpenAI's `POST /v1/completions` (https://platform.openai.com/docs/api-reference/completions): texts are continued.

A text goes on as it stands, without a conversation and without thinking.
"""

from __future__ import annotations

import codecs
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from r1.engine.events import Answer, Finished, Scored
from r1.serve.collected import Collected
from r1.serve.fields import Fields
from r1.serve.openai.answering import Answering, Shape, answer, includes_usage, until_done
from r1.serve.openai.fields import limited_sampling_in, refuse_unsupported, stop_texts_in
from r1.serve.openai.objects import finish_reason, timings_object, usage_object
from r1.serve.question import MOST_REPLIES, Question

_MAX_TOKENS = 16
"""OpenAI's default for this route."""

_MOST_LOGPROBS = 5
_UTF8 = codecs.getincrementaldecoder("utf-8")
_FORMS = ("choices", "regex", "grammar", "response_format")


async def completions(request: Request) -> Response:
    """Answers one request. Raises ApiError before the answer has begun."""
    return await answer(request, _SHAPE)


def question_of(fields: Fields) -> Question:
    """What the body asks. Raises ApiError, which names the field."""
    prompts = _prompts_in(fields)
    _refuse_what_is_for_others(fields)
    count = fields.integer("n", 1, MOST_REPLIES) or 1
    if count * len(prompts) > MOST_REPLIES:
        fields.refuse("prompt", f"has {len(prompts):,} texts, each continued {count} times; {MOST_REPLIES} is the most")
    return Question(
        model=fields.text("model"),
        text=prompts[0],
        more_texts=prompts[1:],
        changed={"max_tokens": _MAX_TOKENS, **limited_sampling_in(fields, "max_tokens")},
        stop_texts=stop_texts_in(fields),
        count=count,
        top_logprobs=_logprobs_in(fields),
    )


def _prompts_in(fields: Fields) -> tuple[str, ...]:
    value = fields.values.get("prompt")
    numbers = value[0] if isinstance(value, list) and value and isinstance(value[0], list) else value
    if isinstance(numbers, list) and numbers and isinstance(numbers[0], int):
        fields.refuse("prompt", "has token ids, and only text can be continued here")
    prompts = fields.texts("prompt", MOST_REPLIES)
    if not prompts:
        fields.refuse("prompt", "is missing; it is a string or a list of strings")
    return prompts


def _logprobs_in(fields: Fields) -> int | None:
    top = fields.integer("logprobs", 0, _MOST_LOGPROBS)
    if top is not None and fields.flag("echo"):
        fields.refuse("logprobs", "cover only what is generated, and echo adds the prompt; leave one of them out")
    return top


def _refuse_what_is_for_others(fields: Fields) -> None:
    """Raises ApiError for what is not supported here."""
    refuse_unsupported(fields)
    fields.flag("echo")
    includes_usage(fields)
    if fields.text("suffix"):
        fields.refuse("suffix", "is not supported: R1 was not trained to fill in the middle of a text")
    if (fields.integer("best_of", 1, MOST_REPLIES) or 1) > 1:
        fields.refuse("best_of", "is not supported; ask for n, and choose among the answers")
    for name in _FORMS:
        if name in fields:
            fields.refuse(name, "is for /v1/chat/completions; a text that is continued has no form")


# As a whole


def _completion(answering: Answering, replies: list[Collected]) -> dict[str, Any]:
    finished = [each.reply.finished for each in replies]
    return {
        **answering.head("text_completion"),
        "choices": [_choice(answering, index, each) for index, each in enumerate(replies)],
        "usage": usage_object([each.usage for each in finished], answering.question.count),
        "timings": timings_object(finished[0]),
    }


def _choice(answering: Answering, index: int, collected: Collected) -> dict[str, Any]:
    reply = collected.reply
    return {
        "index": index,
        "text": _echoed(answering, index) + reply.answer,
        "logprobs": _Scores().object(collected.scores) if collected.scores else None,
        "finish_reason": finish_reason(reply.finished.reason),
    }


def _echoed(answering: Answering, index: int) -> str:
    """The prompt of a choice, if the client wants to have it in front."""
    question = answering.question
    return question.texts[index // question.count] if answering.fields.flag("echo") else ""


# Streamed


async def _chunks(answering: Answering) -> AsyncIterator[dict[str, Any]]:
    """A chunk for each piece of text, one that ends each choice, and the usage."""
    question = answering.question
    finished: dict[int, Finished] = {}
    scores = [_Scores() for _ in range(question.count * len(question.texts))]
    if answering.fields.flag("echo"):
        for index in range(len(scores)):
            yield _chunk(answering, index, _echoed(answering, index))
    async for happened in answering.asked.events():
        index, event = happened.index, happened.event
        if isinstance(event, Scored):
            scores[index].waiting.append(event)
        elif isinstance(event, Answer):
            yield _chunk(answering, index, event.text, scores[index].taken())
        elif isinstance(event, Finished):
            finished[index] = event
            last = _chunk(answering, index, "", scores[index].taken(), finish_reason(event.reason))
            yield {**last, "timings": timings_object(event)}
    if includes_usage(answering.fields):
        usage = usage_object([finished[index].usage for index in sorted(finished)], question.count)
        yield {**answering.head("text_completion"), "choices": [], "usage": usage}


def _chunk(
    answering: Answering, index: int, text: str, logprobs: dict[str, Any] | None = None, reason: str | None = None
) -> dict[str, Any]:
    choice = {"index": index, "text": text, "logprobs": logprobs, "finish_reason": reason}
    return {**answering.head("text_completion"), "choices": [choice]}


@dataclass(slots=True)
class _Scores:
    """The log-probabilities of one choice, in the old shape. Those in `waiting` belong to the next piece of text."""

    waiting: list[Scored] = field(default_factory=list)
    _offset: int = 0
    _decoder: codecs.IncrementalDecoder = field(default_factory=lambda: _UTF8("replace"))

    def taken(self) -> dict[str, Any] | None:
        """The object for those that wait; None if there are none."""
        waiting, self.waiting = self.waiting, []
        return self.object(waiting) if waiting else None

    def object(self, scores: Iterable[Scored]) -> dict[str, Any]:
        """For the scores that follow those before. `text_offset` counts characters of what was generated."""
        scores = list(scores)
        return {
            "tokens": [_token(score.piece) for score in scores],
            "token_logprobs": [round(score.logprob, 6) for score in scores],
            "top_logprobs": [_likeliest(score) for score in scores],
            "text_offset": [self._next_offset(score.piece) for score in scores],
        }

    def _next_offset(self, piece: bytes) -> int:
        offset = self._offset
        self._offset += len(self._decoder.decode(piece))
        return offset


def _likeliest(score: Scored) -> dict[str, float]:
    """The likeliest tokens, and in any case the one that was chosen."""
    chosen = {_token(score.piece): round(score.logprob, 6)}
    return {**{_token(piece): round(logprob, 6) for piece, logprob in score.top}, **chosen}


def _token(piece: bytes) -> str:
    """The text; of a part of a character its bytes, in OpenAI's notation."""
    try:
        return piece.decode()
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in piece)


_SHAPE = Shape("cmpl-", "prompt", question_of, _completion, lambda answering: until_done(_chunks(answering)))
