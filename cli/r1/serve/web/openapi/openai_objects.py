"""What OpenAI's routes answer."""

from __future__ import annotations

from typing import Any

from r1.serve.web.openapi.schemas import (
    AMOUNT,
    COUNT,
    FLAG,
    INTEGER,
    NULL,
    NUMBER,
    STRING,
    Schema,
    constant,
    made,
    made_list,
    or_null,
    ref,
    server_sent,
    word,
)
from r1.serve.web.openapi.shared import VOTE

_DONE = "[DONE]"
_TYPES = (
    *("invalid_request_error", "authentication_error", "permission_error", "not_found_error"),
    *("rate_limit_error", "server_error"),
)

_ERROR = made(
    {"error": made({"message": STRING, "type": word(*_TYPES), "param": or_null(STRING), "code": or_null(STRING)})}
)

_DRAFTS = ("draft_n", "draft_n_accepted")
_TIMINGS = made(
    {
        "cache_n": COUNT,
        **{
            f"{part}_{name}": COUNT if name == "n" else AMOUNT
            for part in ("prompt", "predicted")
            for name in ("n", "ms", "per_token_ms", "per_second")
        },
        **dict.fromkeys(_DRAFTS, COUNT),
    },
    optional=_DRAFTS,
    what="Tokens, milliseconds and rates, as llama-server has them.",
)

_USAGE = made(
    {
        "prompt_tokens": COUNT,
        "completion_tokens": COUNT,
        "total_tokens": COUNT,
        "prompt_tokens_details": made({"cached_tokens": COUNT}),
        "completion_tokens_details": made({"reasoning_tokens": COUNT}),
    }
)

_TOKEN: dict[str, Schema] = {"token": STRING, "logprob": NUMBER, "bytes": made_list(INTEGER)}
_SCORES = made_list(made({**_TOKEN, "top_logprobs": made_list(made(_TOKEN))}))
_LOGPROBS = made({"content": _SCORES, "reasoning_content": _SCORES, "refusal": NULL})
_REASON = word("stop", "length")
_THOUGHT: dict[str, Schema] = {"reasoning_content": STRING, "reasoning": STRING}
_MODELS_OWN = ("context_length", "max_model_len", "meta")


def _head(kind: str) -> dict[str, Schema]:
    return {"id": STRING, "object": constant(kind), "created": INTEGER, "model": STRING}


# Chat completions

_CHOICE = made(
    {
        "index": COUNT,
        "message": made({"role": constant("assistant"), "content": STRING, **_THOUGHT}, optional=_THOUGHT),
        "logprobs": or_null(ref("OpenAILogprobs")),
        "finish_reason": _REASON,
    }
)
_CHAT = made(
    {
        **_head("chat.completion"),
        "choices": made_list(_CHOICE),
        "usage": ref("OpenAIUsage"),
        "timings": ref("OpenAITimings"),
        **VOTE,
    },
    optional=VOTE,
)
_DELTA = made({"role": constant("assistant"), "content": or_null(STRING), **_THOUGHT}, ("role", "content", *_THOUGHT))
_CHUNK_CHOICE = made(
    {
        "index": COUNT,
        "delta": _DELTA,
        "logprobs": or_null(ref("OpenAILogprobs")),
        "finish_reason": or_null(_REASON),
    }
)
_CHAT_CHUNK = made(
    {
        **_head("chat.completion.chunk"),
        "choices": made_list(_CHUNK_CHOICE),
        "usage": ref("OpenAIUsage"),
        "timings": ref("OpenAITimings"),
        **VOTE,
    },
    optional=("usage", "timings", *VOTE),
)

# Completions

_OLD_LOGPROBS = made(
    {
        "tokens": made_list(STRING),
        "token_logprobs": made_list(NUMBER),
        "top_logprobs": made_list({"type": "object", "additionalProperties": NUMBER}),
        "text_offset": made_list(COUNT),
    }
)


def _text_choice(reason: Schema) -> Schema:
    return made(
        {
            "index": COUNT,
            "text": STRING,
            "logprobs": or_null(ref("OpenAICompletionLogprobs")),
            "finish_reason": reason,
        }
    )


_COMPLETION = made(
    {
        **_head("text_completion"),
        "choices": made_list(_text_choice(_REASON)),
        "usage": ref("OpenAIUsage"),
        "timings": ref("OpenAITimings"),
    }
)
_COMPLETION_CHUNK = made(
    {
        **_head("text_completion"),
        "choices": made_list(_text_choice(or_null(_REASON))),
        "usage": ref("OpenAIUsage"),
        "timings": ref("OpenAITimings"),
    },
    optional=("usage", "timings"),
)

# Responses

_ITEM_STATUS = word("in_progress", "completed", "incomplete")
_OUTPUT_TEXT = made(
    {
        "type": constant("output_text"),
        "text": STRING,
        "annotations": {"type": "array", "maxItems": 0},
        "logprobs": _SCORES,
    }
)
_SUMMARY_TEXT = made({"type": constant("summary_text"), "text": STRING})
_REASONING_TEXT = made({"type": constant("reasoning_text"), "text": STRING})
_REASONING_ITEM = made(
    {
        "id": STRING,
        "type": constant("reasoning"),
        "status": _ITEM_STATUS,
        "summary": made_list(_SUMMARY_TEXT),
        "content": made_list(_REASONING_TEXT),
        "encrypted_content": NULL,
    }
)
_MESSAGE_ITEM = made(
    {
        "id": STRING,
        "type": constant("message"),
        "status": _ITEM_STATUS,
        "role": constant("assistant"),
        "content": made_list(_OUTPUT_TEXT),
    }
)
_FORMAT: Schema = {
    "oneOf": [
        made({"type": word("text", "json_object")}),
        made(
            {
                "type": constant("json_schema"),
                "name": STRING,
                "schema": {"type": ["object", "boolean"]},
                "strict": constant(True),
            }
        ),
    ]
}
_RESPONSE = made(
    {
        "id": STRING,
        "object": constant("response"),
        "created_at": INTEGER,
        "completed_at": or_null(INTEGER),
        "status": word("in_progress", "completed", "incomplete", "failed"),
        "background": constant(False),
        "error": or_null(made({"code": constant("server_error"), "message": STRING})),
        "incomplete_details": or_null(made({"reason": constant("max_output_tokens")})),
        "model": STRING,
        "output": made_list({"oneOf": [ref("OpenAIReasoningItem"), ref("OpenAIMessageItem")]}),
        "instructions": or_null(STRING),
        "max_output_tokens": or_null(COUNT),
        "max_tool_calls": NULL,
        "metadata": {"type": "object", "additionalProperties": STRING},
        "parallel_tool_calls": FLAG,
        "previous_response_id": NULL,
        "reasoning": made({"effort": or_null(STRING), "summary": word("auto", "concise", "detailed", None)}),
        "store": constant(False),
        "temperature": AMOUNT,
        "text": made({"format": _FORMAT}),
        "tool_choice": word("none", "auto"),
        "tools": {"type": "array", "maxItems": 0},
        "top_p": AMOUNT,
        "truncation": constant("disabled"),
        "user": or_null(STRING),
        "usage": or_null(
            made(
                {
                    "input_tokens": COUNT,
                    "input_tokens_details": made({"cached_tokens": COUNT, "cache_write_tokens": COUNT}),
                    "output_tokens": COUNT,
                    "output_tokens_details": made({"reasoning_tokens": COUNT}),
                    "total_tokens": COUNT,
                }
            )
        ),
        "timings": ref("OpenAITimings"),
        **VOTE,
    },
    optional=("timings", *VOTE),
)

_ITEM: Schema = {"oneOf": [ref("OpenAIReasoningItem"), ref("OpenAIMessageItem")]}
_IN_ITEM: dict[str, Schema] = {"item_id": STRING, "output_index": COUNT}
_IN_CONTENT = {**_IN_ITEM, "content_index": COUNT}
_IN_SUMMARY = {**_IN_ITEM, "summary_index": COUNT}
_EVENTS: dict[str, dict[str, Schema]] = {
    **{
        f"response.{name}": {"response": ref("OpenAIResponse")}
        for name in ("created", "in_progress", "completed", "incomplete", "failed")
    },
    "response.output_item.added": {"output_index": COUNT, "item": _ITEM},
    "response.output_item.done": {"output_index": COUNT, "item": _ITEM},
    "response.reasoning_text.delta": {**_IN_CONTENT, "delta": STRING},
    "response.reasoning_text.done": {**_IN_CONTENT, "text": STRING},
    "response.reasoning_summary_part.added": {**_IN_SUMMARY, "part": _SUMMARY_TEXT},
    "response.reasoning_summary_text.delta": {**_IN_SUMMARY, "delta": STRING},
    "response.reasoning_summary_text.done": {**_IN_SUMMARY, "text": STRING},
    "response.reasoning_summary_part.done": {**_IN_SUMMARY, "part": _SUMMARY_TEXT},
    "response.content_part.added": {**_IN_CONTENT, "part": _OUTPUT_TEXT},
    "response.output_text.delta": {**_IN_CONTENT, "delta": STRING, "logprobs": _SCORES},
    "response.output_text.done": {**_IN_CONTENT, "text": STRING, "logprobs": _SCORES},
    "response.content_part.done": {**_IN_CONTENT, "part": _OUTPUT_TEXT},
}

# Models

_MODEL = made(
    {
        "id": STRING,
        "object": constant("model"),
        "created": INTEGER,
        "owned_by": constant("r1"),
        "context_length": or_null(COUNT),
        "max_model_len": or_null(COUNT),
        "meta": made(
            {
                "vocab_type": INTEGER,
                "n_vocab": or_null(COUNT),
                "n_ctx_train": or_null(COUNT),
                "n_embd": or_null(COUNT),
                "n_params": COUNT,
                "size": COUNT,
            }
        ),
    },
    optional=_MODELS_OWN,
    what="Of a damaged file the length and `meta` are not known.",
)

SCHEMAS: dict[str, Any] = {
    "OpenAIError": _ERROR,
    "OpenAIUsage": _USAGE,
    "OpenAITimings": _TIMINGS,
    "OpenAILogprobs": _LOGPROBS,
    "OpenAIChatCompletion": _CHAT,
    "OpenAIChatCompletionChunk": _CHAT_CHUNK,
    "OpenAICompletionLogprobs": _OLD_LOGPROBS,
    "OpenAICompletion": _COMPLETION,
    "OpenAICompletionChunk": _COMPLETION_CHUNK,
    "OpenAIReasoningItem": _REASONING_ITEM,
    "OpenAIMessageItem": _MESSAGE_ITEM,
    "OpenAIResponse": _RESPONSE,
    "OpenAIResponseEvent": {
        "oneOf": [
            made({"type": constant(kind), "sequence_number": COUNT, **values}) for kind, values in _EVENTS.items()
        ]
    },
    "OpenAIModel": _MODEL,
    "OpenAIModelList": made({"object": constant("list"), "data": made_list(ref("OpenAIModel"))}),
}

CHAT_EVENT = server_sent(ref("OpenAIChatCompletionChunk"), ref("OpenAIError"), ends_with=_DONE)
COMPLETION_EVENT = server_sent(ref("OpenAICompletionChunk"), ref("OpenAIError"), ends_with=_DONE)
RESPONSE_EVENT = server_sent(ref("OpenAIResponseEvent"), names=_EVENTS)
