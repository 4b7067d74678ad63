"""The web application: the routes of all APIs, and errors in the shape of the one that was asked."""

from __future__ import annotations

import asyncio

from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from r1.serve.anthropic.api import ANTHROPIC
from r1.serve.api import Api
from r1.serve.entry import current
from r1.serve.errors import ApiError, api_error
from r1.serve.http import ClientGone, json_response
from r1.serve.ollama.api import OLLAMA
from r1.serve.openai.api import OPENAI
from r1.serve.service import Service
from r1.serve.web.access import Access
from r1.serve.web.guard import Guard
from r1.serve.web.journal import Journal, JournalMiddleware
from r1.serve.web.metrics import CONTENT_TYPE, look
from r1.serve.web.openapi.document import describe
from r1_quantize.errors import debugging

APIS: tuple[Api, ...] = (ANTHROPIC, OPENAI, OLLAMA)
"""Of two whose prefixes fit a path, the one with the longer prefix answers. Those with a header of their own are before
the one that has the same paths without it.
"""

_SHOWN = 200  # characters of a path in a message


def application(service: Service, journal: Journal, access: Access) -> Starlette:
    """All routes over one service, for those that `access` lets in."""
    app = Starlette(
        routes=[
            *(route for api in APIS for route in api.routes),
            Route("/health", _health, methods=["GET"]),
            Route("/metrics", _metrics, methods=["GET"]),
            Route("/openapi.json", describe, methods=["GET"]),
        ],
        middleware=[
            Middleware(JournalMiddleware, add=journal.add),
            Middleware(Guard, access=access, refuse=refuse),
            Middleware(_Unforeseen),
        ],
        exception_handlers={
            ApiError: refuse,
            HTTPException: _refuse_http,
            ClientGone: _say_nothing,
            Exception: refuse,
        },
    )
    app.state.service = service
    app.state.journal = journal
    return app


async def _health(request: Request) -> Response:
    """Whether it takes requests, for those who watch over it."""
    service: Service = request.app.state.service
    if service.is_ending:
        return json_response({"status": "ending"}, 503)
    presence = service.engine.presence
    model = None if presence is None else presence.name
    return json_response({"status": "ok", "model": model, "active": service.active})


async def _metrics(request: Request) -> Response:
    journal: Journal = request.app.state.journal
    service: Service = request.app.state.service
    text = journal.metrics.text(service.active, await look(service.engine))
    return Response(text, headers={"content-type": CONTENT_TYPE})


def api_of(request: Request) -> Api:
    """The API that a request belongs to; OpenAI's for one that belongs to none."""
    meant = next((api for api in APIS if api.header is not None and api.header in request.headers), None)
    path = request.url.path
    lengths = ((len(prefix), api) for api in APIS for prefix in api.prefixes if path.startswith(prefix))
    return meant or max(lengths, key=lambda found: found[0], default=(0, OPENAI))[1]


async def refuse(request: Request, error: Exception) -> Response:
    """The answer to a request that cannot be answered."""
    refusal = api_error(error)
    if (entry := current.get()) is not None:
        entry.error = refusal
    headers = {} if refusal.retry_after_s is None else {"retry-after": str(refusal.retry_after_s)}
    api = api_of(request)
    body = api.error_object(refusal)
    if "request_id" in body:
        headers["request-id"] = body["request_id"]
    return json_response(body, api.status_of(refusal), headers)


class _Unforeseen:
    """ASGI middleware: an error that nobody foresaw is answered and logged as others are, without a traceback; and so
    is a request that is cut off at the end of the server.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        has_begun = False

        async def noting(message: Message) -> None:
            nonlocal has_begun
            has_begun = True
            await send(message)

        try:
            await self._app(scope, receive, noting)
        except asyncio.CancelledError:  # the grace is over
            if not has_begun:
                ending = ApiError(503, "the server is ending", retry_after_s=5)
                await (await refuse(Request(scope), ending))(scope, receive, send)
            raise
        except Exception as exc:
            response = await refuse(Request(scope), exc)
            if debugging():
                raise
            if not has_begun:  # otherwise the connection is closed, so that the answer is not taken for a whole one
                await response(scope, receive, send)


async def _refuse_http(request: Request, error: Exception) -> Response:
    """Starlette's own: no such route, or a wrong method."""
    assert isinstance(error, HTTPException)
    path, allowed = f"{request.url.path:.{_SHOWN}}", Headers(error.headers).get("allow")
    problem = f"there is no {request.method} {path} here" if error.status_code in {404, 405} else error.detail
    if error.status_code == 405 and allowed:
        methods = " or ".join(method for method in sorted(allowed.split(", ")) if method != "HEAD")
        problem = f"{path} takes {methods}, not {request.method}"
    response = await refuse(request, ApiError(error.status_code, problem))
    response.headers.update(error.headers or {})  # which methods are allowed
    return response


async def _say_nothing(_: Request, __: Exception) -> Response:
    """Nobody reads it."""
    return Response(status_code=499)
