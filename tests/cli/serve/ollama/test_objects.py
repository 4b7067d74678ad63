"""Objects that Ollama's routes have in common."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from r1.engine.events import Scored
from r1.serve.errors import ApiError
from r1.serve.ollama.objects import error_object, logprobs, moment


@pytest.mark.parametrize(
    ("ns", "text"),
    [
        (0, "1970-01-01T00:00:00.000000000Z"),
        (1_700_000_000_000_000_001, "2023-11-14T22:13:20.000000001Z"),
        (1_700_000_000_999_999_999, "2023-11-14T22:13:20.999999999Z"),
    ],
)
def test_a_moment_has_nanoseconds(ns: int, text: str) -> None:
    assert moment(ns) == text
    assert datetime.fromisoformat(text).tzinfo == UTC


def test_a_part_of_a_character_has_its_bytes() -> None:
    score = Scored(b"\xe2\x82", -0.25, ((b"a", -0.125), (b"\xe2\x82", -0.25)), is_thinking=False)
    assert logprobs([score]) == [
        {
            "token": "\N{REPLACEMENT CHARACTER}",
            "logprob": -0.25,
            "bytes": [0xE2, 0x82],
            "top_logprobs": [
                {"token": "a", "logprob": -0.125, "bytes": [0x61]},
                {"token": "\N{REPLACEMENT CHARACTER}", "logprob": -0.25, "bytes": [0xE2, 0x82]},
            ],
        }
    ]


def test_no_other_tokens_are_told_that_were_not_asked_for() -> None:
    assert logprobs([Scored(b"a", -1.0, (), is_thinking=True)]) == [{"token": "a", "logprob": -1.0, "bytes": [97]}]


def test_an_error() -> None:
    assert error_object(ApiError(400, "think must be true", param="think", code="x")) == {"error": "think must be true"}
