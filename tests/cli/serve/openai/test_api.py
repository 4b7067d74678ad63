"""OpenAI's routes, and their errors."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.applications import Starlette

from r1.serve.errors import ApiError
from r1.serve.fields import Fields
from r1.serve.openai import chat, completions, responses
from r1.serve.question import Question
from tests.fakes.asgi import ask

NAMES = [
    "model",
    "messages",
    "prompt",
    "input",
    "instructions",
    "n",
    "best_of",
    "max_tokens",
    "max_completion_tokens",
    "max_output_tokens",
    "temperature",
    "top_p",
    "seed",
    "stop",
    "logprobs",
    "top_logprobs",
    "echo",
    "suffix",
    "stream",
    "stream_options",
    "reasoning",
    "reasoning_effort",
    "think_budget",
    "thinking",
    "chat_template_kwargs",
    "response_format",
    "text",
    "tools",
    "tool_choice",
    "logit_bias",
    "modalities",
    "metadata",
    "user",
    "include",
    "truncation",
    "previous_response_id",
    "votes",
    "first",
    "confidence",
    "choices",
    "regex",
    "grammar",
    "role",
    "content",
    "type",
    "effort",
    "summary",
    "format",
    "json_schema",
    "schema",
    "name",
]
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.sampled_from(
        ["", "user", "assistant", "message", "text", "input_text", "json_schema", "json_object", "low", "\ud800", "x"]
    )
)
VALUES = st.recursive(
    LEAVES,
    lambda values: st.lists(values, max_size=3) | st.dictionaries(st.sampled_from(NAMES), values, max_size=4),
    max_leaves=10,
)
BODIES = st.dictionaries(st.sampled_from(NAMES), VALUES, max_size=8)


@pytest.mark.parametrize("question_of", [chat.question_of, completions.question_of, responses.question_of])
@given(body=BODIES)
def test_any_body_is_a_question_or_is_refused(question_of: Callable[[Fields], Question], body: dict[str, Any]) -> None:
    given_fields = {"messages": [{"role": "user", "content": "x"}], "prompt": "x", "input": "x"}
    with suppress(ApiError):
        question_of(Fields({**given_fields, **body}))


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
