"""Values for the fields of a described JSON object, to find out whether a program reads them as they are described."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from jsonschema import Draft202012Validator

Schema = Mapping[str, Any]

_VALUES: tuple[Any, ...] = (None, True, False, 0, 1, 1.5, -1, "x", "", [], ["x"], [5], {}, {"x": 5})
_BRANCHES = ("anyOf", "oneOf")


@dataclass(frozen=True, slots=True)
class Probe:
    """A body with one value at a place, such as `messages[].role`. `is_right`: the description allows it."""

    place: str
    body: Any
    value: Any
    is_right: bool

    def __str__(self) -> str:
        return f"{self.place} = {self.value!s:.60}, {'right' if self.is_right else 'wrong'}"


def resolved(schema: Any, document: Schema) -> Any:
    """The schema without references; none of them may go in a circle."""
    if isinstance(schema, list):
        return [resolved(each, document) for each in schema]
    if not isinstance(schema, Mapping):
        return schema
    if "$ref" not in schema:
        return {name: resolved(value, document) for name, value in schema.items()}
    target: Any = document
    for name in schema["$ref"].removeprefix("#/").split("/"):
        target = target[name]
    rest = {name: value for name, value in schema.items() if name != "$ref"}
    return resolved({**target, **rest}, document)


def places(schema: Schema) -> Iterator[str]:
    """All fields of an object, at any depth."""
    for path, _ in _fields(schema):
        yield _name(path)


def open_places(schema: Schema) -> Iterator[str]:
    """The fields that may have objects of any kind."""
    for path, found in _fields(schema):
        if not list(_fields(found)) and Draft202012Validator(found).is_valid({"x": "x"}):
            yield _name(path)


def probes(schema: Schema, examples: Mapping[str, Any]) -> Iterator[Probe]:
    """Bodies that are right but for one value. `examples` has right values for fields that need particular ones,
    and for the whole body, under an empty name.
    """
    validator = Draft202012Validator(schema)
    for path, found in _fields(schema):
        name = _name(path)
        values = [*_values(found), *([examples[name]] if name in examples else [])]
        for value in values:
            body = _with(schema, path, value, examples)
            yield Probe(name, body, value, validator.is_valid(body))


def _fields(schema: Schema, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Schema]]:
    """Each field once for every branch that has it, with its schema there."""
    for name, value in schema.get("properties", {}).items():
        yield (*path, name), value
        yield from _fields(value, (*path, name))
    if "items" in schema:
        yield from _fields(schema["items"], (*path, "[]"))
    for word in _BRANCHES:
        for branch in schema.get(word, ()):
            yield from _fields(branch, path)


def _name(path: tuple[str, ...]) -> str:
    return ".".join(path).replace(".[]", "[]")


def _values(schema: Schema) -> Iterator[Any]:
    yield from _VALUES
    yield from schema.get("enum", ())
    if "const" in schema:
        yield schema["const"]
    for word, step in (("minimum", -1), ("maximum", 1)):
        if word in schema:
            yield from (schema[word], schema[word] + step)
    for branch in (schema, *schema.get("anyOf", ())):
        if "maxItems" in branch and branch.get("items", {}).get("type") == "string":
            yield from (["x"] * branch["maxItems"], ["x"] * (branch["maxItems"] + 1))


def _with(schema: Schema, path: tuple[str, ...], value: Any, examples: Mapping[str, Any], at: str = "") -> Any:
    """The least right value of the schema, but with `value` at the end of the path."""
    if not path:
        return value
    step, rest = path[0], path[1:]
    for branch in _ways(schema):
        if step == "[]" and "items" in branch:
            return [_with(branch["items"], rest, value, examples, f"{at}[]")]
        if step in branch.get("properties", {}):
            name = f"{at}.{step}" if at else step
            inner = _with(branch["properties"][step], rest, value, examples, name)
            return {**_least(branch, examples, at), step: inner}
    raise AssertionError(f"the description has no {step!r} at {at!r}")


def _ways(schema: Schema) -> Iterator[Schema]:
    yield schema
    for word in _BRANCHES:
        for branch in schema.get(word, ()):
            yield from _ways(branch)


def _least(schema: Schema, examples: Mapping[str, Any], at: str = "") -> Any:
    """The smallest right value."""
    if at in examples:
        return examples[at]
    if "const" in schema:
        return schema["const"]
    if "enum" in schema:
        return next(value for value in schema["enum"] if value is not None)
    for word in _BRANCHES:
        if word in schema and "type" not in schema:
            return _least(next(each for each in schema[word] if each.get("type") != "null"), examples, at)
    kind = schema.get("type")
    return _least_of(kind[0] if isinstance(kind, list) else kind, schema, examples, at)


def _least_of(kind: str | None, schema: Schema, examples: Mapping[str, Any], at: str) -> Any:
    if kind == "object":
        names, fields = schema.get("required", ()), schema.get("properties", {})
        return {name: _least(fields.get(name, {}), examples, f"{at}.{name}" if at else name) for name in names}
    if kind == "array":
        return [_least(schema["items"], examples, f"{at}[]")] if schema.get("minItems") else []
    simple = {"integer": schema.get("minimum", 0), "number": schema.get("minimum", 0), "boolean": False}
    return simple.get(kind or "", "x")
