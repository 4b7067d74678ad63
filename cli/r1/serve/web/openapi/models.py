"""The models in the description: OpenAI and Anthropic have the same paths, and a header tells which is meant."""

from __future__ import annotations

from typing import Any

from r1.serve.anthropic.api import HEADER
from r1.serve.web.openapi import anthropic, openai
from r1.serve.web.openapi.operations import Errors, in_path, operation
from r1.serve.web.openapi.schemas import JSON, Schema, ref

_MOST = 1_000


def _either(of_openai: Schema, of_anthropic: Schema) -> Schema:
    return {"oneOf": [of_openai, of_anthropic]}


def _parameter(name: str, place: str, schema: Schema, what: str) -> dict[str, Any]:
    return {"name": name, "in": place, "required": False, "description": what, "schema": schema}


_ERRORS = Errors(_either(openai.ERRORS.schema, anthropic.ERRORS.schema))
_VERSION = _parameter(HEADER, "header", {"type": "string"}, "With it, the answer is Anthropic's; without it, OpenAI's.")
_PAGE = [
    _parameter(
        "limit", "query", {"type": "integer", "minimum": 1, "maximum": _MOST}, "Only Anthropic's: the most models."
    ),
    _parameter("after_id", "query", {"type": "string"}, "Only Anthropic's: the page begins after this model."),
    _parameter("before_id", "query", {"type": "string"}, "Only Anthropic's: the page ends before this model."),
]

PATHS: dict[str, Any] = {
    "/v1/models": {
        "get": operation(
            openai.TAG,
            "List the models that can be asked.",
            {JSON: _either(ref("OpenAIModelList"), ref("AnthropicModelPage"))},
            _ERRORS.responses(500),
            parameters=[_VERSION, *_PAGE],
        )
    },
    "/v1/models/{name}": {
        "get": operation(
            openai.TAG,
            "Show a model.",
            {JSON: _either(ref("OpenAIModel"), ref("AnthropicModel"))},
            _ERRORS.responses(404, 500),
            parameters=[in_path("name", "It may have slashes."), _VERSION],
        )
    },
}
