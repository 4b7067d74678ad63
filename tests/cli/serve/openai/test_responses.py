"""Responses: bodies as questions, and answers as a whole."""

from __future__ import annotations

from typing import Any

import pytest
from starlette.applications import Starlette

from r1.engine.prompt import Turn
from r1.serve.errors import ApiError
from r1.serve.fields import Fields
from r1.serve.openai.responses import question_of
from tests.fakes.asgi import ask

PATH = "/v1/responses"
SCHEMA = {"type": "object", "properties": {"sum": {"type": "integer"}}, "required": ["sum"]}
FORMAT = {"type": "json_schema", "name": "total", "schema": SCHEMA}


def text(kind: str, value: str) -> dict[str, str]:
    return {"type": kind, "text": value}


class TestQuestions:
    def test_a_string(self) -> None:
        dialogue = question_of(Fields({"input": "Hi", "instructions": "Be brief."})).dialogue
        assert dialogue is not None
        assert (dialogue.turns, dialogue.prompt) == ((), "Be brief.\n\nHi")

    def test_items_of_a_conversation(self) -> None:
        items = [
            {"role": "developer", "content": "Be brief."},
            {"type": "message", "role": "user", "content": [text("input_text", "Hi")]},
            {"type": "reasoning", "id": "rs_1", "summary": [], "content": [text("reasoning_text", "Hm.")]},
            {"type": "message", "id": "msg_1", "role": "assistant", "content": [text("output_text", "Hello")]},
            {"role": "user", "content": "Bye"},
        ]
        dialogue = question_of(Fields({"input": items})).dialogue
        assert dialogue is not None
        assert (dialogue.turns, dialogue.prompt) == ((Turn("Be brief.\n\nHi", "", "Hello"),), "Bye")

    def test_what_is_changed(self) -> None:
        fields = {"input": "Hi", "max_output_tokens": 9, "temperature": 0, "reasoning": {"effort": "low"}}
        question = question_of(Fields({**fields, "text": {"format": FORMAT, "verbosity": "low"}, "top_logprobs": 2}))
        assert question.changed == {"max_tokens": 9, "temp": 0.0, "effort": "low"}
        assert question.form is not None
        assert question.form.problem("{}") is not None
        assert question.top_logprobs == 2

    def test_log_probabilities_that_are_included(self) -> None:
        fields = {"input": "Hi", "include": ["reasoning.encrypted_content", "message.output_text.logprobs"]}
        assert question_of(Fields(fields)).top_logprobs == 0
        assert question_of(Fields({"input": "Hi", "include": []})).top_logprobs is None

    @pytest.mark.parametrize(
        ("fields", "param"),
        [
            ({"input": None}, "input"),
            ({"input": []}, "input"),
            ({"input": 5}, "input"),
            ({"input": [5]}, "input[0]"),
            ({"input": [{"type": "reasoning", "summary": []}]}, "input"),
            ({"input": [{"type": "item_reference", "id": "msg_1"}]}, "input[0].type"),
            ({"input": [{"type": "function_call_output", "call_id": "1", "output": "42"}]}, "input[0].type"),
            ({"input": [{"content": "x"}]}, "input[0].role"),
            ({"input": [{"role": "user", "content": [{"type": "input_image"}]}]}, "input[0].content[0].type"),
            ({"previous_response_id": "resp_1"}, "previous_response_id"),
            ({"conversation": "conv_1"}, "conversation"),
            ({"prompt": {"id": "pmpt_1"}}, "prompt"),
            ({"background": True}, "background"),
            ({"tools": [{"type": "web_search"}]}, "tools"),
            ({"truncation": "middle"}, "truncation"),
            ({"metadata": {"a": 1}}, "metadata.a"),
            ({"metadata": {"\ud800": "a"}}, "metadata"),
            ({"text": {"format": {"type": "json_schema", "name": "x"}}}, "text.format.schema"),
            ({"text": {"format": {**FORMAT, "name": "\ud800"}}}, "text.format.name"),
            ({"text": {"format": FORMAT}, "choices": ["a", "b"]}, "text.format"),
            ({"reasoning": {"summary": 5}}, "reasoning.summary"),
        ],
    )
    def test_a_field_that_cannot_be_used_is_named(self, fields: dict[str, Any], param: str) -> None:
        with pytest.raises(ApiError) as caught:
            question_of(Fields({"input": "Hi", **fields}))
        assert (caught.value.status, caught.value.param) == (400, param)


class TestAnswers:
    def test_what_was_asked_for_is_told_again(self, app: Starlette) -> None:
        asked = {"model": "tiny", "input": "17+25?", "temperature": 0.25, "text": {"format": FORMAT}, "user": "me"}
        made = ask(app, "POST", PATH, {**asked, "metadata": {"a": "b"}, "truncation": "auto", "store": True}).json()
        assert (made["temperature"], made["top_p"], made["user"]) == (0.25, 0.95, "me")
        assert made["text"]["format"] == {**FORMAT, "strict": True}
        assert (made["metadata"], made["tools"], made["tool_choice"]) == ({"a": "b"}, [], "auto")
        assert (made["truncation"], made["store"]) == ("disabled", False), "as it is done"

    def test_usage(self, app: Starlette) -> None:
        asked = {"model": "tiny", "input": "17+25?"}
        first, second = (ask(app, "POST", PATH, asked).json()["usage"] for _ in range(2))
        assert first["total_tokens"] == first["input_tokens"] + first["output_tokens"]
        assert 0 < first["output_tokens_details"]["reasoning_tokens"] < first["output_tokens"]
        assert second["input_tokens_details"]["cached_tokens"] > 0

    def test_log_probabilities_are_those_of_the_answer(self, app: Starlette) -> None:
        asked = {"model": "tiny", "input": "17+25?", "top_logprobs": 1}
        part = ask(app, "POST", PATH, asked).json()["output"][1]["content"][0]
        assert "".join(score["token"] for score in part["logprobs"]).strip() == part["text"]
        events = ask(app, "POST", PATH, {**asked, "stream": True}).events()
        told = [
            score for event in events if event["type"].endswith("text.delta") for score in event.get("logprobs", [])
        ]
        assert told == part["logprobs"]

    def test_one_without_thinking_has_no_item_for_it(self, app: Starlette) -> None:
        asked = {"model": "tiny", "input": "17+25?", "reasoning": {"effort": "none"}}
        assert [item["type"] for item in ask(app, "POST", PATH, asked).json()["output"]] == ["message"]
        events = ask(app, "POST", PATH, {**asked, "stream": True}).events()
        assert [event["item"]["type"] for event in events if event["type"] == "response.output_item.added"] == [
            "message"
        ]

    def test_a_stream_has_the_items_of_the_whole(self, app: Starlette) -> None:
        asked = {"model": "tiny", "input": "17+25?"}
        whole = ask(app, "POST", PATH, asked).json()["output"]
        last = ask(app, "POST", PATH, {**asked, "stream": True}).events()[-1]["response"]["output"]
        without_ids = [[{**item, "id": ""} for item in output] for output in (whole, last)]
        assert without_ids[0] == without_ids[1]
