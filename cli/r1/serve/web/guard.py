"""Lets in who may use the server, before anything of a body is read: keys, host names, and origins of web pages.

A browser lets any web page send requests to this machine. It says in Origin and Sec-Fetch-Site who sends them (Fetch
standard, https://fetch.spec.whatwg.org; Fetch Metadata, https://www.w3.org/TR/fetch-metadata), and it lets a page read
an answer only if that has the headers of CORS. Other programs send none of this, and need none of it.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Awaitable, Callable

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from r1.serve.errors import ApiError
from r1.serve.web.access import Access, is_origin, name_in

OPEN_PATHS = frozenset({"/health"})
"""Needs no key: a watchdog asks there whether the server lives."""

_METHODS = "GET, HEAD, POST, DELETE"
_PREFLIGHT_S = 600  # how long a browser remembers what a preflight allowed
_HEADER_NAMES = re.compile(r"[\w!#$%&'*+.^`|~, -]{0,4096}", re.ASCII)
_SHOWN = 120  # characters of what a client sent, in a message

Refuse = Callable[[Request, Exception], Awaitable[Response]]


class Guard:
    """ASGI middleware. `refuse` words an error in the shape of the API that was asked."""

    def __init__(self, app: ASGIApp, access: Access, refuse: Refuse) -> None:
        self._app = app
        self._access = access
        self._refuse = refuse

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        try:
            self._check(scope["method"], headers)
        except ApiError as exc:
            await self._answer(scope, receive, send, exc)
            return
        if self._access.origins:
            send = _with_cors(send, self._allowed(headers))
        if _is_preflight(scope, headers):
            await _preflight(headers)(scope, receive, send)
        elif scope["path"] in OPEN_PATHS or self._has_key(headers):
            await self._app(scope, receive, send)
        else:
            await self._answer(scope, receive, send, _no_key(headers))

    async def _answer(self, scope: Scope, receive: Receive, send: Send, error: ApiError) -> None:
        response = await self._refuse(Request(scope), error)
        if error.status == 401:
            response.headers["www-authenticate"] = "Bearer"
        if error.status == 400:  # where the next request begins is not certain
            response.headers["connection"] = "close"
        await response(scope, receive, send)

    def _allowed(self, headers: Headers) -> str | None:
        """The request's origin, if its pages may use the server."""
        origin = headers.get("origin")
        return origin if origin is not None and self._access.allows_origin(origin) else None

    def _check(self, method: str, headers: Headers) -> None:
        """Raises ApiError for what nobody may send, with a key or without."""
        _check_framing(headers)
        self._check_host(headers.get("host", ""))
        self._check_origin(method, headers)

    def _check_host(self, host: str) -> None:
        if not self._access.allows_host(host):
            raise ApiError(
                403,
                f"{name_in(host)!r:.{_SHOWN}} is not a name of this server; ask it by its address, or start it with "
                "that name as its --host, or with --api-key-file",
                code="host_not_allowed",
            )

    def _check_origin(self, method: str, headers: Headers) -> None:
        """Raises ApiError for what a web page of a foreign origin makes a browser send."""
        origins = headers.getlist("origin")
        for origin in origins:
            if not (self._access.allows_origin(origin) or _is_own(origin, headers.get("host", ""))):
                raise _foreign(origin)
        if not origins and _is_foreign(method, headers) and not self._access.allows_origin("*"):
            raise ApiError(
                403,
                "this came from a web page of another site; --allow-origin lets the scripts of a page in, and nothing "
                "else of it",
                code="origin_not_allowed",
            )

    def _has_key(self, headers: Headers) -> bool:
        """Whether a key was sent that is one of ours, or none is needed. Compares all, in the same time for any key."""
        keys = self._access.keys
        sent = _sent_keys(headers)
        equal = [hmac.compare_digest(one, key) for one in sent for key in keys]
        return any(equal) or not keys


def _check_framing(headers: Headers) -> None:
    """A proxy and this server could take different bytes for the body (request smuggling, RFC 9112, 6.3)."""
    if "transfer-encoding" in headers and "content-length" in headers:
        raise ApiError(400, "the request has both Content-Length and Transfer-Encoding; send one of them")


def _is_own(origin: str, host: str) -> bool:
    """Whether the page came from this server: under the same name, which was checked, and the same port.

    Behind a proxy the scheme may be https, which the server does not see.
    """
    scheme, _, authority = origin.partition("://")
    return scheme in {"http", "https"} and bool(authority) and authority.lower() == host.strip().lower()


def _is_foreign(method: str, headers: Headers) -> bool:
    """Whether a page of another origin sent this without saying which: an image, a script, a frame, a form. To follow a
    link is the user's own doing.
    """
    if headers.get("sec-fetch-site", "none").lower() in {"none", "same-origin"}:
        return False
    is_document = headers.get("sec-fetch-mode") == "navigate" and headers.get("sec-fetch-dest") == "document"
    return not (is_document and method in {"GET", "HEAD"})


def _foreign(origin: str) -> ApiError:
    """The refusal for a page of another origin; the owner of the server reads it in the log."""
    option = f"--allow-origin {origin}"
    who = f"web pages of {origin!r:.{_SHOWN}}"
    if not is_origin(origin):
        option, who = "--allow-origin null, with a key,", "web pages without an origin of their own"
    return ApiError(403, f"{who} may not use this server; {option} lets them in", code="origin_not_allowed")


def _sent_keys(headers: Headers) -> list[bytes]:
    """What the clients of OpenAI and Ollama send as a bearer token, those of Anthropic in a header of their own."""
    sent = headers.getlist("x-api-key")
    for value in headers.getlist("authorization"):
        scheme, _, token = value.partition(" ")
        if scheme.lower() == "bearer":
            sent.append(token)
    return [key.strip().encode("latin-1") for key in sent]


def _no_key(headers: Headers) -> ApiError:
    if any(_sent_keys(headers)):
        return ApiError(401, "this is not a key of this server", code="invalid_api_key")
    problem = "this server needs a key: send it as `Authorization: Bearer KEY` or as `x-api-key: KEY`"
    return ApiError(401, problem, code="missing_api_key")


# CORS: the origin was allowed


def _is_preflight(scope: Scope, headers: Headers) -> bool:
    """Whether a browser asks if a page may send a request. It sends no key with that."""
    return scope["method"] == "OPTIONS" and "origin" in headers and "access-control-request-method" in headers


def _preflight(headers: Headers) -> Response:
    """Any header may be sent, since clients have several of their own."""
    allowed = {
        "access-control-allow-methods": _METHODS,
        "access-control-max-age": str(_PREFLIGHT_S),
        "vary": "Access-Control-Request-Headers",
    }
    wanted = headers.get("access-control-request-headers", "")
    if wanted and _HEADER_NAMES.fullmatch(wanted):
        allowed["access-control-allow-headers"] = wanted
    if headers.get("access-control-request-private-network") == "true":
        allowed["access-control-allow-private-network"] = "true"
    return Response(status_code=204, headers=allowed)


def _with_cors(send: Send, origin: str | None) -> Send:
    """Adds the headers with which a page of `origin` may read the answer; None: it may not, or there is none.

    Never those for credentials: a browser has none for this server.
    """

    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(raw=list(message["headers"]))
            headers.add_vary_header("Origin")
            if origin is not None:
                headers["access-control-allow-origin"] = origin
                headers["access-control-expose-headers"] = "*"
            message = {**message, "headers": headers.raw}
        await send(message)

    return sending
