"""The routes of Ollama's API, also those that are refused; and who this is."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from r1 import __version__
from r1.serve.api import Api
from r1.serve.errors import ApiError
from r1.serve.http import json_response
from r1.serve.ollama.chat import chat
from r1.serve.ollama.generate import generate
from r1.serve.ollama.models import running, show, tags
from r1.serve.ollama.objects import error_object

LEVEL = "0.33.0"
"""The version of Ollama whose API this is. Clients compare it: GitHub Copilot and Raycast want at least 0.6.4."""

_ALL_METHODS = ["GET", "HEAD", "POST", "PUT", "DELETE"]
_NO_EMBEDDINGS = "r1 makes no embeddings; use a server with a model that was trained for them"
_REFUSED = {
    "/api/pull": "r1 serve downloads nothing; run `r1 pull MODEL` on the machine that serves",
    "/api/push": "r1 serve uploads nothing",
    "/api/create": "r1 serve makes no models; run `r1 quantize` on the machine that serves",
    "/api/copy": "r1 serve copies no models; run `r1 quantize --name NAME` on the machine that serves",
    "/api/delete": "r1 serve deletes nothing; run `r1 rm MODEL` on the machine that serves",
    "/api/blobs/{digest}": "r1 serve takes no files; run `r1 pull` or `r1 quantize` on the machine that serves",
    "/api/embed": _NO_EMBEDDINGS,
    "/api/embeddings": _NO_EMBEDDINGS,
}


async def home(_: Request) -> Response:
    """For those who look whether a server is there."""
    return PlainTextResponse("r1 is running")


async def version(_: Request) -> Response:
    return json_response({"version": LEVEL, "r1": __version__})


def _refused(path: str, reason: str) -> Route:
    async def refuse(_: Request) -> Response:
        raise ApiError(501, reason)

    return Route(path, refuse, methods=_ALL_METHODS)


OLLAMA = Api(
    "ollama",
    ("/api/",),
    (
        Route("/", home, methods=["GET"]),
        Route("/api/version", version, methods=["GET"]),
        Route("/api/tags", tags, methods=["GET"]),
        Route("/api/ps", running, methods=["GET"]),
        Route("/api/show", show, methods=["POST"]),
        Route("/api/chat", chat, methods=["POST"]),
        Route("/api/generate", generate, methods=["POST"]),
        *(_refused(path, reason) for path, reason in _REFUSED.items()),
    ),
    error_object,
)
