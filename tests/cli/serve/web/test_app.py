"""What belongs to no API alone: unknown paths, errors that nobody foresaw, refusals."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import cast

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route
from starlette.testclient import TestClient
from starlette.types import Message

from r1.console import Console
from r1.serve.api import Api
from r1.serve.engine_thread import EngineState
from r1.serve.service import Service
from r1.serve.web import app as app_module
from r1.serve.web.access import Access
from r1.serve.web.app import application
from r1.serve.web.journal import Journal, JournalOptions
from r1.serve.web.metrics import Metrics
from tests.fakes.consoles import console, written

SECRET = "xyzzysecretxyzzy"
PAGE = "http://localhost:3000"


async def fail(_: Request) -> Response:
    raise KeyError(SECRET)


async def fail_late(_: Request) -> Response:
    async def parts() -> AsyncIterator[str]:
        yield "a part"
        raise KeyError(SECRET)

    return StreamingResponse(parts())


async def hang(_: Request) -> Response:
    await asyncio.sleep(3600)
    raise AssertionError


async def sent_by(app: Starlette, path: str, *, cancel: bool = False) -> list[Message]:
    """What the server would send; with `cancel`, the request is cut off while it is answered."""
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        sent.append(message)

    headers = [(b"host", b"localhost")]
    scope = {"type": "http", "method": "GET", "path": path, "headers": headers, "query_string": b""}
    task = asyncio.ensure_future(app({**scope, "asgi": {"spec_version": "2.4"}}, receive, send))
    if cancel:
        await asyncio.sleep(0.01)
        task.cancel()
    await asyncio.wait({task})
    assert task.cancelled() == cancel
    return sent


@pytest.fixture
def said() -> Console:
    return console()


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
def app(said: Console, metrics: Metrics, monkeypatch: pytest.MonkeyPatch) -> Starlette:
    """With an API whose routes fail, and a log in JSON."""
    routes = (Route("/test/fail", fail), Route("/test/late", fail_late), Route("/test/hang", hang))
    broken = Api("test", ("/test/",), routes, lambda error: {"problem": error.message})
    monkeypatch.setattr(app_module, "APIS", (broken, *app_module.APIS))
    journal = Journal(said, JournalOptions(as_json=True), metrics)
    return application(cast(Service, None), journal, Access(origins=frozenset({PAGE})))


@pytest.fixture
def client(app: Starlette) -> TestClient:
    return TestClient(app, base_url="http://localhost")


class TestUnforeseen:
    def test_it_is_answered_in_the_shape_of_the_api_and_logged_in_one_line(
        self, client: TestClient, said: Console
    ) -> None:
        answer = client.get("/test/fail", headers={"origin": PAGE})
        assert answer.status_code == 500
        assert answer.json() == {"problem": f"unexpected error: KeyError: '{SECRET}'"}
        assert answer.headers["access-control-allow-origin"] == PAGE, "a page that is allowed may read it"
        [line] = written(said.stdout).splitlines()
        assert json.loads(line)["status"] == 500
        assert json.loads(line)["error"].startswith("unexpected error: KeyError; ")
        assert SECRET not in line

    def test_an_answer_that_has_begun_is_not_ended_as_if_it_were_whole(self, app: Starlette, said: Console) -> None:
        sent = asyncio.run(sent_by(app, "/test/late"))
        assert [message["type"] for message in sent] == ["http.response.start", "http.response.body"]
        assert sent[-1]["more_body"]
        assert "unexpected error: KeyError; " in written(said.stdout)

    def test_a_request_that_is_cut_off_at_the_end_is_told_so(self, app: Starlette) -> None:
        sent = asyncio.run(sent_by(app, "/test/hang", cancel=True))
        assert sent[0]["status"] == 503
        assert json.loads(sent[1]["body"]) == {"problem": "the server is ending; try again in 5 s"}

    def test_with_r1_debug_it_is_raised_as_well(self, client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("R1_DEBUG", "1")
        with pytest.raises(KeyError):
            client.get("/test/fail")


class TestPaths:
    @pytest.mark.parametrize("path", ["/v1", "/v1/nothing", "/nothing", "/" + "a" * 9_000])
    def test_an_unknown_one_is_told_in_openais_shape(self, client: TestClient, path: str) -> None:
        answer = client.get(path)
        assert answer.status_code == 404
        assert f"there is no GET {path}"[:200] in answer.json()["error"]["message"]
        assert len(answer.content) < 400

    def test_one_with_line_breaks_is_logged_in_one_line(self, said: Console, metrics: Metrics) -> None:
        """So that no client can write lines of the log."""
        app = application(cast(Service, None), Journal(said, JournalOptions(), metrics), Access())
        client = TestClient(app, base_url="http://localhost")
        assert client.get("/nothing%0A12:03:04%0D%E2%80%A8forged").status_code == 404
        assert len(written(said.stderr).splitlines()) == 1

    def test_of_an_api_in_its_own(self, client: TestClient) -> None:
        assert isinstance(client.get("/api/nothing").json()["error"], str)
        assert client.get("/v1/messages/nothing").json()["type"] == "error"
        headers = {"anthropic-version": "2023-06-01"}
        assert client.get("/v1/nothing", headers=headers).json()["type"] == "error"

    def test_a_wrong_method_is_told_which_there_are(self, client: TestClient) -> None:
        answer = client.get("/v1/chat/completions")
        assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
        assert answer.json()["error"]["message"] == "/v1/chat/completions takes POST, not GET"
        assert client.put("/v1/models").json()["error"]["message"] == "/v1/models takes GET, not PUT"

    def test_a_page_is_refused_in_the_log_too(self, client: TestClient, said: Console) -> None:
        assert client.get("/test/fail", headers={"origin": "http://evil.example"}).status_code == 403
        entry = json.loads(written(said.stdout))
        assert (entry["status"], "--allow-origin http://evil.example" in entry["error"]) == (403, True)


class TestMetrics:
    def test_paths_that_clients_think_up_are_not_kept(self, client: TestClient, metrics: Metrics) -> None:
        for path in ("/thought-up", "/v1/models/thought-up", "/api/thought-up", "/v1/chat/completions/thought-up"):
            client.get(path)
            client.get(path, headers={"origin": "http://evil.example"})
            client.get("/test/fail")
        text = metrics.text(0, EngineState(0, 0, 0, None)).decode()
        assert "thought-up" not in text
        assert 'path="other"' in text
        assert 'path="/test/fail",status="500"} 4.0' in text
