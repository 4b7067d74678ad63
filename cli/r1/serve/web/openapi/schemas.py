"""Short ways to write the JSON Schemas of the description: of what is read, and of what is sent."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

Schema = dict[str, Any]

JSON = "application/json"
EVENTS = "text/event-stream"

_EMPTY: tuple[Any, ...] = (None, False, 0, "", [], {})
_UNNAMED = "message"  # what an event without a name is called
_REFS = "#/components/schemas/"


def ref(name: str) -> Schema:
    return {"$ref": f"{_REFS}{name}"}


# What is read: null is as good as no field, and unknown fields are ignored


def optional(kind: str, what: str, **limits: object) -> Schema:
    return {"type": [kind, "null"], **limits, **_described(what)}


def text(what: str = "") -> Schema:
    return optional("string", what)


def flag(what: str = "") -> Schema:
    return optional("boolean", what)


def whole(least: int, most: int, what: str = "") -> Schema:
    return optional("integer", what, minimum=least, maximum=most)


def number(least: float, most: float, what: str = "") -> Schema:
    return optional("number", what, minimum=least, maximum=most)


def one_of(choices: Iterable[str], what: str = "") -> Schema:
    return {"enum": [*choices, None], **_described(what)}


def texts(most: int, what: str = "") -> Schema:
    """A text, or a list of at most `most`."""
    return {"anyOf": [text(), optional("array", "", items={"type": "string"}, maxItems=most)], **_described(what)}


def objects(item: Schema, what: str = "") -> Schema:
    return optional("array", what, items=item)


def fields(values: dict[str, Schema], what: str = "", required: Iterable[str] = ()) -> Schema:
    """An object in a body, which may be missing."""
    return optional("object", what, properties=values, **_required(required))


def body(values: dict[str, Schema], required: Iterable[str] = ()) -> Schema:
    """An object that must be there."""
    return {"type": "object", "properties": values, **_required(required)}


def anything(what: str) -> Schema:
    return {"description": what}


def nothing(what: str) -> Schema:
    """A field that clients may send only without a value."""
    return {"type": "null", "description": what}


def empty(what: str) -> Schema:
    """A field that clients may send only empty."""
    return {"enum": list(_EMPTY), "description": what}


# What is sent: every field is always there, except those that are named

STRING: Schema = {"type": "string"}
INTEGER: Schema = {"type": "integer"}
COUNT: Schema = {"type": "integer", "minimum": 0}
AMOUNT: Schema = {"type": "number", "minimum": 0}
NUMBER: Schema = {"type": "number"}
FLAG: Schema = {"type": "boolean"}
NULL: Schema = {"type": "null"}


def made(values: dict[str, Schema], optional: Iterable[str] = (), what: str = "") -> Schema:
    """An object without further fields."""
    always = [name for name in values if name not in set(optional)]
    return {
        "type": "object",
        "properties": values,
        **_required(always),
        "additionalProperties": False,
        **_described(what),
    }


def made_list(item: Schema) -> Schema:
    return {"type": "array", "items": item}


def or_null(schema: Schema) -> Schema:
    if isinstance(schema.get("type"), str):
        return {**schema, "type": [schema["type"], "null"]}
    return {"anyOf": [schema, NULL]}


def constant(value: object) -> Schema:
    return {"const": value}


def word(*words: str | None) -> Schema:
    return {"enum": [*words]}


def server_sent(*data: Schema, names: Iterable[str] = (), ends_with: str | None = None) -> Schema:
    """One event of a stream: its data is JSON of one of these schemas. The last one may be a mark, `ends_with`."""
    content = {"type": "string", "contentMediaType": JSON, "contentSchema": {"anyOf": [*data]}}
    value = content if ends_with is None else {"anyOf": [constant(ends_with), content]}
    if not names:
        return made({"event": constant(_UNNAMED), "data": value}, optional=["event"])
    return made({"event": word(*names), "data": value})


def _described(what: str) -> Schema:
    return {"description": what} if what else {}


def _required(names: Iterable[str]) -> Schema:
    required = list(names)
    return {"required": required} if required else {}
