"""What Ollama's chat and generate have in common: options, how long to think, the form of the answer, keep_alive."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from r1.serve.errors import ApiError
from r1.serve.fields import Fields
from r1.serve.messages import Message
from r1.serve.question import MOST_STOP_TEXTS, MOST_TOP_LOGPROBS
from r1.serve.reply_fields import MOST_TOKENS, sampling_in, schema_form_of
from r1.settings import Settings

if TYPE_CHECKING:
    from r1.forms.form import Form

_LEVELS = ("low", "medium", "high", "max")
_NO_LIMIT = (-2, -1, 0)
"""Values of `num_predict`: until the context is full, until the model ends, and not set."""

_MOST_CONTEXT = 1 << 40
_LONGEST_S = 30 * 86_400.0  # a longer time is for ever
_UNITS_S = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_PART = re.compile(rf"([0-9]{{1,15}}(?:\.[0-9]{{0,15}})?|\.[0-9]{{1,15}})({'|'.join(_UNITS_S)})")
_DURATION = re.compile(rf"([+-]?)((?:{_PART.pattern})+)")
_NUMBER = re.compile(r"[+-]?[0-9]{1,15}(\.[0-9]{1,15})?")
_NO_IMAGES = "are not supported: R1 reads only text"
_NO_TOOLS = "R1 does not support tools: it was not trained to call them"
"""Some clients look for Ollama's words, "does not support tools", and ask again without."""


def messages_in(fields: Fields) -> Iterator[Message]:
    """The messages. Raises ApiError for images, and for what belongs to tools."""
    for item in fields.objects("messages"):
        role = item.required_text("role").lower()
        refuse_images(item)
        if role == "tool" or item.values.get("tool_calls"):
            raise ApiError(400, f"{item.path}: {_NO_TOOLS}", param=item.path)
        yield Message(item.path, role, item.text("content") or "", item.text("thinking") or "")


def refuse_tools(fields: Fields) -> None:
    """Raises ApiError if the client offers tools that the model may use."""
    if fields.values.get("tools"):
        raise ApiError(400, _NO_TOOLS, param="tools")


def refuse_images(fields: Fields) -> None:
    """Raises ApiError if there are any."""
    if fields.values.get("images"):
        fields.refuse("images", _NO_IMAGES)


def changed_in(fields: Fields, settings: Settings) -> dict[str, object]:
    """The settings that a client wants to have for its request; those of the server are `settings`.

    `options.num_ctx` is only checked: one context serves all clients, and it is as long as memory allows. Options that
    r1 has no setting for are ignored.
    """
    options = fields.object("options") or Fields({}, "options")
    changed = sampling_in(options)
    options.integer("num_ctx", 0, _MOST_CONTEXT)
    limit = options.integer("num_predict", min(_NO_LIMIT), MOST_TOKENS)
    if limit is not None and limit not in _NO_LIMIT:
        changed["max_tokens"] = limit
    return {**changed, **_thinking_in(fields, settings)}


def _thinking_in(fields: Fields, settings: Settings) -> dict[str, object]:
    """`think` is true, false or a level. True means as long as the server lets R1 think, but not: no time at all."""
    think = fields.values.get("think")
    if think is None:
        return {}
    if think is False:
        return {"effort": "none"}
    if think is True:
        return {"effort": "max"} if settings.thinking_params().budget == 0 else {}
    if think not in _LEVELS:
        fields.refuse("think", f"must be true, false or one of {', '.join(_LEVELS)}")
    return {"effort": think}


def stop_texts_in(fields: Fields) -> tuple[str, ...]:
    options = fields.object("options")
    return () if options is None else options.texts("stop", MOST_STOP_TEXTS)


def top_logprobs_in(fields: Fields) -> int | None:
    """How many of the likeliest tokens to list at each place; None: `logprobs` is not asked for."""
    top = fields.integer("top_logprobs", 0, MOST_TOP_LOGPROBS)
    return (top or 0) if fields.flag("logprobs") else None


def form_in(fields: Fields) -> Form | None:
    """The form that `format` asks for: "json" is any object, and an object is a JSON Schema. Raises ApiError."""
    wanted = fields.values.get("format")
    if wanted is None or wanted == "":
        return None
    if wanted == "json":
        return schema_form_of({"type": "object"}, "format")
    if not isinstance(wanted, dict):
        fields.refuse("format", 'must be "json" or a JSON Schema')
    return schema_form_of(wanted, "format")


def is_streamed(fields: Fields) -> bool:
    """It is, unless the client says no."""
    return fields.flag("stream") is not False


@dataclass(frozen=True, slots=True)
class KeepAlive:
    """How long the model stays after its last use, in seconds; None: for ever."""

    seconds: float | None

    @property
    def is_zero(self) -> bool:
        """Whether the model is to be freed when the request is done."""
        return self.seconds == 0


def keep_alive_in(fields: Fields) -> KeepAlive | None:
    """Seconds, or a duration as Go writes it, such as `1h30m`; below 0: for ever. None: not given. Raises ApiError."""
    value = fields.values.get("keep_alive")
    if value is None:
        return None
    seconds = _seconds(value)
    if seconds is None:
        fields.refuse("keep_alive", 'must be a number of seconds, or a time such as "5m" or "1h30m"; -1 is for ever')
    return KeepAlive(None if seconds < 0 or seconds > _LONGEST_S else seconds)


def _seconds(value: object) -> float | None:
    """None for what is no time."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        return float(min(max(value, -1), _LONGEST_S + 1))  # an integer can be too large for a float
    if not isinstance(value, str):
        return None
    if _NUMBER.fullmatch(value):
        return float(value)
    match = _DURATION.fullmatch(value)
    if match is None:
        return None
    seconds = sum(float(number) * _UNITS_S[unit] for number, unit in _PART.findall(match[2]))
    return -seconds if match[1] == "-" else seconds
