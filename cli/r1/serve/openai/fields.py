"""What OpenAI's APIs have in common: messages with parts, how long to think, the form of the answer."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, TypeVar

from r1.serve.errors import ApiError, bad_field
from r1.serve.fields import Fields
from r1.serve.messages import Message
from r1.serve.question import MOST_STOP_TEXTS
from r1.serve.reply_fields import MOST_TOKENS, own_form_in, sampling_in, schema_form_of

if TYPE_CHECKING:
    from r1.forms.form import Form

_EFFORTS = {
    **{"none": "none", "minimal": "low", "low": "low", "medium": "medium", "high": "high"},
    **{"xhigh": "max", "max": "max"},
}
"""OpenAI's words, and r1's."""

_TEXT_PARTS = ("text", "input_text", "output_text", "refusal")
_NO_TOOLS = "are not supported: R1 was not trained to call tools"

_BUDGETS = ("think_budget", "thinking_budget_tokens", "reasoning_budget_tokens")
"""r1's own name, and llama-server's."""

_NO_BUDGET = -1

_Value = TypeVar("_Value")


def messages_in(fields: Fields, name: str = "messages") -> Iterator[Message]:
    """The messages of a list. Raises ApiError if there is none, for parts that are not text, and for those of tools."""
    if name not in fields:
        fields.refuse(name, "is missing")
    for item in fields.objects(name):
        role = item.required_text("role")
        if role in {"tool", "function"} or item.values.get("tool_calls"):
            raise ApiError(400, f"{item.path}: tools {_NO_TOOLS}", param=item.path)
        thinking = item.text("reasoning_content") or item.text("reasoning") or ""
        yield Message(item.path, role, content_of(item), thinking)


def content_of(message: Fields, name: str = "content") -> str:
    """The text of a message: a string, or the texts of its parts with an empty line between them."""
    value = message.values.get(name)
    if not isinstance(value, list):
        return message.text(name) or ""
    texts = []
    for part in message.objects(name):
        kind = part.required_text("type")
        if kind not in _TEXT_PARTS:
            part.refuse("type", f"is {kind!r:.40}, and R1 reads only text")
        texts.append(part.text("refusal" if kind == "refusal" else "text") or "")
    return "\n\n".join(filter(None, texts))


def refuse_tools(fields: Fields) -> None:
    """Raises ApiError if the client offers tools that the model may use."""
    if fields.values.get("tool_choice") == "none":
        return
    for name in ("tools", "functions"):
        if fields.values.get(name):
            fields.refuse(name, _NO_TOOLS)


def refuse_unsupported(fields: Fields) -> None:
    """Raises ApiError for what would make the answer another one, and cannot be done. What only shifts probabilities a
    little is ignored: many clients send it unasked.
    """
    refuse_tools(fields)
    for name in ("frequency_penalty", "presence_penalty"):
        fields.number(name, -2, 2)
    if fields.values.get("logit_bias"):
        fields.refuse("logit_bias", "is not supported; choices, regex and grammar say what an answer may be")
    if set(fields.texts("modalities", 2)) - {"text"}:
        fields.refuse("modalities", "must be text alone; R1 writes only text")


def thinking_in(fields: Fields) -> dict[str, object]:
    """How long to think: a number of tokens, or a word, or only whether to, in the fields of several servers.

    A number counts more than a word, and a word more than a switch.
    """
    reasoning, thinking = fields.object("reasoning"), fields.object("thinking")
    budget = _first(
        *(fields.integer(name, -1, MOST_TOKENS) for name in _BUDGETS),
        reasoning and reasoning.integer("max_tokens", -1, MOST_TOKENS),
        thinking and thinking.integer("budget_tokens", -1, MOST_TOKENS),
    )
    effort = _first(_effort_in(fields, "reasoning_effort"), reasoning and _effort_in(reasoning, "effort"))
    is_switched_off = _is_switched_off(fields, reasoning, thinking)
    if budget is not None:
        return {"effort": "max"} if budget == _NO_BUDGET else {"think_budget": budget}
    if effort is None and is_switched_off:
        effort = "none"
    return {} if effort is None else {"effort": effort}


def _effort_in(fields: Fields, name: str) -> str | None:
    """r1's word for one of OpenAI's."""
    effort = fields.one_of(name, tuple(_EFFORTS))
    return None if effort is None else _EFFORTS[effort]


def _is_switched_off(fields: Fields, reasoning: Fields | None, thinking: Fields | None) -> bool:
    template = fields.object("chat_template_kwargs") or Fields({})
    switches = (
        reasoning and reasoning.flag("enabled"),
        False if thinking and thinking.text("type") == "disabled" else None,
        template.flag("enable_thinking"),
        template.flag("thinking"),
    )
    return False in switches


def _first(*values: _Value | None) -> _Value | None:
    return next((value for value in values if value is not None), None)


def limited_sampling_in(fields: Fields, *limits: str) -> dict[str, object]:
    """As `sampling_in`; a limit of -1 is llama.cpp's and LM Studio's word for none."""
    return sampling_in(fields, *(name for name in limits if fields.values.get(name) != -1))


def stop_texts_in(fields: Fields) -> tuple[str, ...]:
    return fields.texts("stop", MOST_STOP_TEXTS)


def response_form_in(fields: Fields) -> Form | None:
    """The form of `response_format`, or of one of r1's own fields. Raises ApiError."""
    wanted = fields.object("response_format")
    described = wanted and wanted.object("json_schema")
    if wanted is not None and wanted.values.get("type") == "json_schema" and described is None:
        wanted.refuse("json_schema", "is missing; it is an object with the keys name and schema")
    return form_of(fields, wanted, described)


def form_of(fields: Fields, wanted: Fields | None, described: Fields | None) -> Form | None:
    """The form that is `wanted`, with a schema in `described`, or that of one of r1's own fields. Raises ApiError."""
    kind = None if wanted is None else wanted.one_of("type", ("text", "json_object", "json_schema"))
    if wanted is None or kind in {None, "text"}:
        return own_form_in(fields)
    if own_form_in(fields) is not None:
        raise bad_field(wanted.path, "is one form of the answer, and another one is given, too; leave one out")
    if kind == "json_object" or described is None:
        return schema_form_of({"type": "object"}, wanted.path)
    described.text("name")
    schema = described.values.get("schema")
    if not isinstance(schema, dict | bool):
        described.refuse("schema", "is missing; it is a JSON schema")
    return schema_form_of(schema, described.name("schema"))
