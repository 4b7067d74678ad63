"""What Ollama's requests have in common."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from r1.serve.errors import ApiError
from r1.serve.fields import Fields
from r1.serve.messages import Message
from r1.serve.ollama.fields import (
    KeepAlive,
    changed_in,
    form_in,
    is_streamed,
    keep_alive_in,
    messages_in,
    refuse_tools,
    stop_texts_in,
    top_logprobs_in,
)
from r1.settings import Settings

FOR_EVER = KeepAlive(None)


def changed(body: dict[str, Any], **settings: Any) -> dict[str, object]:
    return changed_in(Fields(body), Settings(**settings))


class TestKeepAlive:
    @pytest.mark.parametrize(
        ("value", "seconds"),
        [
            (0, 0),
            (300, 300),
            (1.5, 1.5),
            ("0", 0),
            ("5m", 300),
            ("1h30m", 5400),
            ("1.5h", 5400),
            ("250ms", 0.25),
            ("1m0.5s", 60.5),
            ("+10s", 10),
            ("30", 30),
            ("2µs", 2e-6),
            ("720h", 2_592_000),
        ],
    )
    def test_a_time(self, value: object, seconds: float) -> None:
        """As time.ParseDuration of Go reads it, by its documentation; and a number of seconds."""
        made = keep_alive_in(Fields({"keep_alive": value}))
        assert made is not None
        assert made.seconds == pytest.approx(seconds)
        assert made.is_zero == (seconds == 0)

    @pytest.mark.parametrize("value", [-1, "-1", "-1s", "-1h30m", 10**400, 1e300, "999999999999999h", "721h"])
    def test_below_zero_and_longer_than_a_month_is_for_ever(self, value: object) -> None:
        assert keep_alive_in(Fields({"keep_alive": value})) == FOR_EVER

    def test_not_given(self) -> None:
        assert keep_alive_in(Fields({"keep_alive": None})) is None

    @pytest.mark.parametrize(
        "value",
        ["", "5 m", "m", "5x", "1h 30m", "1e9", "٣s", True, [], {}, "1" * 99, "--1s", "12s" * 10_000 + "x"],
        ids=lambda value: repr(value)[:20],
    )
    def test_what_is_no_time_is_refused(self, value: object) -> None:
        with pytest.raises(ApiError, match=r"^keep_alive must be"):
            keep_alive_in(Fields({"keep_alive": value}))

    @given(st.text() | st.integers() | st.floats(allow_nan=False, allow_infinity=False))
    def test_every_value_is_a_time_or_refused(self, value: object) -> None:
        try:
            made = keep_alive_in(Fields({"keep_alive": value}))
        except ApiError:
            return
        assert made is not None
        assert made.seconds is None or (math.isfinite(made.seconds) and made.seconds >= 0)


class TestThink:
    @pytest.mark.parametrize(
        ("think", "expected"),
        [
            (None, {}),
            (True, {}),
            (False, {"effort": "none"}),
            ("low", {"effort": "low"}),
            ("medium", {"effort": "medium"}),
            ("high", {"effort": "high"}),
            ("max", {"effort": "max"}),
        ],
    )
    def test_how_long(self, think: object, expected: dict[str, object]) -> None:
        assert changed({"think": think}) == expected

    def test_true_lets_it_think_on_a_server_that_does_not(self) -> None:
        assert changed({"think": True}, effort="none") == {"effort": "max"}
        assert changed({"think": True}, think_budget=0) == {"effort": "max"}
        assert changed({"think": True}, think_budget=100) == {}

    @pytest.mark.parametrize("think", ["yes", "", "none", 1, 0, [], {"a": 1}])
    def test_anything_else_is_refused(self, think: object) -> None:
        with pytest.raises(ApiError, match=r"^think must be true, false or one of low, medium, high, max"):
            changed({"think": think})


class TestOptions:
    def test_those_that_r1_has(self) -> None:
        options = {"temperature": 0.5, "top_p": 0.9, "seed": 7, "num_predict": 50, "num_ctx": 8192}
        assert changed({"options": options}) == {"temp": 0.5, "top_p": 0.9, "seed": 7, "max_tokens": 50}

    @pytest.mark.parametrize("limit", [-1, -2, 0, None])
    def test_no_limit_is_that_of_the_server(self, limit: int | None) -> None:
        assert changed({"options": {"num_predict": limit}}) == {}

    def test_others_are_ignored(self) -> None:
        assert changed({"options": {"top_k": 40, "mirostat": "x", "num_gpu": [], "repeat_penalty": None}}) == {}

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("temperature", "hot"),
            ("temperature", -1),
            ("top_p", 1.1),
            ("seed", 0.5),
            ("num_predict", -3),
            ("num_predict", "10"),
            ("num_ctx", "8k"),
            ("num_ctx", -1),
        ],
    )
    def test_one_that_cannot_be_used_is_named(self, name: str, value: object) -> None:
        with pytest.raises(ApiError, match=rf"^options\.{name} must be") as caught:
            changed({"options": {name: value}})
        assert (caught.value.status, caught.value.param) == (400, f"options.{name}")

    def test_stop_texts(self) -> None:
        assert stop_texts_in(Fields({"options": {"stop": ["a", "b"]}})) == ("a", "b")
        assert stop_texts_in(Fields({"options": {"stop": "a"}})) == ("a",)
        assert stop_texts_in(Fields({"options": None})) == ()

    def test_too_many_stop_texts_are_refused(self) -> None:
        with pytest.raises(ApiError, match=r"^options\.stop has 100 strings"):
            stop_texts_in(Fields({"options": {"stop": ["x"] * 100}}))


class TestFormat:
    @pytest.mark.parametrize("value", [None, ""])
    def test_none(self, value: object) -> None:
        assert form_in(Fields({"format": value})) is None

    def test_any_object(self) -> None:
        form = form_in(Fields({"format": "json"}))
        assert form is not None
        assert form.problem('{"a": [1]}') is None
        assert form.problem("[1]") is not None

    def test_a_schema(self) -> None:
        form = form_in(Fields({"format": {"type": "integer"}}))
        assert form is not None
        assert form.problem("3") is None
        assert form.problem('"3"') is not None

    @pytest.mark.parametrize("value", ["yaml", True, 3, ["json"], {"type": "nothing"}])
    def test_anything_else_is_refused(self, value: object) -> None:
        with pytest.raises(ApiError, match=r"^format") as caught:
            form_in(Fields({"format": value}))
        assert (caught.value.status, caught.value.param) == (400, "format")


class TestMessages:
    def test_they_are_read(self) -> None:
        messages = [
            {"role": "System", "content": "be brief"},
            {"role": "user", "content": "hello", "images": []},
            {"role": "assistant", "content": "hi", "thinking": "a greeting", "tool_calls": []},
            {"role": "user", "content": None},
        ]
        assert list(messages_in(Fields({"messages": messages}))) == [
            Message("messages[0]", "system", "be brief"),
            Message("messages[1]", "user", "hello"),
            Message("messages[2]", "assistant", "hi", "a greeting"),
            Message("messages[3]", "user", ""),
        ]

    @pytest.mark.parametrize(
        ("message", "problem"),
        [
            ({"role": "user", "images": ["aGVsbG8="]}, r"^messages\[0\]\.images are not supported"),
            ({"role": "tool", "content": "4"}, r"^messages\[0\]: R1 does not support tools"),
            ({"role": "assistant", "tool_calls": [{}]}, r"^messages\[0\]: R1 does not support tools"),
            ({"content": "hello"}, r"^messages\[0\]\.role is missing"),
            ({"role": "user", "content": ["hello"]}, r"^messages\[0\]\.content must be a string"),
            ("hello", r"^messages\[0\] must be an object"),
        ],
    )
    def test_one_that_cannot_be_read_is_named(self, message: object, problem: str) -> None:
        with pytest.raises(ApiError, match=problem):
            list(messages_in(Fields({"messages": [message]})))


def test_tools_are_refused_in_the_words_that_clients_look_for() -> None:
    refuse_tools(Fields({"tools": []}))
    with pytest.raises(ApiError, match="does not support tools"):
        refuse_tools(Fields({"tools": [{"type": "function"}]}))


def test_it_is_streamed_unless_the_client_says_no() -> None:
    assert [is_streamed(Fields(body)) for body in ({}, {"stream": None}, {"stream": True}, {"stream": False})] == [
        True,
        True,
        True,
        False,
    ]


def test_log_probabilities() -> None:
    assert top_logprobs_in(Fields({})) is None
    assert top_logprobs_in(Fields({"top_logprobs": 3})) is None
    assert top_logprobs_in(Fields({"logprobs": True})) == 0
    assert top_logprobs_in(Fields({"logprobs": True, "top_logprobs": 3})) == 3
    with pytest.raises(ApiError, match=r"^top_logprobs must be from 0 to 20"):
        top_logprobs_in(Fields({"logprobs": True, "top_logprobs": 21}))
