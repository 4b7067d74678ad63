"""The routes of Anthropic's API."""

from __future__ import annotations

from starlette.routing import Match, Route
from starlette.types import Scope

from r1.serve.anthropic.messages import create_message
from r1.serve.anthropic.models import get_model, list_models
from r1.serve.anthropic.objects import error_object, status_of
from r1.serve.anthropic.token_count import count_tokens
from r1.serve.api import Api

HEADER = "anthropic-version"
"""All of Anthropic's clients send it."""


class _HeaderRoute(Route):
    """A route for requests that have Anthropic's header; others are left to the next API with that path."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        if scope["type"] == "http" and any(name == HEADER.encode() for name, _ in scope["headers"]):
            return super().matches(scope)
        return Match.NONE, {}


ANTHROPIC = Api(
    "anthropic",
    ("/v1/messages",),
    (
        Route("/v1/messages", create_message, methods=["POST"]),
        Route("/v1/messages/count_tokens", count_tokens, methods=["POST"]),
        _HeaderRoute("/v1/models", list_models, methods=["GET"]),
        _HeaderRoute("/v1/models/{model:path}", get_model, methods=["GET"]),
    ),
    error_object,
    status_of,
    HEADER,
)
