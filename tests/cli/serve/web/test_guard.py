"""Requests as programs and browsers send them, to a guard in front of an application that answers everything."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.datastructures import Headers
from starlette.types import Message, Receive, Scope, Send

from r1.serve.web.access import Access
from r1.serve.web.app import refuse
from r1.serve.web.guard import Guard

OPEN = Access()
KEYED = Access(keys=(b"sk-one", b"sk-two"))
CHAT = "/v1/chat/completions"
PAGE = "http://localhost:3000"
FOR_PAGE = Access(origins=frozenset({PAGE}))
FOREIGN = (
    "http://evil.example",
    "http://localhost:3000",
    "http://localhost",
    "http://127.0.0.1:8017",
    "https://localhost:8018",
    "app://localhost:8017",
    "moz-extension://5e0e2c7b",
)
NO_ORIGIN = (
    "null",
    "",
    "file://",
    "http://localhost:8017.evil.example",
    "http://evil.example/localhost:8017",
    "http://localhost:8017 ; rm",
)
PREFLIGHT = {
    "origin": PAGE,
    "access-control-request-method": "POST",
    "access-control-request-headers": "authorization,content-type,x-stainless-os",
    "access-control-request-private-network": "true",
    "sec-fetch-site": "cross-site",
    "sec-fetch-mode": "cors",
}


@dataclass(frozen=True, slots=True)
class Answered:
    """`reached`: the application was asked; `read`: somebody read of the body."""

    status: int
    headers: Headers
    body: bytes
    reached: bool
    read: bool

    @property
    def error(self) -> dict[str, Any]:
        return json.loads(self.body)["error"]


def ask(
    access: Access, headers: dict[str, str] | list[tuple[str, str]], *, method: str = "POST", path: str = CHAT
) -> Answered:
    """What becomes of a request. It is for localhost:8017, if no Host is given."""
    given = [*headers.items()] if isinstance(headers, dict) else headers
    raw = [(name.lower().encode(), value.encode("latin-1")) for name, value in given]
    if not any(name == b"host" for name, _ in raw):
        raw.append((b"host", b"localhost:8017"))
    sent: list[Message] = []
    seen: set[str] = set()

    async def everything(_scope: Scope, receive: Receive, send: Send) -> None:
        seen.add("reached")
        await receive()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
        await send({"type": "http.response.body", "body": b"ok"})

    async def receive() -> Message:
        seen.add("read")
        return {"type": "http.request", "body": b"{}", "more_body": False}

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {"type": "http", "method": method, "path": path, "headers": raw, "query_string": b"", "scheme": "http"}
    asyncio.run(Guard(everything, access, refuse)({**scope, "server": ("127.0.0.1", 8017)}, receive, send))
    start, body = sent
    return Answered(
        start["status"], Headers(raw=start["headers"]), body.get("body", b""), "reached" in seen, "read" in seen
    )


def cors(answered: Answered) -> dict[str, str]:
    return {name: value for name, value in answered.headers.items() if name.startswith("access-control-")}


class TestKeys:
    def test_without_keys_none_is_asked_for(self) -> None:
        assert ask(OPEN, {}).reached
        assert ask(OPEN, {"authorization": "Bearer anything"}).reached

    @pytest.mark.parametrize(
        "headers",
        [
            {"authorization": "Bearer sk-one"},
            {"Authorization": "bearer  sk-two "},
            {"x-api-key": "sk-two"},
            {"x-api-key": "sk-two", "authorization": "Bearer unused"},
        ],
    )
    def test_a_key_opens_as_a_bearer_token_or_in_its_own_header(self, headers: dict[str, str]) -> None:
        assert ask(KEYED, headers).reached

    @pytest.mark.parametrize(
        "headers",
        [
            {},
            {"authorization": ""},
            {"authorization": "Bearer"},
            {"authorization": "Bearer "},
            {"authorization": "Bearer sk-on"},
            {"authorization": "Bearer sk-onee"},
            {"authorization": "Bearer SK-ONE"},
            {"authorization": "Basic sk-one"},
            {"authorization": "sk-one"},
            {"authorization": "Bearer sk-one, Bearer sk-two"},
            {"authorization": "Bearer ÿþ"},
            {"x-api-key": ""},
            {"cookie": "key=sk-one"},
        ],
    )
    def test_anything_else_is_refused_before_a_byte_of_the_body_is_read(self, headers: dict[str, str]) -> None:
        answered = ask(KEYED, headers)
        assert (answered.status, answered.reached, answered.read) == (401, False, False)
        assert answered.headers["www-authenticate"] == "Bearer"
        assert answered.error["type"] == "authentication_error"
        assert "sk-" not in answered.error["message"]

    @pytest.mark.parametrize("method", ["GET", "HEAD"])
    def test_health_is_open(self, method: str) -> None:
        assert ask(KEYED, {}, method=method, path="/health").reached

    @pytest.mark.parametrize("path", ["/metrics", "/", "/health/", "/healthz", "//health", "/v1/models", "/api/tags"])
    def test_nothing_else_is(self, path: str) -> None:
        assert ask(KEYED, {}, method="GET", path=path).status == 401

    def test_the_error_has_the_shape_of_the_api_that_was_asked(self) -> None:
        anthropic = json.loads(ask(KEYED, {}, path="/v1/messages").body)
        assert (anthropic["type"], anthropic["error"]["type"]) == ("error", "authentication_error")
        ollama = json.loads(ask(KEYED, {}, path="/api/chat").body)
        assert isinstance(ollama["error"], str)


class TestHost:
    @pytest.mark.parametrize("path", [CHAT, "/health", "/metrics"])
    def test_a_page_whose_name_was_made_to_mean_this_machine_is_refused(self, path: str) -> None:
        rebound = {"host": "evil.example:8017", "origin": "http://evil.example:8017", "sec-fetch-site": "same-origin"}
        answered = ask(OPEN, rebound, path=path)
        assert (answered.status, answered.reached, answered.read) == (403, False, False)
        assert "'evil.example'" in answered.error["message"]
        assert "--host" in answered.error["message"]
        assert cors(answered) == {}

    def test_with_a_key_any_name_will_do(self) -> None:
        assert ask(KEYED, {"host": "r1.example", "x-api-key": "sk-one"}).reached
        assert ask(KEYED, {"host": "evil.example", "origin": "http://evil.example"}).status == 401

    def test_what_a_client_sent_is_cut_in_the_message(self) -> None:
        assert len(ask(OPEN, {"host": "e" * 60_000}).body) < 500
        assert len(ask(OPEN, {"origin": "http://" + "e" * 60_000}).body) < 600


class TestOrigin:
    @pytest.mark.parametrize(
        ("host", "origin"),
        [
            ("localhost:8017", "http://localhost:8017"),
            ("127.0.0.1:8017", "http://127.0.0.1:8017"),
            ("[::1]:8017", "http://[::1]:8017"),
        ],
    )
    def test_the_servers_own_pages_may_use_it(self, host: str, origin: str) -> None:
        assert ask(OPEN, {"host": host, "origin": origin, "sec-fetch-site": "same-origin"}).reached

    def test_behind_a_proxy_its_own_name_and_scheme_count(self) -> None:
        proxied = {"host": "r1.example", "origin": "https://r1.example", "x-api-key": "sk-one"}
        assert ask(KEYED, proxied).reached

    @pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "DELETE", "PUT", "OPTIONS"])
    @pytest.mark.parametrize(
        ("origin", "advice"),
        [
            *((origin, f"--allow-origin {origin} lets") for origin in FOREIGN),
            *((origin, "--allow-origin null, with a key, lets them in") for origin in NO_ORIGIN),
        ],
    )
    def test_a_foreign_origin_is_refused_whatever_it_asks(self, method: str, origin: str, advice: str) -> None:
        for path in (CHAT, "/health"):
            answered = ask(OPEN, {"origin": origin}, method=method, path=path)
            assert (answered.status, answered.reached, answered.read) == (403, False, False)
            assert cors(answered) == {}
            assert advice in answered.error["message"]

    def test_a_key_does_not_make_a_foreign_origin_ours(self) -> None:
        assert ask(KEYED, {"origin": "http://evil.example", "x-api-key": "sk-one"}).status == 403

    def test_of_two_origins_both_must_be_allowed(self) -> None:
        assert ask(FOR_PAGE, [("origin", PAGE), ("origin", "http://evil.example")]).status == 403

    @pytest.mark.parametrize("site", ["cross-site", "same-site", "Cross-Site", "something-new"])
    @pytest.mark.parametrize(
        ("method", "mode", "destination"),
        [
            ("GET", "no-cors", "image"),
            ("GET", "no-cors", "script"),
            ("GET", "no-cors", "empty"),
            ("GET", "navigate", "iframe"),
            ("GET", "navigate", "embed"),
            ("POST", "navigate", "document"),
            ("GET", "websocket", "websocket"),
        ],
    )
    def test_what_a_page_of_another_site_makes_a_browser_send_is_refused_without_an_origin_too(
        self, site: str, method: str, mode: str, destination: str
    ) -> None:
        headers = {"sec-fetch-site": site, "sec-fetch-mode": mode, "sec-fetch-dest": destination}
        answered = ask(FOR_PAGE, headers, method=method)
        assert (answered.status, answered.reached) == (403, False)
        assert "--allow-origin" in answered.error["message"]

    @pytest.mark.parametrize("site", ["cross-site", "same-site", "same-origin", "none"])
    def test_a_link_may_be_followed_and_an_address_typed(self, site: str) -> None:
        followed = {"sec-fetch-site": site, "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}
        assert ask(OPEN, followed, method="GET").reached

    def test_scripts_of_the_server_itself_need_no_origin(self) -> None:
        headers = {"sec-fetch-site": "same-origin", "sec-fetch-mode": "cors", "sec-fetch-dest": "empty"}
        assert ask(OPEN, headers, method="GET").reached


class TestCors:
    def test_a_page_that_is_allowed_may_read_the_answer(self) -> None:
        answered = ask(FOR_PAGE, {"origin": PAGE, "sec-fetch-site": "cross-site"})
        assert answered.reached
        assert cors(answered) == {"access-control-allow-origin": PAGE, "access-control-expose-headers": "*"}
        assert answered.headers["vary"] == "Origin"

    def test_it_may_read_an_error_as_well(self) -> None:
        keyed = Access(keys=(b"sk-one",), origins=frozenset({PAGE}))
        answered = ask(keyed, {"origin": PAGE})
        assert answered.status == 401
        assert answered.headers["access-control-allow-origin"] == PAGE

    @pytest.mark.parametrize("access", [FOR_PAGE, Access(keys=(b"sk-one",), origins=frozenset({PAGE}))])
    def test_a_preflight_is_answered_without_a_key(self, access: Access) -> None:
        answered = ask(access, PREFLIGHT, method="OPTIONS")
        assert (answered.status, answered.reached, answered.body) == (204, False, b"")
        assert answered.headers["access-control-allow-origin"] == PAGE
        assert answered.headers["access-control-allow-headers"] == PREFLIGHT["access-control-request-headers"]
        assert answered.headers["access-control-allow-private-network"] == "true"
        assert {"GET", "POST", "DELETE"} <= set(answered.headers["access-control-allow-methods"].split(", "))
        assert {"Origin", "Access-Control-Request-Headers"} == set(answered.headers["vary"].split(", "))

    def test_a_foreign_preflight_gets_nothing(self) -> None:
        for access in (OPEN, FOR_PAGE, KEYED):
            answered = ask(access, {**PREFLIGHT, "origin": "http://evil.example"}, method="OPTIONS")
            assert (answered.status, cors(answered)) == (403, {})

    def test_with_a_key_every_page_can_be_allowed(self) -> None:
        anyone = Access(keys=(b"sk-one",), origins=frozenset({"*"}))
        assert ask(anyone, {**PREFLIGHT, "origin": "null"}, method="OPTIONS").status == 204
        answered = ask(anyone, {"origin": "http://any.example", "x-api-key": "sk-one"})
        assert answered.headers["access-control-allow-origin"] == "http://any.example"
        assert ask(anyone, {"origin": "http://any.example"}).status == 401

    @pytest.mark.parametrize("access", [OPEN, FOR_PAGE, Access(keys=(b"k",), origins=frozenset({"*"}))])
    def test_nothing_allows_credentials_of_the_browser(self, access: Access) -> None:
        for method in ("OPTIONS", "POST"):
            answered = ask(access, {**PREFLIGHT, "x-api-key": "k"}, method=method)
            assert "access-control-allow-credentials" not in answered.headers

    def test_programs_get_no_headers_of_cors(self) -> None:
        assert cors(ask(FOR_PAGE, {})) == {}
        assert ask(FOR_PAGE, {}).headers["vary"] == "Origin", "a cache must not give this answer to a page"
        assert "vary" not in ask(OPEN, {}).headers

    def test_options_that_are_no_preflight_go_on_to_the_application(self) -> None:
        assert ask(OPEN, {}, method="OPTIONS").reached
        assert ask(FOR_PAGE, {"origin": PAGE}, method="OPTIONS").reached


def test_a_body_with_two_lengths_is_refused_and_ends_the_connection() -> None:
    answered = ask(OPEN, {"content-length": "5", "transfer-encoding": "chunked"})
    assert (answered.status, answered.reached) == (400, False)
    assert answered.headers["connection"] == "close"


def test_a_client_without_a_host_is_no_browser() -> None:
    assert ask(OPEN, {"host": ""}).reached


VALUES = (b"localhost", b"[::1]:80", b"[", b"http://localhost", b"Bearer sk-one", b"cross-site", b":", b"::")
NAMES = ("host", "origin", "authorization", "x-api-key", "sec-fetch-site", "sec-fetch-mode")


@settings(max_examples=200)
@given(
    headers=st.dictionaries(st.sampled_from(NAMES), st.binary(max_size=40) | st.sampled_from(VALUES)),
    method=st.sampled_from(["GET", "POST", "OPTIONS"]),
    access=st.sampled_from([OPEN, KEYED, FOR_PAGE]),
)
def test_no_header_gets_anything_but_an_answer_or_a_refusal(
    headers: dict[str, bytes], method: str, access: Access
) -> None:
    answered = ask(access, {name: value.decode("latin-1") for name, value in headers.items()}, method=method)
    assert answered.status in {200, 401, 403}
    assert answered.reached == (answered.status == 200)
    if access is KEYED and answered.reached:
        assert b"sk-one" in headers.get("authorization", b"") + headers.get("x-api-key", b"")
