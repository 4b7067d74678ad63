"""What a client may say about the reply, with the same meaning in several APIs: how to sample it, and its form."""

from __future__ import annotations

from typing import TYPE_CHECKING

from r1.engine.sampling import MAX_SEED
from r1.forms.form import form_in
from r1.serve.errors import ApiError
from r1.serve.fields import Fields
from r1_quantize.errors import UsageError

if TYPE_CHECKING:
    from r1.forms.form import Form

MOST_TOKENS = 1 << 30

_INT64 = 1 << 63
_LEAST_TOP_P = 1e-9  # 0 is allowed, and means the likeliest token


def sampling_in(fields: Fields, *limits: str) -> dict[str, object]:
    """The settings that a client wants to have for its request; of the names of token limits, the first one counts."""
    changed: dict[str, object] = {}
    given = [limit for name in limits if (limit := fields.integer(name, 1, MOST_TOKENS)) is not None]
    if given:
        changed["max_tokens"] = given[0]
    if "temperature" in fields:
        changed["temp"] = fields.number("temperature", 0, 10)
    if (top_p := fields.number("top_p", 0, 1)) is not None:
        changed["top_p"] = max(top_p, _LEAST_TOP_P)
    seed = fields.integer("seed", -_INT64, _INT64 * 2 - 1)
    if seed is not None and seed != -1:  # -1 is llama.cpp's word for a random one
        changed["seed"] = seed % (MAX_SEED + 1)
    return changed


def own_form_in(fields: Fields) -> Form | None:
    """The form that one of r1's own fields asks for: `choices`, `regex` or `grammar`. Raises ApiError."""
    asked = {name: fields.values.get(name) for name in ("choices", "regex", "grammar")}
    given = [name for name, value in asked.items() if value is not None]
    try:
        return form_in(asked)
    except UsageError as exc:
        name = given[0]
        raise ApiError(400, str(exc).replace(f'"{name}"', name, 1), param=name) from exc


def schema_form_of(schema: object, param: str) -> Form:
    """Raises ApiError, which names the field, for a schema that cannot be used."""
    try:
        form = form_in({"schema": schema})
    except UsageError as exc:
        raise ApiError(400, str(exc).replace('"schema"', param, 1), param=param) from exc
    assert form is not None, "a schema is given"
    return form
