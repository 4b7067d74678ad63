"""A JSON Schema as the binding's converter gets it right; what cannot be expressed is refused by name and place.

What is generated is part of what the schema allows, never more. Where a schema leaves something open, the narrower
reading is written: an object has the properties that are listed, in their order, and no others, unless it lists none;
an array with `prefixItems` has just these items; a string of a `format` has its usual spelling.

In a prepared schema every node has one of these shapes, and nothing else:

    {"$ref": "#/$defs/refN"}                            {"anyOf": [node, …]}      {"enum": [value, …]}
    {"type": "object", "properties": {name: node, …}, "required": […]}            {"type": "value"}: any JSON
    {"type": "object", "additionalProperties": node}    {"type": "object"}: any object
    {"type": "array", "items": node, "minItems": n, "maxItems": n or None}        {"type": "array", "prefixItems": […]}
    {"type": "string", "pattern": …} or "format" or "minLength" and "maxLength"   {"type": "string"}
    {"type": "integer" or "number", "bounds": Bounds}, {"type": "integer" or "number"}, {"type": "boolean" or "null"}
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

from r1.forms.bounds import number
from r1.forms.schema_disjoint import are_disjoint
from r1.forms.schema_merge import References, essential, is_annotation, merge, types_of
from r1.forms.schema_text import Located, NothingAllowed, nothing, refusal, shortened
from r1.forms.schema_types import Prepared, checked_pattern, prepared_array, prepared_object, prepared_string
from r1_quantize.errors import UsageError

_MAX_DEPTH = 50
_MAX_NODES = 5_000
_MAX_BRANCHES = 100  # of oneOf: each is compared with each

_ANY: Prepared = {"type": "value"}

_ABOUT: dict[str, tuple[str, ...]] = {
    "object": (
        *("properties", "required", "additionalProperties", "minProperties", "maxProperties"),
        "unevaluatedProperties",
    ),
    "array": ("items", "prefixItems", "additionalItems", "minItems", "maxItems", "uniqueItems", "unevaluatedItems"),
    "string": ("pattern", "minLength", "maxLength", "format"),
    "number": ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"),
}
"""The keywords that are about a value of one type only."""

_SUPPORTED = {
    *("$ref", "allOf", "anyOf", "oneOf", "type", "enum", "const"),
    *(key for keys in _ABOUT.values() for key in keys),
}

_REMEDIES = {
    "$id": "only the whole schema may have one; leave it out",
    "not": "say what is allowed instead",
    "if": "write the cases as anyOf",
    "then": "write the cases as anyOf",
    "else": "write the cases as anyOf",
    "dependentSchemas": "write the cases as anyOf",
    "dependencies": "write the cases as anyOf",
    "dependentRequired": "write the cases as anyOf",
    "patternProperties": "use properties, or additionalProperties for any name",
    "propertyNames": "use properties",
    "contains": "use prefixItems",
}


@dataclass(slots=True)
class Preparation:
    """Prepares one schema. `definitions` has what is referred to, by name; `places` the pointer of each name."""

    root: Any
    is_valid: Callable[[Any, Any], bool]
    """Whether a value is valid by a schema without references; for the values of `enum`."""
    definitions: dict[str, Prepared] = field(default_factory=dict)
    places: dict[str, str] = field(default_factory=dict)
    _references: References = field(init=False)
    _names: dict[str, str] = field(default_factory=dict)
    _nothing: dict[str, NothingAllowed] = field(default_factory=dict)
    _nodes: int = 0
    _depth: int = 0

    def __post_init__(self) -> None:
        self._references = References(self.root)

    def run(self) -> Prepared:
        """The whole schema, prepared: a reference into `definitions`. Raises UsageError."""
        return self._reference(self.root, "#")

    def _reference(self, target: Any, at: str) -> Prepared:
        """A reference to a schema, which is prepared once."""
        if isinstance(target, bool):
            return self._prepared(target, at)
        if target.at in self._nothing:
            raise self._nothing[target.at]
        if target.at not in self._names:
            name = self._names[target.at] = f"ref{len(self._names)}"
            self.places[name] = target.at
            try:
                self.definitions[name] = self._prepared(target, target.at)
            except NothingAllowed as exc:
                self._nothing[target.at] = exc
                raise
        return {"$ref": f"#/$defs/{self._names[target.at]}"}

    def _prepared(self, schema: Any, at: str) -> Prepared:
        self._nodes += 1
        if self._nodes > _MAX_NODES:
            raise UsageError(f"the schema has more than {_MAX_NODES:,} parts, counted with $ref; make it smaller")
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise refusal(at, f"nested more than {_MAX_DEPTH} levels deep, counted with $ref; make it flatter")
        try:
            return self._node(schema, at)
        finally:
            self._depth -= 1

    def _node(self, schema: Any, at: str) -> Prepared:
        if schema is True:
            return _ANY
        if schema is False:
            raise nothing(at)
        _check_keywords(schema)
        own = essential(schema)
        if own.keys() == {"$ref"}:
            return self._reference(self._references.target(schema["$ref"], schema.at), at)
        if own.keys() == {"allOf"} and len(own["allOf"]) == 1:
            return self._prepared(own["allOf"][0], f"{at}/allOf/0")
        if {"$ref", "allOf"} & own.keys():
            return self._prepared(self._references.flat(schema), at)
        if "enum" in own or "const" in own:
            return self._values(schema)
        if "anyOf" in own or "oneOf" in own:
            return self._alternatives(schema)
        return self._of_types(schema)

    # ---- alternatives ----

    def _alternatives(self, schema: Located) -> Prepared:
        """`anyOf` and `oneOf`; the keywords beside it hold in each branch."""
        key = "anyOf" if "anyOf" in schema else "oneOf"
        if "anyOf" in schema and "oneOf" in schema:
            raise refusal(schema.at, "anyOf beside oneOf is not supported; keep one of them")
        base = Located({name: value for name, value in schema.items() if name != key}, schema.at)
        has_base = bool(essential(base))
        branches = [merge(base, self._references.flat(branch)) if has_base else branch for branch in schema[key]]
        if key == "oneOf":
            self._check_disjoint(branches, schema.at)
        places = [f"{schema.at}/{key}/{index}" for index in range(len(branches))]
        return self._any_of(list(zip(branches, places, strict=True)), schema.at)

    def _check_disjoint(self, branches: list[Any], at: str) -> None:
        if len(branches) > _MAX_BRANCHES:
            raise refusal(at, f"oneOf has more than {_MAX_BRANCHES} branches; use anyOf instead")
        flat = [self._references.flat(branch) for branch in branches]
        for (one, first), (other, second) in combinations(enumerate(flat), 2):
            if not are_disjoint(first, second, self._references):
                raise refusal(
                    at,
                    f"oneOf: a value may be valid by both {one} and {other}; "
                    "require a property that tells them apart, or use anyOf",
                )

    def _any_of(self, branches: list[tuple[Any, str]], at: str) -> Prepared:
        found: list[Prepared] = []
        reason: NothingAllowed | None = None
        for branch, place in branches:
            try:
                prepared = self._prepared(branch, place)
            except NothingAllowed as exc:
                reason = exc
                continue
            if prepared not in found:
                found.append(prepared)
        if not found:
            raise reason or nothing(at)
        return found[0] if len(found) == 1 else {"anyOf": found}

    def _of_types(self, schema: Located) -> Prepared:
        kinds = types_of(schema["type"]) if "type" in schema else _implied_types(schema)
        if not kinds and "type" not in schema:
            return _ANY
        if "number" in kinds:
            kinds = [kind for kind in kinds if kind != "integer"]
        one_each = [Located({**_about(kind, schema), "type": kind}, schema.at) for kind in kinds]
        if len(one_each) == 1:
            return self._of_type(one_each[0])
        return self._any_of([(one, schema.at) for one in one_each], schema.at)

    # ---- values ----

    def _values(self, schema: Located) -> Prepared:
        """`enum` and `const`: the values that all keywords beside them allow."""
        own = essential(schema)
        scalar = {"type", "enum", "const", *_ABOUT["number"], *_ABOUT["string"]}
        if other := sorted(
            own.keys() - scalar - {"minItems", "maxItems", "minProperties", "maxProperties", "required"}
        ):
            raise refusal(schema.at, f"{other[0]} beside enum or const is not supported; leave it out")
        if "pattern" in own:
            checked_pattern(own["pattern"], schema.at)
        candidates = own["enum"] if "enum" in own else [own["const"]]
        values = [value for value in candidates if self.is_valid(value, dict(own))]
        if not values:
            raise nothing(schema.at)
        return {"enum": values}

    def _of_type(self, schema: Located) -> Prepared:
        match schema["type"]:
            case "object":
                return prepared_object(schema, self._prepared)
            case "array":
                return prepared_array(schema, self._prepared)
            case "string":
                return prepared_string(schema)
            case "integer" | "number":
                return number(schema)
        return {"type": schema["type"]}


def _check_keywords(schema: Located) -> None:
    """Raises UsageError for a keyword that is not supported, by its name."""
    for key in schema:
        if key not in _SUPPORTED and not is_annotation(key):
            remedy = _REMEDIES.get(key, "leave it out")
            raise refusal(schema.at, f"{shortened(key)} is not supported; {remedy}")


def _implied_types(schema: Located) -> list[str]:
    """The types that the keywords of a schema are about; their author means no others."""
    return [kind for kind, keys in _ABOUT.items() if any(key in schema for key in keys)]


def _about(kind: str, schema: Located) -> dict[str, Any]:
    """The keywords that say something about values of a type."""
    keys = _ABOUT.get("number" if kind == "integer" else kind, ())
    return {key: schema[key] for key in keys if key in schema and (key != "format" or kind == "string")}
