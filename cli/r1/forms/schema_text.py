"""Reading a JSON Schema: from a file or from the command line, within limits, checked by `jsonschema`, with pointers.

Nothing is ever fetched: a schema that refers to another document is refused.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from r1_quantize.errors import UsageError

MAX_SIZE = 64 * 1024
"""Bytes of a schema."""

_MAX_DEPTH = 100  # of objects and arrays; `jsonschema` calls itself some times for each
_MAX_DIGITS = 310  # of a whole number; the largest double has 309
_LONGEST = 120  # characters of another program's message in ours

DIALECTS = {
    "https://json-schema.org/draft/2020-12/schema": "Draft202012Validator",
    "https://json-schema.org/draft/2019-09/schema": "Draft201909Validator",
    "http://json-schema.org/draft-07/schema": "Draft7Validator",
    "http://json-schema.org/draft-06/schema": "Draft6Validator",
}
"""The values of `$schema` that are known, and the classes of `jsonschema` for them."""


class Located(dict[str, Any]):
    """An object of a schema that knows where it stands, as a JSON pointer such as `#/properties/name`."""

    def __init__(self, content: Mapping[str, Any], at: str) -> None:
        super().__init__(content)
        self.at = at


def refusal(at: str, problem: str) -> UsageError:
    """The error for a place in a schema."""
    place = at if len(at) <= _LONGEST else f"{at[:20]}…{at[-80:]}"
    return UsageError(f"the schema cannot be used: {place}: {problem}")


class NothingAllowed(UsageError):
    """No value is allowed at a place in a schema."""


def nothing(at: str, problem: str = "no value is allowed") -> NothingAllowed:
    """The error for a place where no value is allowed."""
    return NothingAllowed(str(refusal(at, problem)))


def read_schema(text: str) -> Any:
    """The schema in a text that begins with `{`, or in the file that the text names; with pointers.

    Raises UsageError where it cannot be read, is no schema, or is one that is too large.
    """
    return located(_checked(_parsed(text if text.lstrip().startswith("{") else _file(text))))


def schema_of(value: object) -> Any:
    """The schema that a value from JSON is: an object, true or false; or the JSON of one, as a text."""
    if isinstance(value, str):
        return located(_checked(_parsed(value)))
    try:
        text = json.dumps(value)
    except (RecursionError, TypeError, ValueError) as exc:
        raise UsageError(f"the schema is not JSON: {shortened(str(exc))}") from exc
    return located(_checked(_parsed(text)))


def _file(name: str) -> str:
    if not name.strip():
        raise UsageError("the schema is empty; give a file, or JSON that begins with {")
    if name == "-":
        raise UsageError("a schema is not read from stdin; give a file, or JSON that begins with {")
    try:
        content = read_file(Path(name), MAX_SIZE)
    except UsageError as exc:
        if name.lstrip()[:1] in {"[", '"'}:
            raise UsageError("this is not a JSON Schema, which is an object and begins with {") from exc
        raise
    if content is None:
        raise UsageError(f"the schema in {name} has more than {MAX_SIZE:,} bytes; make it smaller")
    return content


def read_file(path: Path, limit: int) -> str | None:
    """The text of a file; None if it has more bytes than `limit`. Raises UsageError if it cannot be read as UTF-8."""
    try:
        with path.open("rb") as file:
            content = file.read(limit + 1)
        return content.decode("utf-8-sig") if len(content) <= limit else None
    except UnicodeDecodeError as exc:
        raise UsageError(f"{path}: is not UTF-8 (byte {exc.start + 1}); save it as UTF-8") from exc
    except (OSError, ValueError) as exc:  # ValueError: a NUL in the name
        reason = getattr(exc, "strerror", None) or str(exc)
        raise UsageError(f"{shortened(str(path))}: cannot be read ({reason}); check the name of the file") from exc


def _parsed(text: str) -> Any:
    if len(text.encode("utf-8", "surrogatepass")) > MAX_SIZE:
        raise UsageError(f"the schema has more than {MAX_SIZE:,} bytes; make it smaller")
    try:
        return parse_json(text, object_pairs_hook=_without_duplicates)
    except json.JSONDecodeError as exc:
        raise UsageError(f"the schema is not JSON: {exc}") from exc
    except RecursionError as exc:
        raise UsageError(_too_deep()) from exc
    except ValueError as exc:
        raise UsageError(f"the schema is not JSON: {shortened(str(exc))}") from exc


def parse_json(text: str, **options: Any) -> Any:
    """The value of a JSON text. Raises ValueError for what Python reads and JSON has not: NaN and infinity."""
    return json.loads(text, parse_constant=_no_constant, parse_float=_finite, parse_int=_whole, **options)


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is no number of JSON")


def _finite(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise ValueError(f"a number is too large: {shortened(text)}")
    return value


def _whole(text: str) -> int:
    if len(text) > _MAX_DIGITS:
        raise ValueError(f"a number is too large: {shortened(text)}")
    return int(text)


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"an object has {shortened(json.dumps(twice))} twice")
    return found


def _too_deep() -> str:
    return f"the schema is nested more than {_MAX_DEPTH} levels deep; make it flatter, with $ref"


def _checked(schema: Any) -> Any:
    """The schema, if `jsonschema` takes it for one."""
    if not isinstance(schema, dict | bool):
        raise UsageError("this is not a JSON Schema, which is an object and begins with {")
    if _depth(schema) > _MAX_DEPTH:
        raise UsageError(_too_deep())
    from jsonschema.exceptions import SchemaError

    try:
        validator_class(schema).check_schema(schema)
    except SchemaError as exc:
        at = pointer(list(exc.absolute_path))
        raise UsageError(f"this is not a JSON Schema: {at}: {shortened(exc.message)}") from exc
    except RecursionError as exc:
        raise UsageError(_too_deep()) from exc
    return schema


def validator_class(schema: Any) -> Any:
    """The class of `jsonschema` for the dialect of a schema. Raises UsageError for one that is not known."""
    import jsonschema

    dialect = schema.get("$schema") if isinstance(schema, dict) else None
    if dialect is None:
        return jsonschema.Draft202012Validator
    name = DIALECTS.get(dialect.rstrip("#")) if isinstance(dialect, str) else None
    if name is None:
        shown = shortened(json.dumps(dialect))
        raise refusal("#/$schema", f"{shown} is not a known dialect; leave it out for draft 2020-12")
    return getattr(jsonschema, name)


def _depth(value: Any) -> int:
    """How deeply objects and arrays are nested."""
    level, depth = [value], 0
    while level:
        level = [
            child
            for one in level
            if isinstance(one, dict | list)
            for child in (one.values() if isinstance(one, dict) else one)
        ]
        depth += 1
    return depth


def located(value: Any, at: str = "#") -> Any:
    """The same value, with objects that know their places."""
    if isinstance(value, dict):
        return Located({key: located(inner, f"{at}/{_escaped(key)}") for key, inner in value.items()}, at)
    if isinstance(value, list):
        return [located(inner, f"{at}/{index}") for index, inner in enumerate(value)]
    return value


def pointer(path: list[str | int]) -> str:
    """The JSON pointer of a path of keys and indices."""
    return "/".join(["#", *(_escaped(str(step)) for step in path)])


def _escaped(key: str) -> str:
    """RFC 6901."""
    return key.replace("~", "~0").replace("/", "~1")


def shortened(text: str) -> str:
    """One line of at most 120 characters."""
    line = " ".join(text.split())
    return line if len(line) <= _LONGEST else f"{line[: _LONGEST - 1]}…"
