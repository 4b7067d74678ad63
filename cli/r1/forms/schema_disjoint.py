"""Whether no value can be valid by two schemas at once, as `oneOf` demands; only what is easily proved."""

from __future__ import annotations

from typing import Any

from r1.forms.schema_merge import References, same, types_of

_MAX_DEPTH = 10
_ALL_TYPES = ["object", "array", "string", "number", "integer", "boolean", "null"]


def are_disjoint(first: Any, second: Any, references: References, depth: int = 0) -> bool:
    """True if it is certain that no value is valid by both schemas: by their types, values, or a required property."""
    first, second = references.flat(first), references.flat(second)
    if first is False or second is False:
        return True
    if first is True or second is True or depth > _MAX_DEPTH:
        return False
    for one, other in ((first, second), (second, first)):
        for key in ("anyOf", "oneOf"):
            if key in one and all(are_disjoint(branch, other, references, depth + 1) for branch in one[key]):
                return True
    if not set(_types(first)) & set(_types(second)):
        return True
    values, others = _values(first), _values(second)
    if values is not None and others is not None:
        return not any(same(value, other) or value == other for value in values for other in others)
    return _differ_in_a_property(first, second, references, depth)


def _differ_in_a_property(first: Any, second: Any, references: References, depth: int) -> bool:
    """Whether both are objects that cannot agree on a property that one of them requires."""
    if _types(first) != ["object"] or _types(second) != ["object"]:
        return False
    for one, other in ((first, second), (second, first)):
        for name in one.get("required", []):
            own, others = one.get("properties", {}).get(name, True), other.get("properties", {})
            if name not in others and other.get("additionalProperties") is False:
                return True
            if (
                name in others
                and name in other.get("required", [])
                and are_disjoint(own, others[name], references, depth + 1)
            ):
                return True
    return False


def _types(schema: Any) -> list[str]:
    values = _values(schema)
    if values is not None:
        return sorted({kind for value in values for kind in _types_of_value(value)})
    return types_of(schema["type"]) if "type" in schema else _ALL_TYPES


def _types_of_value(value: Any) -> list[str]:
    if isinstance(value, bool):
        return ["boolean"]
    if isinstance(value, int | float):
        return ["integer", "number"]
    return (
        ["object" if isinstance(value, dict) else "array" if isinstance(value, list) else "string"]
        if value is not None
        else ["null"]
    )


def _values(schema: Any) -> list[Any] | None:
    """The values of `const` or `enum`; None if any others are allowed."""
    if "const" in schema:
        return [schema["const"]]
    values: list[Any] | None = schema.get("enum")
    return values
