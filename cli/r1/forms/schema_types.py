"""Objects, arrays and strings of a JSON Schema, prepared for the converter: see `schema_prepare`."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from r1.forms.gbnf import MAX_COUNT
from r1.forms.regex import compile_pattern
from r1.forms.schema_merge import essential
from r1.forms.schema_text import Located, NothingAllowed, nothing, pointer, refusal, shortened
from r1_quantize.errors import UsageError

Prepared = dict[str, Any]

Prepare = Callable[[Any, str], Prepared]
"""Prepares a schema at a place."""

_BYTE = "(25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
_HOST = "[A-Za-z0-9]+([.-][A-Za-z0-9]+)*"
_ATOM, _PATH = "[A-Za-z0-9_%+-]+", "[A-Za-z0-9._~-]*"

PATTERNS = {
    "email": rf"^{_ATOM}(\.{_ATOM})*@{_HOST}\.[A-Za-z]{{2,24}}$",
    "ipv4": rf"^({_BYTE}\.){{3}}{_BYTE}$",
    "uri": rf"^https?://{_HOST}(:[1-9][0-9]{{0,3}})?(/{_PATH})*(\?[A-Za-z0-9._~=&-]*)?(#{_PATH})?$",
}
"""Formats whose usual spellings are written by an expression: addresses of the web, of mail and of IPv4."""

FORMATS = ("date", "time", "date-time", "uuid")
"""Formats that the converter has rules for."""


def prepared_object(schema: Located, prepare: Prepare) -> Prepared:
    """An object: with the listed properties, with any names and values of one schema, or with anything."""
    extra = schema.get("additionalProperties", schema.get("unevaluatedProperties", True))
    required = schema.get("required", [])
    listed = _properties(schema, extra, prepare)
    is_any = "properties" not in schema and not required
    _check_property_count(schema, listed, is_open=is_any and extra is not False)
    if not is_any or extra is False:
        if not isinstance(extra, bool) and essential(extra) and "additionalProperties" in schema:
            problem = "additionalProperties with a schema beside properties or required is not supported"
            raise refusal(schema.at, f"{problem}; list the properties, or leave it out")
        return {"type": "object", "properties": listed, "required": required}
    if extra is True:
        return {"type": "object"}
    return _map(extra, f"{schema.at}/additionalProperties", prepare)


def _map(extra: Any, at: str, prepare: Prepare) -> Prepared:
    try:
        return {"type": "object", "additionalProperties": prepare(extra, at)}
    except NothingAllowed:
        return {"type": "object", "properties": {}, "required": []}


def _properties(schema: Located, extra: Any, prepare: Prepare) -> dict[str, Prepared]:
    """The properties that can be written: all that are listed or required."""
    listed = dict(schema.get("properties", {}))
    required = schema.get("required", [])
    listed |= {name: extra for name in required if name not in listed}
    found = {}
    for name, inner in listed.items():
        place = f"{schema.at}{pointer(['properties', name])[1:]}"
        try:
            found[name] = prepare(inner, place)
        except NothingAllowed:
            if name in required:
                raise
    return found


def _check_property_count(schema: Located, listed: dict[str, Prepared], *, is_open: bool) -> None:
    least, most = schema.get("minProperties", 0), schema.get("maxProperties", math.inf)
    if least > len(schema.get("required", [])):
        raise refusal(schema.at, "minProperties is not supported; list the properties in required")
    if most < len(listed) or (is_open and most < math.inf):
        raise refusal(schema.at, "maxProperties is not supported; list fewer properties")


def prepared_array(schema: Located, prepare: Prepare) -> Prepared:
    """An array: of items of one schema, or of just those that are listed one by one."""
    if schema.get("uniqueItems"):
        raise refusal(schema.at, "uniqueItems is not supported; leave it out, and check the items afterwards")
    items = schema.get("items", schema.get("unevaluatedItems", True))
    if isinstance(items, list):  # before draft 2020-12
        return _tuple(schema, items, schema.get("additionalItems", True), prepare)
    if "prefixItems" in schema:
        return _tuple(schema, schema["prefixItems"], items, prepare)
    least, most = _counts(schema, "Items")
    try:
        item = prepare(items, f"{schema.at}/items")
    except NothingAllowed:
        if least:
            raise
        return {"enum": [[]]}
    return {"type": "array", "items": item, "minItems": least, "maxItems": most} if most != 0 else {"enum": [[]]}


def _tuple(schema: Located, first: list[Any], rest: Any, prepare: Prepare) -> Prepared:
    """An array with just the items that are listed one by one, as many as are allowed."""
    if not isinstance(rest, bool) and essential(rest):
        raise refusal(schema.at, "items beside prefixItems is not supported, except false; leave it out")
    least, most = _counts(schema, "Items")
    found: list[Prepared] = []
    for index, item in enumerate(first[:most]):
        try:
            found.append(prepare(item, f"{schema.at}/prefixItems/{index}"))
        except NothingAllowed:
            if index < least:
                raise
            break
    if len(found) < least:
        if rest is False or len(found) < len(first):
            raise nothing(schema.at)
        raise refusal(schema.at, "minItems beyond prefixItems is not supported; list all items")
    return {"type": "array", "prefixItems": found} if found else {"enum": [[]]}


def _counts(schema: Located, of: str) -> tuple[int, int | None]:
    """minItems and maxItems, or minLength and maxLength."""
    least, most = int(schema.get(f"min{of}", 0)), schema.get(f"max{of}")
    for key, count in ((f"min{of}", least), (f"max{of}", most or 0)):
        if count > MAX_COUNT:
            raise refusal(schema.at, f"{key} is larger than {MAX_COUNT:,}; lower it, or leave it out")
    if most is not None and least > most:
        raise nothing(schema.at, f"min{of} is larger than max{of}")
    return least, None if most is None else int(most)


def prepared_string(schema: Located) -> Prepared:
    """A string: by its format, its pattern or its length."""
    pattern, form = schema.get("pattern"), schema.get("format")
    bounds = [key for key in ("minLength", "maxLength") if key in schema]
    given = [key for key in ("pattern", "format") if key in schema]
    if len(given) > 1 or (given and bounds):
        first, second = (*given, *bounds)[:2]
        raise refusal(schema.at, f"{first} beside {second} is not supported; keep one of them")
    if form is not None and form not in (*FORMATS, *PATTERNS):
        known = ", ".join((*FORMATS, *PATTERNS))
        raise refusal(schema.at, f"format {shortened(str(form))} is not supported (these are: {known}); use pattern")
    if form in FORMATS:
        return {"type": "string", "format": form}
    if form is not None or pattern is not None:
        chosen = PATTERNS[str(form)] if pattern is None else pattern
        return {"type": "string", "pattern": checked_pattern(chosen, schema.at)}
    least, most = _counts(schema, "Length")
    return {"type": "string", "minLength": least, "maxLength": most} if bounds else {"type": "string"}


def checked_pattern(pattern: str, at: str) -> str:
    """The pattern. Raises UsageError, with the place, for one that a grammar cannot express."""
    try:
        compile_pattern(pattern)
    except UsageError as exc:
        raise refusal(at, f"pattern: {exc}") from exc
    return pattern
