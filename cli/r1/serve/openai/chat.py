"""OpenAI's `POST /v1/chat/completions` (https://platform.openai.com/docs/api-reference/chat), as a whole or streamed.

The thinking comes as `reasoning_content`, as DeepSeek's own API and llama-server name it, and as `reasoning`, as Ollama
and vLLM do: clients look for one or the other. `timings` are llama-server's.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from r1.engine.events import Answer, Event, Finished, Scored, Thinking, Usage
from r1.render.reply_text import ReplyText
from r1.serve.collected import Collected
from r1.serve.fields import Fields
from r1.serve.messages import dialogue_of
from r1.serve.openai.answering import Answering, Shape, answer, includes_usage, until_done
from r1.serve.openai.fields import (
    limited_sampling_in,
    messages_in,
    refuse_unsupported,
    response_form_in,
    stop_texts_in,
    thinking_in,
)
from r1.serve.openai.objects import finish_reason, score_object, timings_object, usage_object
from r1.serve.question import MOST_REPLIES, MOST_TOP_LOGPROBS, Question
from r1.serve.votes import votes_in


async def chat_completions(request: Request) -> Response:
    """Answers one request. Raises ApiError before the answer has begun."""
    return await answer(request, _SHAPE)


def question_of(fields: Fields) -> Question:
    """What the body asks. Raises ApiError, which names the field."""
    refuse_unsupported(fields)
    _check_what_is_shown(fields)
    dialogue = dialogue_of(messages_in(fields))
    wants_scores = fields.flag("logprobs")
    top = fields.integer("top_logprobs", 0, MOST_TOP_LOGPROBS)
    if top and not wants_scores:
        fields.refuse("top_logprobs", "is given, and logprobs is not true; set it, or leave both out")
    count = fields.integer("n", 1, MOST_REPLIES) or 1
    return Question(
        model=fields.text("model"),
        dialogue=dialogue,
        changed={**limited_sampling_in(fields, "max_completion_tokens", "max_tokens"), **thinking_in(fields)},
        form=response_form_in(fields),
        stop_texts=stop_texts_in(fields),
        count=count,
        votes=votes_in(fields, count),
        top_logprobs=(top or 0) if wants_scores else None,
    )


def _check_what_is_shown(fields: Fields) -> None:
    """Raises ApiError. These fields are read again when the answer is there, which is too late to refuse them."""
    _shows_thinking(fields)
    includes_usage(fields)


def _shows_thinking(fields: Fields) -> bool:
    """OpenRouter's clients can leave it out of the answer."""
    reasoning = fields.object("reasoning")
    is_excluded = reasoning is not None and reasoning.flag("exclude")
    is_included = fields.flag("include_reasoning") is not False
    return is_included and not is_excluded


# As a whole


def _completion(answering: Answering, replies: list[Collected]) -> dict[str, Any]:
    finished = [each.reply.finished for each in replies]
    shows_thinking = _shows_thinking(answering.fields)
    return {
        **answering.head("chat.completion"),
        "choices": [_choice(index, each, shows_thinking=shows_thinking) for index, each in enumerate(replies)],
        "usage": usage_object([each.usage for each in finished], answering.question.count),
        "timings": timings_object(finished[0]),
        **answering.asked.fields,
    }


def _choice(index: int, collected: Collected, *, shows_thinking: bool) -> dict[str, Any]:
    reply = collected.reply
    has_thinking = shows_thinking and reply.thinking
    thinking = {"reasoning_content": reply.thinking, "reasoning": reply.thinking} if has_thinking else {}
    scores = [score for score in collected.scores if shows_thinking or not score.is_thinking]
    return {
        "index": index,
        "message": {"role": "assistant", "content": reply.answer, **thinking},
        "logprobs": _logprobs(scores) if scores else None,
        "finish_reason": finish_reason(reply.finished.reason),
    }


def _logprobs(scores: Iterable[Scored]) -> dict[str, Any]:
    """Of the answer, and of the thinking under the name that DeepSeek's API gives it."""
    found: dict[str, list[dict[str, Any]]] = {"content": [], "reasoning_content": []}
    for score in scores:
        found["reasoning_content" if score.is_thinking else "content"].append(score_object(score))
    return {**found, "refusal": None}


# Streamed


async def _chunks(answering: Answering) -> AsyncIterator[dict[str, Any]]:
    """A chunk for each piece of text, one that ends each reply, and the usage."""
    count, shows_thinking = answering.question.count, _shows_thinking(answering.fields)
    texts = [ReplyText() for _ in range(count)]
    scores: list[list[Scored]] = [[] for _ in range(count)]  # of the next piece of text
    usages: dict[int, Usage] = {}
    for index in range(count):
        yield _chunk(answering, index, {"role": "assistant", "content": None})
    async for happened in answering.asked.events():
        index, event = happened.index, happened.event
        if (reply := texts[index].add(event)) is not None:
            answering.end(reply)
            usages[index] = reply.finished.usage
        if not shows_thinking and (isinstance(event, Thinking) or (isinstance(event, Scored) and event.is_thinking)):
            continue
        if isinstance(event, Scored):
            scores[index].append(event)
        elif isinstance(event, Thinking | Answer | Finished):
            told, scores[index] = scores[index], []
            yield _chunk(answering, index, _delta(event), _logprobs(told) if told else None, event)
    if includes_usage(answering.fields):
        usage = usage_object([usages[index] for index in sorted(usages)], count)
        yield {**answering.head("chat.completion.chunk"), "choices": [], "usage": usage}


def _delta(event: Thinking | Answer | Finished) -> dict[str, Any]:
    if isinstance(event, Thinking):
        return {"reasoning_content": event.text, "reasoning": event.text}
    return {"content": event.text} if isinstance(event, Answer) else {}


def _chunk(
    answering: Answering,
    index: int,
    delta: dict[str, Any],
    logprobs: dict[str, Any] | None = None,
    event: Event | None = None,
) -> dict[str, Any]:
    """The chunk for an event; the one of Finished ends the reply."""
    finished = event if isinstance(event, Finished) else None
    reason = finish_reason(finished.reason) if finished else None
    choice = {"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": reason}
    ended = {"timings": timings_object(finished), **answering.asked.fields} if finished else {}
    return {**answering.head("chat.completion.chunk"), "choices": [choice], **ended}


_SHAPE = Shape("chatcmpl-", "messages", question_of, _completion, lambda answering: until_done(_chunks(answering)))
