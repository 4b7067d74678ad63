"""What a client is told, and what the log."""

from __future__ import annotations

import pytest

from r1.serve.errors import ApiError, api_error, bad_field
from r1_quantize.errors import BadGGUF, ModelNotFound, NotEnoughSpace, R1Error, UsageError

SECRET = "xyzzysecretxyzzy"


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (ModelNotFound("no such model"), 404),
        (UsageError("no such value"), 400),
        (NotEnoughSpace("too large"), 503),
        (BadGGUF("damaged"), 500),
        (R1Error("other"), 500),
        (ValueError("unforeseen"), 500),
        (ApiError(413, "too long"), 413),
    ],
)
def test_an_error_of_ours_keeps_its_words(error: Exception, status: int) -> None:
    refusal = api_error(error)
    assert (refusal.status, str(error) in refusal.message) == (status, True)
    assert (refusal.retry_after_s is not None) == (status == 503)


@pytest.mark.parametrize(
    "error",
    [
        bad_field("messages[0].content", f"is {SECRET}"),
        ApiError(400, f"{SECRET} cannot be used"),
        UsageError(f"--temp: {SECRET!r} is no number"),
        KeyError(SECRET),
        UnicodeEncodeError("utf-8", f"{SECRET}\ud800", 16, 17, "surrogates not allowed"),
    ],
)
def test_the_log_does_not_quote_what_was_sent(error: Exception) -> None:
    assert SECRET not in api_error(error).logged
    assert api_error(error).logged


def test_the_log_names_the_field_and_the_reason() -> None:
    assert bad_field("stop", "is 5, not a list").logged == "stop cannot be used"
    error = ApiError(400, "9,000 tokens; 8,192 fit", param="messages", code="context_length_exceeded")
    assert error.logged == "messages cannot be used (context_length_exceeded)"


def test_the_log_has_the_words_of_refusals_that_are_not_about_a_body() -> None:
    assert ApiError(503, "the server is ending").logged == "the server is ending"
