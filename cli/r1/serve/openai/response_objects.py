"""The objects of OpenAI's responses: the response itself, and the items of its output."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

from r1.engine.events import Finished, Scored, Usage
from r1.serve.collected import Collected
from r1.serve.fields import Fields
from r1.serve.openai.answering import Answering
from r1.serve.openai.objects import score_object, timings_object

IN_PROGRESS, COMPLETED, INCOMPLETE, FAILED = "in_progress", "completed", "incomplete", "failed"

_SUMMARIES = ("auto", "concise", "detailed", "none")
_ENDED = "the server is ending"


def response_object(
    answering: Answering, output: list[dict[str, Any]], finished: Finished | None = None, error: str | None = None
) -> dict[str, Any]:
    """The response as far as it is made; `finished` None: it is not over, or `error` says why it failed."""
    status = _status(finished, error)
    return {
        "id": answering.id,
        "object": "response",
        "created_at": answering.created,
        "completed_at": int(time.time()) if status == COMPLETED else None,
        "status": status,
        "background": False,
        "error": None if status != FAILED else {"code": "server_error", "message": error or _ENDED},
        "incomplete_details": {"reason": "max_output_tokens"} if status == INCOMPLETE else None,
        "model": answering.asked.model,
        "output": output,
        **_told_again(answering),
        "usage": usage_object(finished.usage) if finished is not None else None,
        **({"timings": timings_object(finished)} if finished is not None else {}),
        **answering.asked.fields,
    }


def _told_again(answering: Answering) -> dict[str, Any]:
    """What the client asked for, as far as it is done."""
    fields, changed, settings = answering.fields, answering.question.changed, answering.service.settings
    return {
        "instructions": fields.text("instructions"),
        "max_output_tokens": changed.get("max_tokens"),
        "max_tool_calls": None,
        "metadata": fields.texts_by_name("metadata"),
        "parallel_tool_calls": fields.flag("parallel_tool_calls") is not False,
        "previous_response_id": None,
        "reasoning": {"effort": changed.get("effort"), "summary": summary_asked(answering.fields)},
        "store": False,
        "temperature": changed.get("temp", settings.temp),
        "text": {"format": _format(fields)},
        "tool_choice": "none" if fields.values.get("tool_choice") == "none" else "auto",
        "tools": [],
        "top_p": changed.get("top_p", settings.top_p),
        "truncation": "disabled",
        "user": fields.text("user"),
    }


def _format(fields: Fields) -> dict[str, Any]:
    described = fields.object("text")
    wanted = described and described.object("format")
    kind = (wanted and wanted.text("type")) or "text"
    if wanted is None or kind != "json_schema":
        return {"type": kind}
    return {"type": kind, "name": wanted.text("name") or "", "schema": wanted.values["schema"], "strict": True}


def _status(finished: Finished | None, error: str | None) -> str:
    if error is not None or (finished is not None and finished.reason == "interrupted"):
        return FAILED
    if finished is None:
        return IN_PROGRESS
    return COMPLETED if finished.reason == "stop" else INCOMPLETE


def usage_object(usage: Usage) -> dict[str, Any]:
    """What was thought and taken back was generated, too."""
    return {
        "input_tokens": usage.prompt_tokens,
        "input_tokens_details": {"cached_tokens": usage.cached_tokens, "cache_write_tokens": 0},
        "output_tokens": usage.generated_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.thinking_tokens + usage.discarded_tokens},
        "total_tokens": usage.prompt_tokens + usage.generated_tokens,
    }


def summary_asked(fields: Fields) -> str | None:
    """The kind of summary that the client asks for; the thinking then comes as one, because that is what it shows.

    Raises ApiError.
    """
    reasoning = fields.object("reasoning") or Fields({})
    asked = reasoning.one_of("summary", _SUMMARIES) or reasoning.one_of("generate_summary", _SUMMARIES)
    return None if asked == "none" else asked


def output_of(answering: Answering, collected: Collected) -> list[dict[str, Any]]:
    """The items of a finished reply. One that ended inside its thinking has no message."""
    reply = collected.reply
    status = COMPLETED if reply.finished.reason == "stop" else INCOMPLETE
    has_message = bool(reply.answer) or status == COMPLETED
    items = []
    if reply.thinking:
        ended = COMPLETED if has_message else status
        items.append(reasoning_item(answering, reply.thinking, ended, as_summary=bool(summary_asked(answering.fields))))
    if has_message:
        items.append(message_item(answering, reply.answer, status, collected.scores))
    return items


def reasoning_item(answering: Answering, text: str, status: str, *, as_summary: bool) -> dict[str, Any]:
    """An empty text is that of an item whose text is still to come."""
    content = [{"type": "reasoning_text", "text": text}] if text and not as_summary else []
    summary = [{"type": "summary_text", "text": text}] if text and as_summary else []
    return {
        "id": item_id(answering, "rs"),
        "type": "reasoning",
        "status": status,
        "summary": summary,
        "content": content,
        "encrypted_content": None,
    }


def message_item(answering: Answering, text: str | None, status: str, scores: Iterable[Scored] = ()) -> dict[str, Any]:
    """None: the text is still to come."""
    return {
        "id": item_id(answering, "msg"),
        "type": "message",
        "status": status,
        "role": "assistant",
        "content": [] if text is None else [text_part(text, scores)],
    }


def text_part(text: str, scores: Iterable[Scored] = ()) -> dict[str, Any]:
    logprobs = [score_object(score) for score in scores if not score.is_thinking]
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": logprobs}


def item_id(answering: Answering, prefix: str) -> str:
    """There is at most one item of each kind."""
    return f"{prefix}_{answering.id.partition('_')[2]}"
