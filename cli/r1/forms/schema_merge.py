"""Several schemas that must all hold, as one: `$ref` beside other keywords, `allOf`, a base beside `anyOf`."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import unquote

from r1.forms.schema_text import Located, refusal, shortened

ANNOTATIONS = {
    *("title", "description", "default", "examples", "example", "$comment", "deprecated", "readOnly", "writeOnly"),
    *("$schema", "$defs", "definitions", "discriminator", "$anchor"),
}
"""Keywords that allow and forbid nothing."""

_LOWER_BOUNDS = {"minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties"}
_UPPER_BOUNDS = {"maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties"}
_MAX_STEPS = 5_000


def is_annotation(key: str) -> bool:
    """Whether a keyword allows and forbids nothing. Those that begin with x- are for programs."""
    return key in ANNOTATIONS or key.startswith("x-")


def essential(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The keywords of a schema that are no annotations."""
    return {key: value for key, value in schema.items() if not is_annotation(key)}


def same(first: Any, second: Any) -> bool:
    """Whether two values are the same in JSON: 1 and true are not."""
    return json.dumps(first, sort_keys=True) == json.dumps(second, sort_keys=True)


class References:
    """Follows references inside one schema, and merges what must hold together."""

    def __init__(self, root: Any) -> None:
        self._root = root
        self._steps = 0

    def target(self, ref: str, at: str) -> Any:
        """What a `$ref` refers to. Raises UsageError for another document, and for a place that does not exist."""
        if not isinstance(ref, str) or not (ref == "#" or ref.startswith("#/")):
            shown = shortened(json.dumps(ref))
            raise refusal(at, f"$ref {shown} leads out of the schema; only #/… is followed, nothing is fetched")
        found = self._root
        for step in map(_unescaped, unquote(ref).split("/")[1:]):
            if isinstance(found, dict) and "$id" in found:
                raise refusal(at, f"$ref {shortened(ref)} passes a schema with an $id; remove the $id")
            if isinstance(found, list) and step.isdecimal() and int(step[:9]) < len(found):
                found = found[int(step)]
            elif isinstance(found, dict) and step in found:
                found = found[step]
            else:
                raise refusal(at, f"$ref {shortened(ref)} leads nowhere")
        if not isinstance(found, dict | bool):
            raise refusal(at, f"$ref {shortened(ref)} leads to something that is no schema")
        return found

    def flat(self, schema: Any, seen: frozenset[int] = frozenset()) -> Any:
        """The schema without `$ref` and `allOf` at its top: what they say is merged into it.

        Raises UsageError where that cannot be said in one schema, or where a reference leads back to itself.
        """
        if isinstance(schema, bool) or not {"$ref", "allOf"} & schema.keys():
            return schema
        self._steps += 1
        if self._steps > _MAX_STEPS:
            raise refusal(schema.at, "too many references and allOf; make the schema simpler")
        if id(schema) in seen:
            raise refusal(schema.at, "$ref or allOf leads back to itself, so no answer is ever finished")
        seen |= {id(schema)}
        parts = [*([self.target(schema["$ref"], schema.at)] if "$ref" in schema else []), *schema.get("allOf", [])]
        merged: Any = Located({key: schema[key] for key in schema if key not in {"$ref", "allOf"}}, schema.at)
        for part in parts:
            merged = merge(merged, self.flat(part, seen))
        return merged


def merge(base: Any, part: Any) -> Any:
    """One schema for two that must both hold. Raises UsageError where the keywords cannot be brought together."""
    if isinstance(base, bool) or isinstance(part, bool):
        return (part if base else False) if isinstance(base, bool) else (base if part else False)
    if not essential(part):
        return base
    if not essential(base):
        return Located({**base, **part}, part.at)
    _refuse_interplay(base, part)
    merged = Located({**part, **base}, base.at)
    for key in base.keys() & part.keys():
        if not is_annotation(key) and not same(base[key], part[key]):
            merged[key] = _combined(key, base[key], part[key], part.at)
    _close(base, part, merged)
    return merged


def _refuse_interplay(base: Located, part: Located) -> None:
    for key in ("unevaluatedProperties", "unevaluatedItems"):
        if key in part:
            raise refusal(
                part.at, f"{key} inside allOf, anyOf or $ref is not supported; put it outside, or leave it out"
            )
    if ("prefixItems" in base and "items" in part) or ("items" in base and "prefixItems" in part):
        raise refusal(
            part.at, "items and prefixItems in different parts of a schema are not supported; put them together"
        )


def _combined(key: str, first: Any, second: Any, at: str) -> Any:
    """The value of a keyword that both schemas have, with different values."""
    if key in _LOWER_BOUNDS:
        return max(first, second)
    if key in _UPPER_BOUNDS:
        return min(first, second)
    combine = _COMBINED.get(key)
    if combine is None:
        raise refusal(at, f"{key} is set twice, in allOf, anyOf or $ref and beside it; put it in one place")
    return combine(first, second, at)


def _all_of(first: Any, second: Any, at: str) -> Located:
    return Located({"allOf": [first, second]}, at)


def _properties(first: Any, second: Any, at: str) -> dict[str, Any]:
    both = {name: _all_of(first[name], second[name], f"{at}/properties/{name}") for name in first if name in second}
    return {**first, **second, **both}


def _types(first: Any, second: Any, _: str) -> list[str]:
    return [kind for kind in types_of(first) if kind in types_of(second)]


def _values(first: Any, second: Any, _: str) -> list[Any]:
    return [value for value in first if any(same(value, other) for other in second)]


_COMBINED: dict[str, Callable[[Any, Any, str], Any]] = {
    "properties": _properties,
    "required": lambda first, second, _: [*first, *(name for name in second if name not in first)],
    "type": _types,
    "enum": _values,
    "additionalProperties": _all_of,
    "items": _all_of,
    "uniqueItems": lambda first, second, _: first or second,
}


def types_of(value: str | list[str]) -> list[str]:
    """The types of a `type`; a number may be an integer too."""
    kinds = [value] if isinstance(value, str) else list(value)
    return [*kinds, *(["integer"] if "number" in kinds and "integer" not in kinds else [])]


def _close(base: Located, part: Located, merged: Located) -> None:
    """`additionalProperties` of one schema is also about the properties that only the other one lists."""
    listed: dict[str, Any] = dict(merged.get("properties", {}))
    for own, other in ((base, part), (part, base)):
        extra = own.get("additionalProperties", True)
        for name in other.get("properties", {}).keys() - own.get("properties", {}).keys():
            if extra is not True:
                listed[name] = _all_of(other["properties"][name], extra, f"{own.at}/additionalProperties")
    if listed:
        merged["properties"] = listed


def _unescaped(step: str) -> str:
    return step.replace("~1", "/").replace("~0", "~")
