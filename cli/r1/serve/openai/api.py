"""The routes of OpenAI's API."""

from __future__ import annotations

from starlette.routing import Route

from r1.serve.api import Api
from r1.serve.openai.chat import chat_completions
from r1.serve.openai.objects import error_object

OPENAI = Api(
    "openai",
    ("/v1/",),
    (Route("/v1/chat/completions", chat_completions, methods=["POST"]),),
    error_object,
)
