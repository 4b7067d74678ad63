"""Ollama's routes: who this is, and what is refused."""

from __future__ import annotations

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from r1.serve.errors import ApiError
from r1.serve.ollama.api import OLLAMA
from r1.serve.web.app import refuse


@pytest.fixture
def client() -> TestClient:
    return TestClient(Starlette(routes=OLLAMA.routes, exception_handlers={ApiError: refuse}))


@pytest.mark.parametrize("path", ["/", "/api/version"])
def test_clients_that_look_for_a_server_find_it(client: TestClient, path: str) -> None:
    assert client.head(path).status_code == 200
    assert client.get(path).status_code == 200


def test_the_version_is_numbers_with_dots(client: TestClient) -> None:
    """GitHub Copilot compares each of them as a number."""
    assert len([int(part) for part in client.get("/api/version").json()["version"].split(".")]) == 3


@pytest.mark.parametrize(
    ("method", "path", "remedy"),
    [
        ("POST", "/api/pull", "`r1 pull MODEL`"),
        ("POST", "/api/push", ""),
        ("POST", "/api/create", "`r1 quantize`"),
        ("POST", "/api/copy", "`r1 quantize --name NAME`"),
        ("DELETE", "/api/delete", "`r1 rm MODEL`"),
        ("POST", "/api/blobs/sha256:12", "`r1 pull`"),
        ("HEAD", "/api/blobs/sha256:12", ""),
        ("POST", "/api/embed", ""),
        ("POST", "/api/embeddings", ""),
    ],
)
def test_what_is_not_served_is_refused_with_what_to_do(client: TestClient, method: str, path: str, remedy: str) -> None:
    response = client.request(method, path, content=b"{" * 10)
    assert response.status_code == 501
    if method != "HEAD":
        assert list(response.json()) == ["error"]
        assert remedy in response.json()["error"]
