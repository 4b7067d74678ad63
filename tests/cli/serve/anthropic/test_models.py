"""Anthropic's list of models, beside OpenAI's under the same paths."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from r1.serve.anthropic.api import ANTHROPIC
from r1.serve.errors import ApiError, api_error
from r1.serve.served_models import ServedModel
from r1.serve.web.app import refuse
from r1.settings import Settings
from r1_quantize.errors import ModelNotFound
from r1_quantize.store.model import StoredModel

HEADERS = {"anthropic-version": "2023-06-01"}
MODIFIED = 1_700_000_000.0  # 2023-11-14T22:13:20Z


@dataclass
class Models:
    """As ServedModels, with three models in one file."""

    path: Path

    def all(self) -> list[ServedModel]:
        return [self.get(name) for name in ("a:Q8_0", "b:Q8_0", "c:Q8_0")]

    def get(self, name: str) -> ServedModel:
        if name not in {"a:Q8_0", "b:Q8_0", "c:Q8_0"}:
            raise ModelNotFound(f"{name} is no model of this machine")
        stored = StoredModel(name[0], "Q8_0", self.path, self.path.stat().st_size, MODIFIED, None)
        return ServedModel(name, stored)


@dataclass
class Service:
    models: Models
    settings: Settings = field(default_factory=Settings)

    async def name_of(self, name: str) -> str:
        try:
            return self.models.get(name).name
        except ModelNotFound as exc:
            raise api_error(exc) from exc


@pytest.fixture
def client(tiny_path: Path) -> TestClient:
    app = Starlette(routes=ANTHROPIC.routes, exception_handlers={ApiError: refuse})
    app.state.service = Service(Models(tiny_path))
    return TestClient(app, headers=HEADERS)


def page(client: TestClient, **query: object) -> dict[str, Any]:
    response = client.get("/v1/models", params={name: str(value) for name, value in query.items()})
    assert response.status_code == 200, response.text
    made: dict[str, Any] = response.json()
    return made


def names(listed: dict[str, Any]) -> list[str]:
    return [model["id"] for model in listed["data"]]


def test_what_is_told_of_a_model(client: TestClient) -> None:
    made = client.get("/v1/models/a:Q8_0").json()
    assert (made["type"], made["id"], made["lifecycle"]) == ("model", "a:Q8_0", "active")
    assert made["created_at"] == "2023-11-14T22:13:20Z"
    assert made["capabilities"]["thinking"]["supported"] is True
    assert made["capabilities"]["image_input"]["supported"] is False


def test_a_damaged_file_is_listed_without_its_length(client: TestClient, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.gguf"
    damaged.write_bytes(b"GGUF, but not really")
    client.app.state.service.models.path = damaged  # type: ignore[attr-defined]
    assert [model["max_input_tokens"] for model in page(client)["data"]] == [None, None, None]


def test_a_context_that_the_server_limits_is_told(client: TestClient) -> None:
    client.app.state.service.settings = Settings(ctx=512)  # type: ignore[attr-defined]
    assert client.get("/v1/models/a:Q8_0").json()["max_input_tokens"] == 512


def test_all_models_fit_a_page(client: TestClient) -> None:
    listed = page(client)
    assert names(listed) == ["a:Q8_0", "b:Q8_0", "c:Q8_0"]
    assert (listed["has_more"], listed["first_id"], listed["last_id"]) == (False, "a:Q8_0", "c:Q8_0")


@pytest.mark.parametrize(
    ("query", "expected", "has_more"),
    [
        ({"limit": 2}, ["a:Q8_0", "b:Q8_0"], True),
        ({"limit": 2, "after_id": "b:Q8_0"}, ["c:Q8_0"], False),
        ({"limit": 1, "after_id": "a:Q8_0"}, ["b:Q8_0"], True),
        ({"limit": 1, "before_id": "c:Q8_0"}, ["b:Q8_0"], True),
        ({"limit": 1, "before_id": "b:Q8_0"}, ["a:Q8_0"], False),
        ({"after_id": "c:Q8_0"}, [], False),
    ],
)
def test_pages(client: TestClient, query: dict[str, object], expected: list[str], *, has_more: bool) -> None:
    listed = page(client, **query)
    assert (names(listed), listed["has_more"]) == (expected, has_more)


@pytest.mark.parametrize("query", ["limit=0", "limit=1001", "limit=x", "limit=%C2%B2", "after_id=z", "before_id=z"])
def test_a_page_that_cannot_be_is_refused(client: TestClient, query: str) -> None:
    response = client.get(f"/v1/models?{query}")
    assert (response.status_code, response.json()["error"]["type"]) == (400, "invalid_request_error")
    assert query.partition("=")[0] in response.json()["error"]["message"]


def test_an_unknown_model_is_not_found(client: TestClient) -> None:
    response = client.get("/v1/models/z:Q8_0")
    assert (response.status_code, response.json()["error"]["type"]) == (404, "not_found_error")


def test_without_the_header_the_paths_are_left_to_openai(client: TestClient) -> None:
    del client.headers["anthropic-version"]
    assert client.get("/v1/models").status_code == 404
    assert client.get("/v1/models/a:Q8_0").status_code == 404
