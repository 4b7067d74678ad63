"""What OpenAI's APIs have in common: messages with parts, how to sample, how long to think, the form of the answer."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from r1.engine.sampling import MAX_SEED
from r1.forms.form import form_in
from r1.serve.errors import ApiError, api_error
from r1.serve.fields import Fields
from r1.serve.messages import Message
from r1.serve.question import MOST_STOP_TEXTS
from r1_quantize.errors import UsageError

if TYPE_CHECKING:
    from r1.forms.form import Form

MOST_TOKENS = 1 << 30
_INT64 = 1 << 63
_LEAST_TOP_P = 1e-9  # 0 is allowed, and means the likeliest token

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


def sampling_in(fields: Fields, *limits: str) -> dict[str, object]:
    """The settings that a client wants to have for its request; of the names of token limits, the first one counts."""
    changed: dict[str, object] = {}
    limit = next((name for name in limits if name in fields), None)
    if limit is not None:
        changed["max_tokens"] = fields.integer(limit, 1, MOST_TOKENS)
    if "temperature" in fields:
        changed["temp"] = fields.number("temperature", 0, 10)
    if (top_p := fields.number("top_p", 0, 1)) is not None:
        changed["top_p"] = max(top_p, _LEAST_TOP_P)
    seed = fields.integer("seed", -_INT64, _INT64 * 2 - 1)
    if seed is not None and seed != -1:  # -1 is llama.cpp's word for a random one
        changed["seed"] = seed % (MAX_SEED + 1)
    return changed


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


def own_form_in(fields: Fields) -> Form | None:
    """The form that one of r1's own fields asks for: `choices`, `regex` or `grammar`. Raises ApiError."""
    try:
        return form_in({name: fields.values.get(name) for name in ("choices", "regex", "grammar")})
    except UsageError as exc:
        raise api_error(exc) from exc


def schema_form_of(schema: object, param: str) -> Form:
    """Raises ApiError, which names the field, for a schema that cannot be used."""
    try:
        form = form_in({"schema": schema})
    except UsageError as exc:
        raise ApiError(400, str(exc).replace('"schema"', param, 1), param=param) from exc
    assert form is not None, "a schema is given"
    return form


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
