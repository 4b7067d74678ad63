"""What OpenAI's APIs have in common: messages with parts, how long to think, the form of the answer."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from r1.serve.errors import ApiError
from r1.serve.fields import Fields
from r1.serve.messages import Message
from r1.serve.question import MOST_STOP_TEXTS
from r1.serve.reply_fields import MOST_TOKENS, own_form_in, schema_form_of

if TYPE_CHECKING:
    from r1.forms.form import Form

_EFFORTS = {
    **{"none": "none", "minimal": "low", "low": "low", "medium": "medium", "high": "high"},
    **{"xhigh": "max", "max": "max"},
}
"""OpenAI's words, and r1's."""

_TEXT_PARTS = ("text", "input_text", "output_text", "refusal")
_NO_TOOLS = "are not supported: R1 was not trained to call tools"


def messages_in(fields: Fields, name: str = "messages") -> Iterator[Message]:
    """The messages of a list. Raises ApiError for parts that are not text, and for those of tools."""
    for item in fields.objects(name):
        path = item.name("")[:-1]
        role = item.required_text("role")
        if role in {"tool", "function"} or item.values.get("tool_calls"):
            raise ApiError(400, f"{path}: tools {_NO_TOOLS}", param=path)
        thinking = item.text("reasoning_content") or item.text("reasoning") or ""
        yield Message(path, role, content_of(item), thinking)


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


def thinking_in(fields: Fields) -> dict[str, object]:
    """How long to think: `think_budget` in tokens, or a word."""
    budget = fields.integer("think_budget", 0, MOST_TOKENS)
    effort = fields.text("reasoning_effort")
    if budget is not None:
        return {"think_budget": budget}
    return {} if effort is None else {"effort": effort_of(fields, "reasoning_effort", effort)}


def effort_of(fields: Fields, name: str, effort: str) -> str:
    """r1's word for one of OpenAI's. Raises ApiError."""
    if effort not in _EFFORTS:
        fields.refuse(name, f"must be one of {', '.join(_EFFORTS)}, not {effort!r:.40}")
    return _EFFORTS[effort]


def stop_texts_in(fields: Fields) -> tuple[str, ...]:
    return fields.texts("stop", MOST_STOP_TEXTS)


def response_form_in(fields: Fields) -> Form | None:
    """The form of `response_format`, or of one of r1's own fields. Raises ApiError."""
    wanted = fields.object("response_format")
    kind = None if wanted is None else wanted.one_of("type", ("text", "json_object", "json_schema"))
    if wanted is None or kind in {None, "text"}:
        return own_form_in(fields)
    if own_form_in(fields) is not None:
        fields.refuse("response_format", "is one form of the answer, and another one is given, too; leave one out")
    if kind == "json_object":
        return schema_form_of({"type": "object"}, "response_format")
    described = wanted.object("json_schema")
    if described is None or not isinstance(described.values.get("schema"), dict | bool):
        wanted.refuse("json_schema", "has no schema; it is an object with the keys name and schema")
    return schema_form_of(described.values["schema"], described.name("schema"))
