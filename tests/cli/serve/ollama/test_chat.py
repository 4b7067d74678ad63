"""What a request to chat asks."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from r1.engine.prompt import Beginning, Turn
from r1.serve.errors import ApiError
from r1.serve.fields import Fields
from r1.serve.messages import Dialogue
from r1.serve.ollama.chat import question_of
from r1.serve.question import Question
from r1.settings import Settings

USER = {"role": "user", "content": "17+25?"}


def asked(**body: Any) -> Question:
    return question_of(Fields({"messages": [USER], **body}), Settings())


def test_a_question() -> None:
    assert asked(model="qwen-7b", think="low", options={"stop": ["."], "seed": 3}) == Question(
        "qwen-7b",
        Dialogue((), "17+25?"),
        changed={"effort": "low", "seed": 3},
        stop_texts=(".",),
    )


def test_a_conversation() -> None:
    messages = [
        {"role": "system", "content": "Be brief."},
        USER,
        {"role": "assistant", "content": "42", "thinking": "2 + 5 = 7"},
        {"role": "user", "content": "3+4?"},
        {"role": "assistant", "content": "It is"},
    ]
    turn = Turn("Be brief.\n\n17+25?", "2 + 5 = 7", "42")
    assert asked(messages=messages).dialogue == Dialogue((turn,), "3+4?", Beginning("", "It is"), has_instructions=True)


def test_a_form_and_log_probabilities() -> None:
    question = asked(format={"type": "integer"}, logprobs=True, top_logprobs=2)
    assert question.form is not None
    assert (question.form.kind, question.top_logprobs) == ("schema", 2)


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ({"tools": [{}]}, "R1 does not support tools"),
        ({"messages": [{"role": "assistant", "content": "42"}]}, r"^messages\[0\] is an assistant's"),
        ({"messages": [{"role": "judge", "content": "42"}]}, r"^messages\[0\]\.role must be one of"),
        ({"messages": "hello"}, "^messages must be a list of objects"),
        ({"model": 3}, "^model must be a string"),
        ({"options": []}, "^options must be an object"),
    ],
)
def test_what_cannot_be_asked(body: dict[str, Any], problem: str) -> None:
    with pytest.raises(ApiError, match=problem) as caught:
        asked(**body)
    assert caught.value.status == 400


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
MESSAGES = st.lists(
    st.dictionaries(
        st.sampled_from(["role", "content", "thinking", "images", "tool_calls"]),
        JSON | st.sampled_from(["system", "user", "assistant", "tool"]),
    ),
    max_size=4,
)
OPTIONS = st.dictionaries(
    st.sampled_from(["temperature", "top_p", "seed", "num_predict", "num_ctx", "stop", "top_k"]), JSON
)


@given(
    st.fixed_dictionaries(
        {"messages": JSON | MESSAGES},
        optional={
            **dict.fromkeys(("model", "think", "format", "tools", "logprobs", "top_logprobs"), JSON),
            "options": JSON | OPTIONS,
        },
    )
)
def test_any_body_is_a_question_or_refused(body: dict[str, Any]) -> None:
    """One without messages asks for the model alone."""
    try:
        question = question_of(Fields(body), Settings())
    except ApiError as error:
        status = error.status
    else:
        status = 200 if (question.dialogue is None) == (body["messages"] in (None, [])) else 500
    assert status in {200, 400}
