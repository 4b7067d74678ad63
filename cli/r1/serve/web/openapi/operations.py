"""Operations of the description: what a route takes, what it answers, and how it refuses."""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from r1.serve.web.openapi.schemas import JSON, Schema, ref

_REASONS = {
    400: "The request cannot be used; the message names the field.",
    401: "The server needs a key, and this is none.",
    403: "A web page of another origin sent this, or it was sent to another host's name.",
    404: "There is no such model here; the message says which there are.",
    408: "The body did not arrive in time.",
    413: "The body is too large.",
    500: "An error that nobody foresaw, or a damaged file.",
    501: "Never supported; the message says what to do.",
    503: "Too many requests wait, the server is ending, or the model does not fit into memory.",
    529: "Too many requests wait.",
}

GUARDED = (400, 401, 403)
"""Any request can be refused so, before its route is asked."""


@dataclass(frozen=True, slots=True)
class Errors:
    """How an API refuses: the schema of its errors, and the headers that go with them."""

    schema: Schema
    headers: tuple[str, ...] = ()

    def responses(self, *statuses: int) -> dict[str, Any]:
        return {str(status): self._response(status) for status in sorted({*GUARDED, *statuses})}

    def _response(self, status: int) -> dict[str, Any]:
        names = [*self.headers, *(["retry-after"] if status in {503, 529} else [])]
        return {
            "description": _REASONS[status],
            "content": {JSON: {"schema": self.schema}},
            **({"headers": {name: {"schema": {"type": "string"}} for name in names}} if names else {}),
        }


@dataclass(frozen=True, slots=True)
class Body:
    """What a route takes: JSON by the schema of this name."""

    schema: str
    example: dict[str, Any]

    @property
    def described(self) -> dict[str, Any]:
        return {"required": True, "content": {JSON: {"schema": ref(self.schema), "example": self.example}}}


def operation(
    tag: str,
    summary: str,
    answers: dict[str, Schema],
    errors: dict[str, Any],
    *,
    takes: Body | None = None,
    parameters: list[dict[str, Any]] | None = None,
) -> dict[str, Any]:
    """`answers` has a schema for each content type."""
    content = {kind: {"schema": schema} for kind, schema in answers.items()}
    return {
        "tags": [tag],
        "summary": summary,
        **({"parameters": parameters} if parameters else {}),
        **({} if takes is None else {"requestBody": takes.described}),
        "responses": {"200": {"description": HTTPStatus.OK.phrase, "content": content}, **errors},
    }


def in_path(name: str, what: str) -> dict[str, Any]:
    return {"name": name, "in": "path", "required": True, "description": what, "schema": {"type": "string"}}
