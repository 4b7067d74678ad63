"""The events of a streamed response, in OpenAI's order (https://platform.openai.com/docs/api-reference/responses-streaming).

response.created  response.in_progress
    response.output_item.added                                 reasoning, if there is any
        response.reasoning_text.delta*  .done                  or reasoning_summary_part.added, _text.delta*, ...
    response.output_item.done
    response.output_item.added                                 the message
        response.content_part.added
            response.output_text.delta*  .done
        response.content_part.done
    response.output_item.done
response.completed | response.incomplete | response.failed
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from r1.engine.events import Answer, Event, Finished, Scored, Thinking, Thought
from r1.render.reply_text import ReplyText
from r1.serve.http import sse
from r1.serve.openai.answering import Answering
from r1.serve.openai.objects import score_object
from r1.serve.openai.response_objects import (
    COMPLETED,
    IN_PROGRESS,
    INCOMPLETE,
    message_item,
    reasoning_item,
    response_object,
    summary_asked,
    text_part,
)


class ResponseStream:
    """Turns the events of one reply into frames."""

    def __init__(self, answering: Answering) -> None:
        self._answering = answering
        self._number = 0  # of the next event
        self._text = ReplyText()
        self._scores: list[Scored] = []  # of the answer
        self._untold = 0  # the last ones of them, which belong to the next piece of text
        self._output: list[dict[str, Any]] = []  # finished items
        self._open: dict[str, Any] | None = None
        self._as_summary = summary_asked(answering.fields) is not None

    def begin(self) -> Iterator[str]:
        for kind in ("created", "in_progress"):
            yield self._event(f"response.{kind}", response=response_object(self._answering, []))

    def feed(self, event: Event) -> Iterator[str]:
        """The frames for an event of the reply."""
        reply = self._text.add(event)
        if isinstance(event, Scored) and not event.is_thinking:
            self._scores.append(event)
            self._untold += 1
        elif isinstance(event, Thinking):
            yield from self._think(event.text)
        elif isinstance(event, Thought):
            yield from self._close_reasoning(COMPLETED)
        elif isinstance(event, Answer):
            yield from self._answer(event.text)
        elif isinstance(event, Finished):
            yield from self._finish(event)
        if reply is not None:
            self._answering.end(reply)

    def fail(self, message: str) -> str:
        """The frame for an error in the middle."""
        return self._event("response.failed", response=response_object(self._answering, self._output, error=message))

    def _event(self, kind: str, **values: Any) -> str:
        number, self._number = self._number, self._number + 1
        return sse({"type": kind, "sequence_number": number, **values}, kind)

    # Items

    def _open_item(self, item: dict[str, Any]) -> str:
        self._open = item
        return self._event("response.output_item.added", output_index=len(self._output), item=item)

    def _close_item(self, item: dict[str, Any]) -> str:
        self._open = None
        self._output.append(item)
        return self._event("response.output_item.done", output_index=len(self._output) - 1, item=item)

    def _in_item(self, kind: str, index_name: str, **values: Any) -> str:
        """An event about the only part of the open item."""
        assert self._open is not None, "an item is open"
        place = {"item_id": self._open["id"], "output_index": len(self._output), index_name: 0}
        return self._event(f"response.{kind}", **place, **values)

    # The thinking

    def _think(self, text: str) -> Iterator[str]:
        if self._open is None:
            yield self._open_item(reasoning_item(self._answering, "", IN_PROGRESS, as_summary=self._as_summary))
            if self._as_summary:
                part = {"type": "summary_text", "text": ""}
                yield self._in_item("reasoning_summary_part.added", "summary_index", part=part)
        if self._as_summary:
            yield self._in_item("reasoning_summary_text.delta", "summary_index", delta=text)
        else:
            yield self._in_item("reasoning_text.delta", "content_index", delta=text)

    def _close_reasoning(self, status: str) -> Iterator[str]:
        if self._open is None:
            return
        text = "".join(self._text.thinking)
        if self._as_summary:
            yield self._in_item("reasoning_summary_text.done", "summary_index", text=text)
            part = {"type": "summary_text", "text": text}
            yield self._in_item("reasoning_summary_part.done", "summary_index", part=part)
        else:
            yield self._in_item("reasoning_text.done", "content_index", text=text)
        yield self._close_item(reasoning_item(self._answering, text, status, as_summary=self._as_summary))

    # The message

    def _answer(self, text: str) -> Iterator[str]:
        if self._open is None:
            yield self._open_item(message_item(self._answering, None, IN_PROGRESS))
            yield self._in_item("content_part.added", "content_index", part=text_part(""))
        told = len(self._scores) - self._untold
        self._untold = 0
        logprobs = [score_object(score) for score in self._scores[told:]]
        yield self._in_item("output_text.delta", "content_index", delta=text, logprobs=logprobs)

    def _close_message(self, status: str) -> Iterator[str]:
        text = "".join(self._text.answer)
        part = text_part(text, self._scores)
        yield self._in_item("output_text.done", "content_index", text=text, logprobs=part["logprobs"])
        yield self._in_item("content_part.done", "content_index", part=part)
        yield self._close_item(message_item(self._answering, text, status, self._scores))

    # The end

    def _finish(self, finished: Finished) -> Iterator[str]:
        status = COMPLETED if finished.reason == "stop" else INCOMPLETE
        is_thinking = self._open is not None and self._open["type"] == "reasoning"
        if is_thinking:
            yield from self._close_reasoning(status)
        if not self._text.answer and status == COMPLETED:
            yield from self._answer("")
        if self._open is not None:
            yield from self._close_message(status)
        response = response_object(self._answering, self._output, finished)
        yield self._event(f"response.{response['status']}", response=response)
