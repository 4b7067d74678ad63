"""The web application: the routes of all APIs, and errors in the shape of the one that was asked."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from r1.serve.api import Api
from r1.serve.errors import ApiError, api_error
from r1.serve.http import ClientGone, json_response
from r1.serve.openai.api import OPENAI
from r1.serve.service import Service

APIS: tuple[Api, ...] = (OPENAI,)
"""Of two whose prefixes fit a path, the one with the longer prefix answers."""


def application(service: Service) -> Starlette:
    """All routes over one service."""
    app = Starlette(
        routes=[route for api in APIS for route in api.routes],
        exception_handlers={
            ApiError: refuse,
            HTTPException: _refuse_http,
            ClientGone: _say_nothing,
            Exception: refuse,
        },
    )
    app.state.service = service
    return app


def api_of(path: str) -> Api:
    """The API that a path belongs to; OpenAI's for any that belongs to none."""
    lengths = ((len(prefix), api) for api in APIS for prefix in api.prefixes if path.startswith(prefix))
    return max(lengths, key=lambda found: found[0], default=(0, OPENAI))[1]


async def refuse(request: Request, error: Exception) -> Response:
    """The answer to a request that cannot be answered."""
    refusal = api_error(error)
    headers = {} if refusal.retry_after_s is None else {"retry-after": str(refusal.retry_after_s)}
    return json_response(api_of(request.url.path).error_object(refusal), refusal.status, headers)


async def _refuse_http(request: Request, error: Exception) -> Response:
    """Starlette's own: no such route, or a wrong method."""
    assert isinstance(error, HTTPException)
    problem = f"there is no {request.method} {request.url.path} here" if error.status_code in {404, 405} else None
    return await refuse(request, ApiError(error.status_code, problem or error.detail))


async def _say_nothing(_: Request, __: Exception) -> Response:
    """Nobody reads it."""
    return Response(status_code=499)
