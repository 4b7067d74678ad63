"""OpenAI's routes, and their errors."""

from __future__ import annotations

import pytest
from starlette.applications import Starlette

from tests.fakes.asgi import ask


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/chat/completions", 405),
        ("POST", "/v1/models", 405),
        ("POST", "/v1/embeddings", 404),
        ("GET", "/v1/responses/resp_1", 404),
        ("GET", "/v1/", 404),
    ],
)
def test_what_is_not_there_is_told_in_openais_shape(app: Starlette, method: str, path: str, status: int) -> None:
    answered = ask(app, method, path)
    assert answered.status == status
    assert answered.json()["error"].keys() == {"message", "type", "param", "code"}
