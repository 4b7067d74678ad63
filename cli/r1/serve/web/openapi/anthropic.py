"""Anthropic's routes in the description."""

from __future__ import annotations

from typing import Any

from r1.serve.messages import MOST_MESSAGES
from r1.serve.reply_fields import MOST_TOKENS
from r1.serve.web.openapi.operations import Body, Errors, operation
from r1.serve.web.openapi.schemas import (
    COUNT,
    EVENTS,
    FLAG,
    JSON,
    STRING,
    Schema,
    body,
    constant,
    empty,
    fields,
    made,
    made_list,
    objects,
    one_of,
    or_null,
    ref,
    server_sent,
    text,
    whole,
    word,
)
from r1.serve.web.openapi.shared import MESSAGE, MODEL, OWN_FORMS, SAMPLING, STOP_TEXTS, STREAMED, VOTE, VOTING

TAG = "Anthropic"

ERRORS = Errors(ref("AnthropicError"), ("request-id",))

# Requests

_NO_TOOLS = "Not supported: R1 was not trained to call tools. Ignored if `tool_choice.type` is `none`."
_BLOCK: Schema = {
    "oneOf": [
        body({"type": constant("text"), "text": text()}, ["type"]),
        body({"type": constant("thinking"), "thinking": text()}, ["type"]),
        body({"type": constant("redacted_thinking")}, ["type"]),
    ]
}
_CONTENT: Schema = {"anyOf": [text(), objects(ref("AnthropicBlock"))]}
_MESSAGE = body(
    {
        "role": {"enum": ["user", "assistant", "system", "developer"]},
        "content": {**_CONTENT, "description": "Earlier thinking is left out, as R1 was trained."},
    },
    ["role"],
)
_FORMAT: Schema = {
    "type": ["object", "null"],
    "properties": {
        "type": constant("json_schema"),
        "schema": {"type": ["object", "boolean"], "description": "A JSON Schema for the answer."},
    },
    "required": ["type", "schema"],
}
_THINKING = {
    "type": {"enum": ["enabled", "adaptive", "disabled", "between_tools"]},
    "budget_tokens": whole(0, MOST_TOKENS, "The most tokens of thinking. Counts more than an effort."),
}
_ASKED: dict[str, Schema] = {
    "model": MODEL,
    "messages": {
        "type": "array",
        "items": ref("AnthropicMessageParam"),
        "minItems": 1,
        "maxItems": MOST_MESSAGES,
        "description": "An assistant's message at the end is the beginning of the answer.",
    },
    "system": {**_CONTENT, "description": "Goes in front of the first message."},
    "max_tokens": whole(1, MOST_TOKENS, "The most tokens of the reply, thinking included."),
    **SAMPLING,
    "top_k": whole(0, MOST_TOKENS, "Has no effect."),
    "stop_sequences": STOP_TEXTS,
    "output_config": fields(
        {
            "effort": one_of(("low", "medium", "high", "xhigh", "max"), "How long to think, in words."),
            "format": _FORMAT,
        }
    ),
    "output_format": {**_FORMAT, "description": "The same as `output_config.format`, by its earlier name."},
    **OWN_FORMS,
    "tools": empty(_NO_TOOLS),
    "mcp_servers": empty(_NO_TOOLS),
    "tool_choice": fields({"type": text("`none`: tools are ignored.")}),
    **VOTING,
}
_COUNTED = body({**_ASKED, "thinking": fields(_THINKING, required=["type"])}, ["messages"])
_REQUEST = body(
    {
        **_ASKED,
        "max_tokens": {"type": "integer", "minimum": 1, "maximum": MOST_TOKENS},
        "stream": STREAMED,
        "thinking": fields(
            {
                **_THINKING,
                "display": one_of(("summarized", "omitted"), "omitted: a block of thinking comes without its text."),
            },
            "Without it R1 thinks, and the answer has no block of thinking.",
            required=["type"],
        ),
    },
    ["messages", "max_tokens"],
)

# Answers

_TYPES = (
    *("invalid_request_error", "authentication_error", "permission_error", "not_found_error", "timeout_error"),
    *("request_too_large", "rate_limit_error", "api_error", "overloaded_error"),
)
_STOP_REASONS = (
    *("end_turn", "max_tokens", "stop_sequence", "model_context_window_exceeded", "pause_turn"),
    None,
)
_ERROR = made(
    {
        "type": constant("error"),
        "error": made({"type": word(*_TYPES), "message": STRING}),
        "request_id": STRING,
    }
)
_USAGE = made(
    {
        "input_tokens": COUNT,
        "cache_creation_input_tokens": COUNT,
        "cache_read_input_tokens": COUNT,
        "output_tokens": COUNT,
        "output_tokens_details": made({"thinking_tokens": COUNT}),
    }
)
_TEXT = made({"type": constant("text"), "text": STRING})
_THOUGHT = made({"type": constant("thinking"), "thinking": STRING, "signature": STRING})
_STOP: dict[str, Schema] = {"stop_reason": word(*_STOP_REASONS), "stop_sequence": or_null(STRING)}
_ANSWER = made(
    {
        "id": STRING,
        "type": constant("message"),
        "role": constant("assistant"),
        "model": STRING,
        "content": made_list({"oneOf": [_TEXT, _THOUGHT]}),
        **_STOP,
        "usage": ref("AnthropicUsage"),
        **VOTE,
    },
    optional=VOTE,
)
_DELTA: Schema = {
    "oneOf": [
        made({"type": constant("text_delta"), "text": STRING}),
        made({"type": constant("thinking_delta"), "thinking": STRING}),
        made({"type": constant("signature_delta"), "signature": STRING}),
    ]
}
_EVENTS: dict[str, dict[str, Schema]] = {
    "message_start": {"message": ref("AnthropicMessage")},
    "content_block_start": {"index": COUNT, "content_block": {"oneOf": [_TEXT, _THOUGHT]}},
    "content_block_delta": {"index": COUNT, "delta": _DELTA},
    "content_block_stop": {"index": COUNT},
    "message_delta": {"delta": made(_STOP), "usage": ref("AnthropicUsage"), **VOTE},
    "message_stop": {},
    "ping": {},
}

# Models

_SUPPORTED = made({"supported": FLAG})
_SIMPLE = (
    *("batch", "citations", "code_execution", "context_management", "image_input", "pdf_input", "structured_outputs"),
)
_CAPABILITIES = made(
    {
        **dict.fromkeys(_SIMPLE, _SUPPORTED),
        "effort": made(
            {"supported": FLAG, **dict.fromkeys(("low", "medium", "high", "xhigh", "max"), _SUPPORTED)},
        ),
        "server_tools": made({"supported": FLAG, "code_execution": _SUPPORTED, "web_search": _SUPPORTED}),
        "thinking": made(
            {
                "supported": FLAG,
                "types": made(dict.fromkeys(("adaptive", "between_tools", "disabled", "enabled"), _SUPPORTED)),
            }
        ),
    }
)
_MODEL = made(
    {
        "type": constant("model"),
        "id": STRING,
        "display_name": STRING,
        "created_at": {"type": "string", "format": "date-time"},
        "lifecycle": constant("active"),
        "max_input_tokens": or_null(COUNT),
        "max_tokens": or_null(COUNT),
        "capabilities": _CAPABILITIES,
    }
)

SCHEMAS: dict[str, Any] = {
    "AnthropicBlock": _BLOCK,
    "AnthropicMessageParam": _MESSAGE,
    "AnthropicRequest": _REQUEST,
    "AnthropicCountRequest": _COUNTED,
    "AnthropicError": _ERROR,
    "AnthropicUsage": _USAGE,
    "AnthropicMessage": _ANSWER,
    "AnthropicEvent": {
        "oneOf": [
            made({"type": constant(kind), **values}, optional=VOTE if kind == "message_delta" else ())
            for kind, values in _EVENTS.items()
        ]
    },
    "AnthropicTokenCount": made({"input_tokens": COUNT}),
    "AnthropicModel": _MODEL,
    "AnthropicModelPage": made(
        {
            "data": made_list(ref("AnthropicModel")),
            "has_more": FLAG,
            "first_id": or_null(STRING),
            "last_id": or_null(STRING),
        }
    ),
}

_EVENT = server_sent(ref("AnthropicEvent"), ref("AnthropicError"), names=(*_EVENTS, "error"))
_REFUSALS = ERRORS.responses(404, 408, 413, 500, 503, 529)

PATHS: dict[str, Any] = {
    "/v1/messages": {
        "post": operation(
            TAG,
            "Answer a conversation.",
            {JSON: ref("AnthropicMessage"), EVENTS: _EVENT},
            _REFUSALS,
            takes=Body("AnthropicRequest", {"max_tokens": 4096, "messages": [MESSAGE]}),
        )
    },
    "/v1/messages/count_tokens": {
        "post": operation(
            TAG,
            "Count the tokens of a prompt.",
            {JSON: ref("AnthropicTokenCount")},
            _REFUSALS,
            takes=Body("AnthropicCountRequest", {"messages": [MESSAGE]}),
        )
    },
}
"""Those of the models are in `models`, because OpenAI has the same paths."""
