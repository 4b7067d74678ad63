"""The bounds of an integer or a number in a JSON Schema."""

from __future__ import annotations

import math
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from r1.forms.schema_text import Located, nothing, refusal

LARGEST = 10**15
"""Whole numbers beyond this are not written: a double holds smaller ones exactly, and so does every program."""


MAX_PLACES = 6
"""Digits after the point of a bound."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a number lies between; open: the bound itself is left out."""

    low: Decimal
    high: Decimal
    is_low_open: bool = False
    is_high_open: bool = False


def number(schema: Located) -> dict[str, Any]:
    """An integer or a number, perhaps between whole numbers."""
    kind = schema["type"]
    step = schema.get("multipleOf")
    if step is not None and not (kind == "integer" and step == 1):
        raise refusal(schema.at, "multipleOf is not supported; leave it out, and check the number afterwards")
    if not schema.keys() & {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"}:
        return {"type": kind}
    return {"type": kind, "bounds": _whole_bounds(schema) if kind == "integer" else _bounds(schema)}


def _whole_bounds(schema: Located) -> Bounds:
    """The least and the largest integer."""
    low = max(math.ceil(schema.get("minimum", -LARGEST + 1)), math.floor(schema.get("exclusiveMinimum", -LARGEST)) + 1)
    high = min(math.floor(schema.get("maximum", LARGEST - 1)), math.ceil(schema.get("exclusiveMaximum", LARGEST)) - 1)
    return _possible(Bounds(Decimal(low), Decimal(high)), schema.at)


def _bounds(schema: Located) -> Bounds:
    low, is_low_open = Decimal(-LARGEST), True
    high, is_high_open = Decimal(LARGEST), True
    for key in ("minimum", "exclusiveMinimum"):
        if key in schema and (value := _decimal(key, schema)) >= low:
            low, is_low_open = value, key == "exclusiveMinimum" or (is_low_open and value == low)
    for key in ("maximum", "exclusiveMaximum"):
        if key in schema and (value := _decimal(key, schema)) <= high:
            high, is_high_open = value, key == "exclusiveMaximum" or (is_high_open and value == high)
    return _possible(Bounds(low, high, is_low_open, is_high_open), schema.at)


def _decimal(key: str, schema: Located) -> Decimal:
    """The bound as it is written. Raises UsageError for one with many digits after the point."""
    value = Decimal(repr(schema[key])).normalize()
    if value != round(value, MAX_PLACES):
        raise refusal(schema.at, f"{key} has more than {MAX_PLACES} digits after the point; round it")
    return value


def _possible(bounds: Bounds, at: str) -> Bounds:
    if max(abs(bounds.low), abs(bounds.high)) > LARGEST:
        raise refusal(at, f"a bound beyond {LARGEST:,} is not supported; lower it")
    is_open = bounds.is_low_open or bounds.is_high_open
    if bounds.low > bounds.high or (bounds.low == bounds.high and is_open):
        raise nothing(at)
    return bounds
