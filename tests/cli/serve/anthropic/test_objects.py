"""Anthropic's objects. tests/e2e/test_serve_anthropic.py holds them against the types of the official client."""

from __future__ import annotations

import base64

import pytest

from r1.engine.context import PromptTooLong
from r1.engine.events import Finished, Timings, Usage
from r1.serve.anthropic.objects import SIGNATURE, error_object, status_of, stop_object, usage_object
from r1.serve.errors import ApiError, api_error


@pytest.mark.parametrize(
    ("error", "status", "kind"),
    [
        (ApiError(400, "no"), 400, "invalid_request_error"),
        (ApiError(401, "no"), 401, "authentication_error"),
        (ApiError(403, "no"), 403, "permission_error"),
        (ApiError(404, "no"), 404, "not_found_error"),
        (ApiError(405, "no"), 405, "invalid_request_error"),
        (ApiError(408, "no"), 408, "timeout_error"),
        (ApiError(413, "no"), 413, "request_too_large"),
        (ApiError(429, "no"), 429, "rate_limit_error"),
        (ApiError(500, "no"), 500, "api_error"),
        (ApiError(503, "no", code="not_enough_memory"), 503, "api_error"),
        (ApiError(503, "no", code="overloaded"), 529, "overloaded_error"),
    ],
)
def test_errors(error: ApiError, status: int, kind: str) -> None:
    """https://platform.claude.com/docs/en/api/errors"""
    assert status_of(error) == status
    made = error_object(error)
    assert (made["type"], made["error"]) == ("error", {"type": kind, "message": "no"})
    assert made["request_id"].startswith("req_")


def test_a_prompt_that_is_too_long_is_refused_in_the_words_that_clients_look_for() -> None:
    """Those of https://platform.claude.com/docs/en/api/errors; litellm searches for them, too."""
    message = error_object(api_error(PromptTooLong(900, 512, 512)))["error"]["message"]
    assert message.startswith("prompt is too long: ")
    assert "900" in message


def test_an_error_can_have_the_id_of_its_request() -> None:
    assert error_object(ApiError(400, "no"), "req_1")["request_id"] == "req_1"


def test_a_stop_sequence_is_told() -> None:
    finished = Finished("stop", Usage(1, 2, 3), Timings(0.1, 1.0, 1.0, 1.0))
    assert stop_object(finished, "END") == {"stop_reason": "stop_sequence", "stop_sequence": "END"}


def test_usage_adds_up() -> None:
    """What was thought and taken back was generated, too; tokens of the prompt are counted once."""
    made = usage_object(Usage(100, 20, 5, discarded_tokens=10, cached_tokens=60))
    prompt = ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")
    assert sum(made[name] for name in prompt) == 100
    assert made["cache_read_input_tokens"] == 60
    assert (made["output_tokens"], made["output_tokens_details"]["thinking_tokens"]) == (35, 30)


def test_the_signature_is_not_empty_and_can_be_decoded() -> None:
    assert base64.b64decode(SIGNATURE, validate=True)
