"""The count of a prompt's tokens, by the built-in model's tokenizer."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from starlette.applications import Starlette
from starlette.testclient import TestClient

from r1.serve.anthropic.api import ANTHROPIC
from r1.serve.errors import ApiError
from r1.serve.question import Question
from r1.serve.web.app import refuse

BODY = {"model": "m", "messages": [{"role": "user", "content": "17+25?"}]}


@dataclass
class CountingService:
    """Counts a question as so many tokens, or refuses it."""

    count: int | ApiError
    asked: list[Question] = field(default_factory=list)

    async def prompt_tokens(self, question: Question) -> int:
        self.asked.append(question)
        if isinstance(self.count, ApiError):
            raise self.count
        return self.count


def answer(service: CountingService, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    app = Starlette(routes=ANTHROPIC.routes, exception_handlers={ApiError: refuse})
    app.state.service = service
    response = TestClient(app).post("/v1/messages/count_tokens", json=body)
    return response.status_code, response.json()


def test_the_count_is_that_of_the_question() -> None:
    service = CountingService(11)
    assert answer(service, BODY | {"system": "Be brief."}) == (200, {"input_tokens": 11})
    assert service.asked[0].dialogue is not None
    assert service.asked[0].dialogue.prompt == "Be brief.\n\n17+25?"


def test_what_cannot_be_asked_cannot_be_counted() -> None:
    status, body = answer(CountingService(11), BODY | {"tools": [{"name": "now"}]})
    assert (status, body["error"]["type"]) == (400, "invalid_request_error")


def test_a_server_with_too_much_to_do_says_so() -> None:
    status, body = answer(CountingService(ApiError(503, "later", code="overloaded", retry_after_s=5)), BODY)
    assert (status, body["error"]["type"]) == (529, "overloaded_error")
