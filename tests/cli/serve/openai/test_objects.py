"""Objects that OpenAI's APIs have in common."""

from __future__ import annotations

import pytest
from jsonschema import Draft202012Validator

from r1.engine.events import Drafted, Finished, Scored, Timings, Usage
from r1.serve.errors import ApiError
from r1.serve.openai.objects import error_object, finish_reason, score_object, timings_object, usage_object
from r1.serve.web.openapi.openai_objects import SCHEMAS


class TestUsage:
    def test_a_prompt_counts_once_and_what_was_taken_back_was_generated(self) -> None:
        usages = [Usage(10, 5, 3, discarded_tokens=2, cached_tokens=4), Usage(10, 7, 1, cached_tokens=10)]
        assert usage_object(usages, count=2) == {
            "prompt_tokens": 10,
            "completion_tokens": 5 + 3 + 2 + 7 + 1,
            "total_tokens": 28,
            "prompt_tokens_details": {"cached_tokens": 4},
            "completion_tokens_details": {"reasoning_tokens": 5 + 2 + 7},
        }

    def test_several_prompts_count_each(self) -> None:
        usages = [Usage(10, 0, 3), Usage(10, 0, 3), Usage(20, 0, 1, cached_tokens=5), Usage(20, 0, 1)]
        made = usage_object(usages, count=2)
        assert (made["prompt_tokens"], made["completion_tokens"], made["total_tokens"]) == (30, 8, 38)
        assert made["prompt_tokens_details"] == {"cached_tokens": 5}


def test_timings_are_llama_servers() -> None:
    finished = Finished("stop", Usage(10, 20, 29, 1, cached_tokens=6), Timings(0.5, 8.0, 50.0, 1.5))
    made = timings_object(finished)
    assert (made["cache_n"], made["prompt_n"], made["predicted_n"]) == (6, 4, 50)
    assert (made["prompt_ms"], made["prompt_per_second"]) == (500, 8)
    assert (made["predicted_ms"], made["predicted_per_token_ms"], made["predicted_per_second"]) == (1000, 20, 50)


@pytest.mark.parametrize(("drafted", "has_them"), [(None, False), (Drafted(0, 0, 9), False), (Drafted(9, 6, 3), True)])
def test_drafts_are_in_the_timings_where_there_were_some(drafted: Drafted | None, has_them: bool) -> None:
    made = timings_object(Finished("stop", Usage(1, 1, 1), Timings(0.1, 1.0, 1.0, 1.0), drafted=drafted))
    assert ("draft_n" in made) == has_them
    if has_them:
        assert (made["draft_n"], made["draft_n_accepted"]) == (9, 6)
    Draft202012Validator(SCHEMAS["OpenAITimings"]).validate(made)


def test_timings_of_nothing_are_zero() -> None:
    made = timings_object(Finished("interrupted", Usage(0, 0, 0), Timings(0.0, 0.0, 0.0, 0.0)))
    assert set(made.values()) == {0}


@pytest.mark.parametrize(
    ("reason", "word"),
    [("stop", "stop"), ("length", "length"), ("context", "length"), ("loop", "length"), ("interrupted", "length")],
)
def test_finish_reasons_are_openais(reason: str, word: str) -> None:
    assert finish_reason(reason) == word  # type: ignore[arg-type]


def test_a_token_that_is_a_part_of_a_character_has_its_bytes() -> None:
    made = score_object(Scored(b"\xe2\x82", -0.5, ((b"a", -1.25),), is_thinking=False))
    assert made == {
        "token": "\ufffd",
        "logprob": -0.5,
        "bytes": [0xE2, 0x82],
        "top_logprobs": [{"token": "a", "logprob": -1.25, "bytes": [97]}],
    }


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, "invalid_request_error"),
        (401, "authentication_error"),
        (403, "permission_error"),
        (404, "not_found_error"),
        (413, "invalid_request_error"),
        (503, "server_error"),
    ],
)
def test_errors(status: int, kind: str) -> None:
    made = error_object(ApiError(status, "no", param="n", code="wrong"))
    assert made == {"error": {"message": "no", "type": kind, "param": "n", "code": "wrong"}}
