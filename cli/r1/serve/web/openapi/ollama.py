"""Ollama's routes in the description."""

from __future__ import annotations

from typing import Any

from r1.serve.messages import MOST_MESSAGES
from r1.serve.question import MOST_TOP_LOGPROBS
from r1.serve.reply_fields import MOST_TOKENS
from r1.serve.web.openapi.operations import Body, Errors, in_path, operation
from r1.serve.web.openapi.schemas import (
    COUNT,
    FLAG,
    INTEGER,
    JSON,
    NUMBER,
    STRING,
    Schema,
    body,
    constant,
    empty,
    fields,
    flag,
    made,
    made_list,
    ref,
    text,
    whole,
    word,
)
from r1.serve.web.openapi.shared import MESSAGE, MODEL, SAMPLING, STOP_TEXTS

TAG = "Ollama"

LINES = "application/x-ndjson"

ERRORS = Errors(ref("OllamaError"))

# Requests

_NUMBER = r"[0-9]{1,15}(?:\.[0-9]{1,15})?"
_TIME = r"(?:[0-9]{1,15}(?:\.[0-9]{0,15})?|\.[0-9]{1,15})(?:ns|us|µs|μs|ms|s|m|h)"
_DURATION = rf"^[+-]?(?:{_NUMBER}|(?:{_TIME})+)$"
_MOST_CONTEXT = 1 << 40
_NO_IMAGES = "Not supported: R1 reads only text."
_NO_TOOLS = "Not supported: R1 was not trained to call tools."

_ASKED: dict[str, Schema] = {
    "model": MODEL,
    "stream": flag("Whether the answer comes as lines of JSON; it does, unless this is false."),
    "keep_alive": {
        "anyOf": [{"type": ["number", "null"]}, {"type": "string", "pattern": _DURATION}],
        "description": "How long the model stays after its last use: seconds, or such as `5m`; below 0, for ever.",
    },
    "think": {
        "enum": [True, False, "low", "medium", "high", "max", None],
        "description": "Whether R1 thinks, or how long.",
    },
    "format": {
        "anyOf": [{"type": ["object", "null"]}, {"enum": ["json", ""]}],
        "description": "The form of the answer: `json`, or a JSON Schema.",
    },
    "options": fields(
        {
            **SAMPLING,
            "num_ctx": whole(0, _MOST_CONTEXT, "Has no effect: one context serves all clients."),
            "num_predict": whole(-2, MOST_TOKENS, "The most tokens of the reply; 0, -1 and -2 are no limit."),
            "stop": STOP_TEXTS,
        }
    ),
    "logprobs": flag("Whether to list the tokens' log-probabilities."),
    "top_logprobs": whole(0, MOST_TOP_LOGPROBS, "How many of the likeliest tokens."),
}
_MESSAGE = body(
    {
        "role": {
            "enum": ["system", "user", "assistant", "developer"],
            "description": "In upper or lower case.",
        },
        "content": text(),
        "thinking": text("What an assistant thought. Left out of later turns, as R1 was trained."),
        "images": empty(_NO_IMAGES),
        "tool_calls": empty(_NO_TOOLS),
    },
    ["role"],
)
_CHAT = body(
    {
        "messages": {
            "type": ["array", "null"],
            "items": ref("OllamaMessage"),
            "maxItems": MOST_MESSAGES,
            "description": "Without any, the model is only loaded, or freed, if `keep_alive` is 0.",
        },
        **_ASKED,
        "tools": empty(_NO_TOOLS),
    }
)
_GENERATE = body(
    {
        "prompt": text("Without one, the model is only loaded, or freed, if `keep_alive` is 0."),
        "system": text("Goes in front of the prompt."),
        "raw": flag("Whether the prompt goes on as it stands, without thinking."),
        **_ASKED,
        "images": empty(_NO_IMAGES),
        "suffix": empty("Not supported: R1 was not trained to fill in the middle."),
        "template": empty("Not supported; `raw` leaves the template out."),
        "context": empty("Not supported; send the conversation to /api/chat."),
    }
)
_SHOW: Schema = {
    **body(
        {
            "model": text("A name as `r1 list` has it."),
            "name": text("The same, by its earlier name."),
            "verbose": flag("Whether to include the long lists of the header."),
        }
    ),
    "anyOf": [
        {"required": ["model"], "properties": {"model": {"type": "string"}}},
        {"required": ["name"], "properties": {"name": {"type": "string", "minLength": 1}}},
    ],
}

# Answers

_TOKEN: dict[str, Schema] = {"token": STRING, "logprob": NUMBER, "bytes": made_list(INTEGER)}
_FIGURES = (
    *("total_duration", "load_duration", "prompt_eval_count", "prompt_eval_duration", "eval_count", "eval_duration"),
)
_MOMENT: Schema = {"type": "string", "format": "date-time"}


def _reply(values: dict[str, Schema], optional: tuple[str, ...] = ()) -> Schema:
    """A whole reply, or one line of a stream. Only the last line has the figures."""
    ended = {"done_reason": word("stop", "length", "load", "unload"), **dict.fromkeys(_FIGURES, COUNT)}
    return made(
        {
            "model": STRING,
            "created_at": _MOMENT,
            **values,
            "done": FLAG,
            **ended,
            "logprobs": made_list(made({**_TOKEN, "top_logprobs": made_list(made(_TOKEN))}, ["top_logprobs"])),
        },
        optional=(*optional, *ended, "logprobs"),
    )


_SAID = made({"role": constant("assistant"), "content": STRING, "thinking": STRING}, optional=["thinking"])
_DETAILS = made(
    {
        "parent_model": STRING,
        "format": constant("gguf"),
        "family": STRING,
        "families": made_list(STRING),
        "parameter_size": STRING,
        "quantization_level": STRING,
        "context_length": COUNT,
        "embedding_length": COUNT,
    },
    optional=["context_length", "embedding_length"],
)
_CAPABILITIES = made_list(STRING)
_HEAD: dict[str, Schema] = {"name": STRING, "model": STRING, "digest": STRING, "details": _DETAILS}
_LISTED = made({**_HEAD, "modified_at": _MOMENT, "size": COUNT, "capabilities": _CAPABILITIES})
_LOADED = made({**_HEAD, "size": COUNT, "size_vram": COUNT, "expires_at": _MOMENT, "context_length": COUNT})
_SHOWN = made(
    {
        "license": STRING,
        "parameters": STRING,
        "template": STRING,
        "details": _DETAILS,
        "model_info": {"type": "object"},
        "capabilities": _CAPABILITIES,
        "modified_at": _MOMENT,
    }
)

SCHEMAS: dict[str, Any] = {
    "OllamaMessage": _MESSAGE,
    "OllamaChatRequest": _CHAT,
    "OllamaGenerateRequest": _GENERATE,
    "OllamaShowRequest": _SHOW,
    "OllamaError": made({"error": STRING}),
    "OllamaChatReply": _reply({"message": _SAID}),
    "OllamaGenerateReply": _reply({"response": STRING, "thinking": STRING}, optional=("thinking",)),
    "OllamaModelList": made({"models": made_list(_LISTED)}),
    "OllamaLoadedList": made({"models": made_list(_LOADED)}),
    "OllamaModel": _SHOWN,
}


def _line(reply: str) -> Schema:
    """One line of a stream."""
    return {"anyOf": [ref(reply), ref("OllamaError")]}


_REPLIES = ERRORS.responses(404, 408, 413, 500, 503)
_REFUSED_METHODS = ("get", "post", "put", "delete")


def _get(summary: str, schema: Schema, *statuses: int) -> dict[str, Any]:
    return {"get": operation(TAG, summary, {JSON: schema}, ERRORS.responses(*statuses))}


def _answered(summary: str, takes: Body, reply: str) -> dict[str, Any]:
    answers = {JSON: ref(reply), LINES: _line(reply)}
    return {"post": operation(TAG, summary, answers, _REPLIES, takes=takes)}


def _refused(path: str) -> dict[str, Any]:
    """A path of Ollama's that is never supported."""
    parameters = {"parameters": [in_path("digest", "Of a file.")]} if "{digest}" in path else {}
    refused = {"tags": [TAG], "summary": "Not supported.", "responses": ERRORS.responses(501)}
    return {**parameters, **dict.fromkeys(_REFUSED_METHODS, refused)}


_REFUSED = (
    *("/api/pull", "/api/push", "/api/create", "/api/copy", "/api/delete", "/api/blobs/{digest}"),
    *("/api/embed", "/api/embeddings"),
)

PATHS: dict[str, Any] = {
    "/": {
        "get": {
            "tags": [TAG],
            "summary": "Say that a server is here.",
            "responses": {
                "200": {"description": "It is.", "content": {"text/plain": {"schema": STRING}}},
                **Errors(ref("OpenAIError")).responses(),
            },
        }
    },
    "/api/version": _get("Tell the version of Ollama whose API this is.", made({"version": STRING, "r1": STRING})),
    "/api/tags": _get("List the models that can be asked.", ref("OllamaModelList"), 500),
    "/api/ps": _get("Tell which model is loaded.", ref("OllamaLoadedList"), 404, 500),
    "/api/show": {
        "post": operation(
            TAG,
            "Show a model.",
            {JSON: ref("OllamaModel")},
            ERRORS.responses(404, 408, 413, 500, 503),
            takes=Body("OllamaShowRequest", {"model": "tiny"}),
        )
    },
    "/api/chat": _answered(
        "Answer a conversation.",
        Body("OllamaChatRequest", {"messages": [MESSAGE]}),
        "OllamaChatReply",
    ),
    "/api/generate": _answered(
        "Answer a prompt, or continue a text.",
        Body("OllamaGenerateRequest", {"prompt": "17+25?"}),
        "OllamaGenerateReply",
    ),
    **{path: _refused(path) for path in _REFUSED},
}
