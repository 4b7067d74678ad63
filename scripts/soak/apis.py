"""How a question is asked, and its reply read, in each of the APIs."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Body = dict[str, Any]
Texts = tuple[str, str]
"""Thinking and answer, or a piece of each."""

MODEL = "tiny"


@dataclass(frozen=True, slots=True)
class Api:
    """`body` makes a request of messages, streamed or not. `whole` reads a reply, `piece` what a line of a stream adds;
    a stream is complete if its last line has `end` in it.
    """

    name: str
    path: str
    body: Callable[[list[dict[str, str]], bool], Body]
    whole: Callable[[Body], Texts]
    piece: Callable[[Body], Texts]
    end: str


def read_piece(api: Api, line: str) -> Texts:
    """What a line of a stream adds to the texts."""
    data = line.removeprefix("data: ")
    return api.piece(json.loads(data)) if data.startswith("{") else ("", "")


def _chat_body(messages: list[dict[str, str]], is_streamed: bool) -> Body:
    return {"model": MODEL, "messages": messages, "temperature": 0, "stream": is_streamed}


def _chat_whole(reply: Body) -> Texts:
    message = reply["choices"][0]["message"]
    return message["reasoning_content"], message["content"]


def _chat_piece(chunk: Body) -> Texts:
    delta = chunk["choices"][0]["delta"] if chunk["choices"] else {}
    return delta.get("reasoning_content") or "", delta.get("content") or ""


def _responses_body(messages: list[dict[str, str]], is_streamed: bool) -> Body:
    return {"model": MODEL, "input": messages, "temperature": 0, "stream": is_streamed}


def _responses_whole(reply: Body) -> Texts:
    thinking, message = reply["output"]
    return thinking["content"][0]["text"], message["content"][0]["text"]


def _responses_piece(event: Body) -> Texts:
    text = event.get("delta", "")
    if event["type"] == "response.reasoning_text.delta":
        return text, ""
    return "", text if event["type"] == "response.output_text.delta" else ""


def _messages_body(messages: list[dict[str, str]], is_streamed: bool) -> Body:
    thinking = {"type": "enabled", "budget_tokens": 1024}
    return {**_chat_body(messages, is_streamed), "max_tokens": 1500, "thinking": thinking}


def _messages_whole(reply: Body) -> Texts:
    thinking, text = reply["content"]
    return thinking["thinking"], text["text"]


def _messages_piece(event: Body) -> Texts:
    delta = event["delta"] if event["type"] == "content_block_delta" else {}
    return delta.get("thinking", ""), delta.get("text", "")


def _ollama_body(messages: list[dict[str, str]], is_streamed: bool) -> Body:
    return {"model": MODEL, "messages": messages, "stream": is_streamed, "options": {"temperature": 0}}


def _ollama_texts(line: Body) -> Texts:
    return line["message"].get("thinking") or "", line["message"]["content"]


APIS = (
    Api("chat", "/v1/chat/completions", _chat_body, _chat_whole, _chat_piece, "[DONE]"),
    Api("responses", "/v1/responses", _responses_body, _responses_whole, _responses_piece, "response.completed"),
    Api("messages", "/v1/messages", _messages_body, _messages_whole, _messages_piece, "message_stop"),
    Api("ollama", "/api/chat", _ollama_body, _ollama_texts, _ollama_texts, '"done":true'),
)
