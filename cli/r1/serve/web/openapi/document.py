"""The whole description, and its route."""

from __future__ import annotations

from functools import cache
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from r1 import __version__
from r1.serve.http import json_response
from r1.serve.web.openapi import anthropic, models, ollama, openai
from r1.serve.web.openapi.operations import operation
from r1.serve.web.openapi.schemas import COUNT, JSON, STRING, made, or_null, word

_TAG = "r1"

_WHAT = """\
R1's distilled models on this machine, behind three APIs: OpenAI's, Anthropic's and Ollama's.

Null is as good as no field. Fields that are not described are ignored. A described one that cannot be used is a 400
that names it. GET includes HEAD.

What the schemas cannot say, and a 400 says as well:
- messages need text to answer, and begin with one of the user or the system;
- an answer has one form at most, and none where its beginning is given; not every JSON Schema, regular expression or
  grammar can be one;
- `top_logprobs` of chat completions needs `logprobs`; `logprobs` of completions cannot go with `echo`;
- `votes` gives one reply, at a temperature above 0, and `first` is at most as many;
- `raw` of Ollama goes without `system` and `format`;
- a prompt must fit into the context.

Errors have the shape of the API that was asked. A request with the header `anthropic-version` gets Anthropic's on any
path.
"""

_OPEN = openai.ERRORS.responses()
_NO_KEY_NEEDED = {status: answer for status, answer in _OPEN.items() if status != "401"}
_HEALTH = made({"status": word("ok"), "model": or_null(STRING), "active": COUNT})
_ENDING = {"description": "The server is ending.", "content": {JSON: {"schema": made({"status": word("ending")})}}}

_PATHS: dict[str, Any] = {
    "/health": {
        "get": {
            **operation(_TAG, "Say whether it takes requests.", {JSON: _HEALTH}, {**_NO_KEY_NEEDED, "503": _ENDING}),
            "security": [{}],
        }
    },
    "/metrics": {"get": operation(_TAG, "Tell the figures of Prometheus.", {"text/plain": STRING}, _OPEN)},
    "/openapi.json": {"get": operation(_TAG, "Give this description.", {JSON: {"type": "object"}}, _OPEN)},
}


@cache
def document() -> dict[str, Any]:
    """The description, as OpenAPI 3.1 has it (https://spec.openapis.org/oas/v3.1.1)."""
    return {
        "openapi": "3.1.1",
        "info": {"title": "r1 serve", "version": __version__, "description": _WHAT},
        "servers": [{"url": "/"}],
        "security": [{}, {"bearer": []}, {"key": []}],
        "tags": [{"name": name} for name in (openai.TAG, anthropic.TAG, ollama.TAG, _TAG)],
        "paths": {**openai.PATHS, **anthropic.PATHS, **models.PATHS, **ollama.PATHS, **_PATHS},
        "components": {
            "schemas": {**openai.SCHEMAS, **anthropic.SCHEMAS, **ollama.SCHEMAS},
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer", "description": "Needed if the server has keys."},
                "key": {"type": "apiKey", "in": "header", "name": "x-api-key", "description": "The same."},
            },
        },
    }


async def describe(_: Request) -> Response:
    """Gives the description."""
    return json_response(document())
