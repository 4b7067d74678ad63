"""What OpenAI's requests have in common."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from r1.forms.form import Form
from r1.serve.errors import ApiError
from r1.serve.fields import Fields
from r1.serve.messages import Message
from r1.serve.openai.fields import (
    content_of,
    limited_sampling_in,
    messages_in,
    refuse_unsupported,
    response_form_in,
    stop_texts_in,
    thinking_in,
)

SCHEMA = {"type": "object", "properties": {"sum": {"type": "integer"}}, "required": ["sum"]}


def refusal(read: Callable[[Fields], object], **fields: object) -> ApiError:
    with pytest.raises(ApiError) as caught:
        read(Fields(fields))
    assert caught.value.status == 400
    return caught.value


class TestMessages:
    def test_parts_are_texts_with_an_empty_line_between_them(self) -> None:
        parts = [
            {"type": "text", "text": "A"},
            {"type": "input_text", "text": "B"},
            {"type": "refusal", "refusal": "C"},
        ]
        assert content_of(Fields({"content": parts})) == "A\n\nB\n\nC"

    @pytest.mark.parametrize("name", ["reasoning_content", "reasoning"])
    def test_the_thinking_of_an_answer_has_either_name(self, name: str) -> None:
        fields = Fields({"messages": [{"role": "assistant", "content": "Hello", name: "Hm."}]})
        assert list(messages_in(fields)) == [Message("messages[0]", "assistant", "Hello", "Hm.")]

    @pytest.mark.parametrize("content", [None, "", []])
    def test_content_can_be_missing(self, content: object) -> None:
        assert content_of(Fields({"content": content})) == ""

    @pytest.mark.parametrize(
        ("message", "param"),
        [
            ({}, "messages[0].role"),
            ({"role": "user", "content": 5}, "messages[0].content"),
            ({"role": "user", "content": ["x"]}, "messages[0].content[0]"),
            ({"role": "user", "content": [{"text": "x"}]}, "messages[0].content[0].type"),
            ({"role": "user", "content": [{"type": "text", "text": 5}]}, "messages[0].content[0].text"),
            (
                {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,"}}]},
                "messages[0].content[0].type",
            ),
            ({"role": "user", "content": "half \ud800"}, "messages[0].content"),
            ({"role": "tool", "tool_call_id": "1", "content": "42"}, "messages[0]"),
            ({"role": "assistant", "content": None, "tool_calls": [{"id": "1"}]}, "messages[0]"),
        ],
    )
    def test_what_is_no_message_is_refused_by_its_place(self, message: object, param: str) -> None:
        assert refusal(lambda fields: list(messages_in(fields)), messages=[message]).param == param


class TestThinking:
    @pytest.mark.parametrize(
        ("fields", "changed"),
        [
            ({}, {}),
            ({"reasoning_effort": None, "reasoning": None, "think_budget": None}, {}),
            ({"reasoning_effort": "minimal"}, {"effort": "low"}),
            ({"reasoning_effort": "xhigh"}, {"effort": "max"}),
            ({"reasoning": {"effort": "medium"}}, {"effort": "medium"}),
            ({"reasoning": {"max_tokens": 500}}, {"think_budget": 500}),
            ({"reasoning": {"enabled": False}}, {"effort": "none"}),
            ({"reasoning": {"enabled": True}}, {}),
            ({"think_budget": 0}, {"think_budget": 0}),
            ({"thinking_budget_tokens": 100}, {"think_budget": 100}),
            ({"reasoning_budget_tokens": -1}, {"effort": "max"}),
            ({"thinking": {"type": "enabled", "budget_tokens": 1024}}, {"think_budget": 1024}),
            ({"thinking": {"type": "disabled"}}, {"effort": "none"}),
            ({"chat_template_kwargs": {"enable_thinking": False}}, {"effort": "none"}),
            ({"chat_template_kwargs": {"thinking": False}}, {"effort": "none"}),
            ({"chat_template_kwargs": {"enable_thinking": True}}, {}),
            ({"think_budget": 5, "reasoning_effort": "high"}, {"think_budget": 5}),
            ({"reasoning_effort": "high", "thinking": {"type": "disabled"}}, {"effort": "high"}),
        ],
    )
    def test_how_long(self, fields: dict[str, Any], changed: dict[str, object]) -> None:
        assert thinking_in(Fields(fields)) == changed

    @pytest.mark.parametrize(
        ("fields", "param"),
        [
            ({"reasoning_effort": "extreme"}, "reasoning_effort"),
            ({"reasoning_effort": 5}, "reasoning_effort"),
            ({"reasoning": "high"}, "reasoning"),
            ({"reasoning": {"effort": "loud"}}, "reasoning.effort"),
            ({"think_budget": "5"}, "think_budget"),
            ({"think_budget": -2}, "think_budget"),
            ({"chat_template_kwargs": {"enable_thinking": "no"}}, "chat_template_kwargs.enable_thinking"),
            ({"think_budget": 5, "thinking": {"type": 5}}, "thinking.type"),
            (
                {"reasoning": {"enabled": False}, "chat_template_kwargs": {"thinking": 0}},
                "chat_template_kwargs.thinking",
            ),
        ],
    )
    def test_a_wrong_value_is_refused(self, fields: dict[str, Any], param: str) -> None:
        assert refusal(thinking_in, **fields).param == param


class TestSampling:
    @pytest.mark.parametrize(
        ("fields", "changed"),
        [
            ({"max_tokens": 5, "max_completion_tokens": 7}, {"max_tokens": 7}),
            ({"max_tokens": 5, "max_completion_tokens": None}, {"max_tokens": 5}),
            ({"max_tokens": None}, {}),
            ({"max_tokens": -1}, {}),
            ({"temperature": 0, "top_p": 0.5}, {"temp": 0.0, "top_p": 0.5}),
            ({"temperature": None, "seed": -1}, {}),
        ],
    )
    def test_what_is_changed(self, fields: dict[str, Any], changed: dict[str, object]) -> None:
        assert limited_sampling_in(Fields(fields), "max_completion_tokens", "max_tokens") == changed

    @pytest.mark.parametrize("value", [0, -2, 1.5, "5", True, 10**30])
    def test_a_limit_that_is_none_is_refused(self, value: object) -> None:
        assert refusal(lambda fields: limited_sampling_in(fields, "max_tokens"), max_tokens=value).param == "max_tokens"

    def test_stop_texts(self) -> None:
        assert stop_texts_in(Fields({"stop": "x"})) == ("x",)
        assert refusal(stop_texts_in, stop=["x"] * 100).param == "stop"


class TestWhatIsNotSupported:
    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("tools", [{"type": "function", "function": {"name": "f"}}]),
            ("functions", [{"name": "f"}]),
            ("logit_bias", {"42": -100}),
            ("modalities", ["text", "audio"]),
            ("frequency_penalty", "high"),
            ("presence_penalty", 3),
        ],
    )
    def test_is_refused_by_its_name(self, name: str, value: object) -> None:
        assert refusal(refuse_unsupported, **{name: value}).param == name

    @pytest.mark.parametrize(
        "fields",
        [
            {"tools": [], "functions": None, "logit_bias": {}, "modalities": ["text"]},
            {"tools": [{"type": "function"}], "tool_choice": "none"},
            {"frequency_penalty": 0.5, "presence_penalty": -1, "top_k": 40, "user": "me", "store": True},
        ],
    )
    def test_what_changes_nothing_or_little_is_let_through(self, fields: dict[str, Any]) -> None:
        refuse_unsupported(Fields(fields))


class TestForms:
    def form(self, **fields: object) -> Form:
        form = response_form_in(Fields(fields))
        assert form is not None
        return form

    def test_none(self) -> None:
        assert response_form_in(Fields({})) is None
        assert response_form_in(Fields({"response_format": {"type": "text"}})) is None

    def test_a_schema(self) -> None:
        wanted = {"type": "json_schema", "json_schema": {"name": "total", "schema": SCHEMA, "strict": True}}
        form = self.form(response_format=wanted)
        assert form.problem('{"sum": 42}') is None
        assert form.problem('{"sum": "42"}') is not None

    def test_any_object(self) -> None:
        form = self.form(response_format={"type": "json_object"})
        assert form.problem('{"a": [1]}') is None
        assert form.problem("[1]") is not None

    def test_r1s_own(self) -> None:
        assert self.form(choices=["yes", "no"]).problem("maybe") is not None
        assert self.form(regex="[0-9]+").problem("42") is None

    @pytest.mark.parametrize(
        ("fields", "param"),
        [
            ({"response_format": "json"}, "response_format"),
            ({"response_format": {"type": "xml"}}, "response_format.type"),
            ({"response_format": {"type": "json_schema"}}, "response_format.json_schema"),
            ({"response_format": {"type": "json_schema", "json_schema": {}}}, "response_format.json_schema.schema"),
            (
                {"response_format": {"type": "json_schema", "json_schema": {"schema": {"$ref": "#/nowhere"}}}},
                "response_format.json_schema.schema",
            ),
            ({"response_format": {"type": "json_object"}, "choices": ["a", "b"]}, "response_format"),
        ],
    )
    def test_one_that_cannot_be_used_is_refused(self, fields: dict[str, Any], param: str) -> None:
        assert refusal(response_form_in, **fields).param == param

    @pytest.mark.parametrize("depth", [100, 900, 20_000])
    def test_a_deep_schema_is_made_or_refused(self, depth: int) -> None:
        schema: dict[str, Any] = {"type": "integer"}
        for _ in range(depth):
            schema = {"type": "array", "items": schema}
        wanted = {"type": "json_schema", "json_schema": {"name": "deep", "schema": schema}}
        with suppress(ApiError):
            assert response_form_in(Fields({"response_format": wanted})) is not None
