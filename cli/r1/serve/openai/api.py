"""The routes of OpenAI's API."""

from __future__ import annotations

from starlette.routing import Route

from r1.serve.api import Api
from r1.serve.openai.chat import chat_completions
from r1.serve.openai.completions import completions
from r1.serve.openai.models import list_models, retrieve_model
from r1.serve.openai.objects import error_object
from r1.serve.openai.responses import responses

OPENAI = Api(
    "openai",
    ("/v1/",),
    (
        Route("/v1/chat/completions", chat_completions, methods=["POST"]),
        Route("/v1/completions", completions, methods=["POST"]),
        Route("/v1/responses", responses, methods=["POST"]),
        Route("/v1/models", list_models, methods=["GET"]),
        Route("/v1/models/{name:path}", retrieve_model, methods=["GET"]),
    ),
    error_object,
)
