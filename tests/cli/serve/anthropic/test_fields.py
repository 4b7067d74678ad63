"""Bodies of Anthropic's requests, as questions."""

from __future__ import annotations

from typing import Any

import pytest

from r1.engine.prompt import Beginning, Turn
from r1.serve.anthropic.fields import message_request_in, question_in
from r1.serve.errors import ApiError
from r1.serve.fields import Fields

HELLO = [{"role": "user", "content": "Hello"}]
YES_OR_NO = {"type": "object", "properties": {"answer": {"enum": ["yes", "no"]}}}


def body(**fields: object) -> Fields:
    return Fields({"model": "tiny", "max_tokens": 100, "messages": HELLO, **fields})


def text(value: str, **fields: object) -> dict[str, object]:
    return {"type": "text", "text": value, **fields}


def refusal(fields: Fields) -> ApiError:
    with pytest.raises(ApiError) as caught:
        message_request_in(fields)
    assert caught.value.status == 400
    return caught.value


@pytest.mark.parametrize(
    "system",
    ["Be brief.", [text("Be brief.", cache_control={"type": "ephemeral"})]],
)
def test_system_goes_in_front_of_the_first_message_of_the_user(system: object) -> None:
    dialogue = question_in(body(system=system)).dialogue
    assert dialogue is not None
    assert (dialogue.prompt, dialogue.has_instructions) == ("Be brief.\n\nHello", True)


def test_blocks_are_texts_with_an_empty_line_between_them() -> None:
    dialogue = question_in(body(messages=[{"role": "user", "content": [text("One"), text("Two")]}])).dialogue
    assert dialogue is not None
    assert dialogue.prompt == "One\n\nTwo"


def test_thinking_of_earlier_turns_is_taken_with_any_signature() -> None:
    answered = [
        {"type": "thinking", "thinking": "Hm.", "signature": "EqoBCkgIARABGAIiQ"},
        {"type": "redacted_thinking", "data": "EmwKAhgBEgy3va3pzix"},
        text("Hi"),
    ]
    messages = [*HELLO, {"role": "assistant", "content": answered}, {"role": "user", "content": "Bye"}]
    dialogue = question_in(body(messages=messages)).dialogue
    assert dialogue is not None
    assert (dialogue.turns, dialogue.prompt) == ((Turn("Hello", "Hm.", "Hi"),), "Bye")


@pytest.mark.parametrize(
    ("content", "beginning"),
    [
        ("The answer is (", Beginning("", "The answer is (")),
        ([{"type": "thinking", "thinking": "Hm.", "signature": ""}, text("So")], Beginning("Hm.", "So")),
        ([{"type": "thinking", "thinking": "Hm.", "signature": ""}], Beginning("Hm.")),
    ],
)
def test_an_assistants_message_at_the_end_begins_the_reply(content: object, beginning: Beginning) -> None:
    dialogue = question_in(body(messages=[*HELLO, {"role": "assistant", "content": content}])).dialogue
    assert dialogue is not None
    assert dialogue.beginning == beginning


@pytest.mark.parametrize(
    ("fields", "changed", "shown"),
    [
        ({}, {}, "no"),
        ({"thinking": {"type": "enabled", "budget_tokens": 2048}}, {"think_budget": 2048}, "yes"),
        ({"thinking": {"type": "enabled"}}, {}, "yes"),
        ({"thinking": {"type": "adaptive"}}, {}, "yes"),
        ({"thinking": {"type": "adaptive", "display": "summarized"}}, {}, "yes"),
        ({"thinking": {"type": "adaptive", "display": "omitted"}}, {}, "empty"),
        ({"thinking": {"type": "disabled"}}, {"effort": "none"}, "no"),
        ({"thinking": {"type": "between_tools"}}, {"effort": "none"}, "no"),
        ({"output_config": {"effort": "low"}}, {"effort": "low"}, "no"),
        ({"output_config": {"effort": "xhigh"}, "thinking": {"type": "adaptive"}}, {"effort": "max"}, "yes"),
        (
            {"output_config": {"effort": "low"}, "thinking": {"type": "enabled", "budget_tokens": 9}},
            {"think_budget": 9},
            "yes",
        ),
        ({"output_config": {"effort": "low"}, "thinking": {"type": "disabled"}}, {"effort": "none"}, "no"),
    ],
)
def test_how_long_to_think_and_whether_to_show_it(
    fields: dict[str, Any], changed: dict[str, object], shown: str
) -> None:
    wanted = message_request_in(body(**fields))
    assert wanted.question.changed == {"max_tokens": 100, **changed}
    assert wanted.shown == shown


def test_sampling_and_stop_sequences() -> None:
    question = question_in(body(temperature=1, top_p=0.9, top_k=40, stop_sequences=["\n\n", "END"]))
    assert question.changed == {"max_tokens": 100, "temp": 1.0, "top_p": 0.9}
    assert question.stop_texts == ("\n\n", "END")


@pytest.mark.parametrize(
    "fields",
    [
        {"output_config": {"format": {"type": "json_schema", "schema": YES_OR_NO}}},
        {"output_format": {"type": "json_schema", "schema": YES_OR_NO}},
    ],
)
def test_the_answer_can_be_in_the_form_of_a_schema(fields: dict[str, Any]) -> None:
    form = question_in(body(**fields)).form
    assert form is not None
    assert form.problem('{"answer": "yes"}') is None
    assert form.problem('{"answer": "maybe"}') is not None


def test_fields_that_change_nothing_are_ignored() -> None:
    fields = {
        "metadata": {"user_id": "u"},
        "service_tier": "auto",
        "cache_control": {"type": "ephemeral"},
        "tools": [],
        "made_up": 1,
    }
    assert question_in(body(**fields)) == question_in(body())


def test_tools_that_must_not_be_used_do_not_matter() -> None:
    assert question_in(body(tools=[{"name": "now"}], tool_choice={"type": "none"})) == question_in(body())


def test_a_count_of_tokens_needs_no_limit() -> None:
    assert question_in(Fields({"messages": HELLO})).changed == {}


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"max_tokens": None}, "max_tokens"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": "100"}, "max_tokens"),
        ({"temperature": "hot"}, "temperature"),
        ({"top_k": 0.5}, "top_k"),
        ({"stream": "yes"}, "stream"),
        ({"system": 5}, "system"),
        ({"system": [{"type": "image"}]}, "system[0].type"),
        ({"messages": "Hello"}, "messages"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "tool", "content": "5"}]}, "messages[0].role"),
        ({"messages": [{"content": "5"}]}, "messages[0].role"),
        ({"messages": [{"role": "assistant", "content": "Hi"}]}, "messages[0]"),
        ({"messages": [{"role": "user", "content": ["Hello"]}]}, "messages[0].content[0]"),
        ({"messages": [{"role": "user", "content": [{"text": "Hello"}]}]}, "messages[0].content[0].type"),
        ({"messages": [{"role": "user", "content": [{"type": "text", "text": 5}]}]}, "messages[0].content[0].text"),
        ({"stop_sequences": [5]}, "stop_sequences"),
        ({"stop_sequences": ["x"] * 100}, "stop_sequences"),
        ({"thinking": "yes"}, "thinking"),
        ({"thinking": {}}, "thinking.type"),
        ({"thinking": {"type": "always"}}, "thinking.type"),
        ({"thinking": {"type": "enabled", "budget_tokens": -1}}, "thinking.budget_tokens"),
        ({"thinking": {"type": "enabled", "budget_tokens": "much"}}, "thinking.budget_tokens"),
        ({"thinking": {"type": "adaptive", "display": "all"}}, "thinking.display"),
        ({"thinking": {"type": "disabled", "budget_tokens": "much"}}, "thinking.budget_tokens"),
        ({"thinking": {"type": "disabled"}, "output_config": {"effort": "minimal"}}, "output_config.effort"),
        ({"output_config": {"effort": "minimal"}}, "output_config.effort"),
        ({"output_config": {"format": {"type": "xml"}}}, "output_config.format.type"),
        ({"output_config": {"format": {"type": "json_schema"}}}, "output_config.format.schema"),
        (
            {"output_config": {"format": {"type": "json_schema", "schema": {"type": 5}}}},
            "output_config.format.schema",
        ),
        ({"output_config": {"format": {"type": "json_schema", "schema": True}}, "regex": "a"}, "output_config"),
        ({"tools": [{"name": "now"}]}, "tools"),
        ({"mcp_servers": [{"url": "https://mcp.example"}]}, "mcp_servers"),
    ],
)
def test_a_field_that_cannot_be_used_is_named(fields: dict[str, Any], param: str) -> None:
    found = refusal(body(**fields))
    assert found.param == param
    assert param in found.message


@pytest.mark.parametrize("kind", ["tool_use", "tool_result", "server_tool_use", "web_search_tool_result"])
def test_blocks_of_tools_are_refused_for_what_they_are(kind: str) -> None:
    found = refusal(body(messages=[{"role": "user", "content": [{"type": kind}]}]))
    assert "R1 was not trained to call tools" in found.message


@pytest.mark.parametrize("kind", ["image", "document", "search_result", "container_upload"])
def test_only_text_can_be_read(kind: str) -> None:
    found = refusal(body(messages=[{"role": "user", "content": [{"type": kind}]}]))
    assert "R1 reads only text" in found.message
