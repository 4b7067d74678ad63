"""OpenAI's routes in the description."""

from __future__ import annotations

from typing import Any

from r1.serve.web.openapi import openai_objects, openai_requests
from r1.serve.web.openapi.openai_objects import CHAT_EVENT, COMPLETION_EVENT, RESPONSE_EVENT
from r1.serve.web.openapi.operations import Body, Errors, operation
from r1.serve.web.openapi.schemas import EVENTS, JSON, ref
from r1.serve.web.openapi.shared import MESSAGE

TAG = "OpenAI"

ERRORS = Errors(ref("OpenAIError"))
_REPLIES = ERRORS.responses(404, 408, 413, 500, 503)

SCHEMAS: dict[str, Any] = {**openai_requests.SCHEMAS, **openai_objects.SCHEMAS}

PATHS: dict[str, Any] = {
    "/v1/chat/completions": {
        "post": operation(
            TAG,
            "Answer a conversation.",
            {JSON: ref("OpenAIChatCompletion"), EVENTS: CHAT_EVENT},
            _REPLIES,
            takes=Body("OpenAIChatRequest", {"messages": [MESSAGE]}),
        )
    },
    "/v1/completions": {
        "post": operation(
            TAG,
            "Continue a text, without thinking.",
            {JSON: ref("OpenAICompletion"), EVENTS: COMPLETION_EVENT},
            _REPLIES,
            takes=Body("OpenAICompletionRequest", {"prompt": "17+25="}),
        )
    },
    "/v1/responses": {
        "post": operation(
            TAG,
            "Answer a conversation, with the thinking as an item of its own.",
            {JSON: ref("OpenAIResponse"), EVENTS: RESPONSE_EVENT},
            _REPLIES,
            takes=Body("OpenAIResponseRequest", {"input": "17+25?"}),
        )
    },
}
"""Those of the models are in `models`, because Anthropic has the same paths."""
