"""Reads the JSON body of a request field by field. A known field of a wrong type is refused; unknown ones are ignored.

Null is as good as no field, as all the APIs have it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, NoReturn

from r1.serve.errors import ApiError, bad_field

_SHOWN = 60  # characters of a wrong value in a message


class Fields:
    """A JSON object. Every method raises ApiError, which names the field, for a value that it cannot take."""

    def __init__(self, values: Mapping[str, Any], path: str = "") -> None:
        """`path` names the object in messages, such as `messages[2]`; empty for the body itself."""
        self.values = values
        self.path = path

    @classmethod
    def parse(cls, body: bytes) -> Fields:
        """The body of a request. Raises ApiError if it is no JSON object in UTF-8."""
        try:
            values = json.loads(body.decode("utf-8"), parse_constant=_refuse_constant)
        except UnicodeDecodeError as exc:
            raise ApiError(400, f"the body is not UTF-8 (byte {exc.start + 1})") from exc
        except ValueError as exc:
            raise ApiError(400, f"the body is not JSON: {exc}") from exc
        except RecursionError as exc:
            raise ApiError(400, "the body is not JSON that can be read: it is nested too deep") from exc
        if not isinstance(values, dict):
            raise ApiError(400, "the body is not a JSON object")
        return cls(values)

    def __contains__(self, name: str) -> bool:
        return self.values.get(name) is not None

    def name(self, name: str) -> str:
        """The full name of a field, such as `messages[2].content`."""
        return f"{self.path}.{name}" if self.path else name

    def refuse(self, name: str, message: str) -> NoReturn:
        """Raises ApiError for a field; the message follows its name."""
        raise bad_field(self.name(name), message)

    def text(self, name: str) -> str | None:
        value = self.values.get(name)
        if value is not None and not isinstance(value, str):
            self._refuse_type(name, "a string")
        return None if value is None else self._checked(name, value)

    def required_text(self, name: str) -> str:
        value = self.text(name)
        if value is None:
            self.refuse(name, "is missing; it is a string")
        return value

    def one_of(self, name: str, choices: tuple[str, ...]) -> str | None:
        value = self.text(name)
        if value is not None and value not in choices:
            self.refuse(name, f"must be one of {', '.join(choices)}, not {_shown(value)}")
        return value

    def integer(self, name: str, least: int, most: int) -> int | None:
        """A whole number; 3.0 is one, as in JSON Schema."""
        value = self.values.get(name)
        if value is None:
            return None
        is_whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
        if isinstance(value, bool) or not is_whole:
            self._refuse_type(name, "a whole number")
        if not least <= value <= most:
            self.refuse(name, f"must be from {least:,} to {most:,}, not {_shown(value)}")
        return int(value)

    def number(self, name: str, least: float, most: float) -> float | None:
        value = self.values.get(name)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float):
            self._refuse_type(name, "a number")
        if not least <= value <= most:
            self.refuse(name, f"must be from {least:g} to {most:g}, not {_shown(value)}")
        return float(value)

    def flag(self, name: str) -> bool | None:
        value = self.values.get(name)
        if value is not None and not isinstance(value, bool):
            self._refuse_type(name, "true or false")
        return value

    def texts(self, name: str, most: int) -> tuple[str, ...]:
        """A string, or a list of at most `most` strings; empty if there is no such field."""
        value = self.values.get(name)
        if value is None:
            return ()
        texts = [value] if isinstance(value, str) else value
        if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
            self._refuse_type(name, "a string or a list of strings")
        if len(texts) > most:
            self.refuse(name, f"has {len(texts):,} strings; at most {most} are possible")
        return tuple(self._checked(name, text) for text in texts)

    def texts_by_name(self, name: str) -> dict[str, str]:
        """An object whose values are strings; empty if there is no such field."""
        found = self.object(name) or Fields({})
        return {self._checked(name, key): found.required_text(key) for key in found.values}

    def object(self, name: str) -> Fields | None:
        value = self.values.get(name)
        if value is not None and not isinstance(value, dict):
            self._refuse_type(name, "an object")
        return None if value is None else Fields(value, self.name(name))

    def objects(self, name: str) -> Iterator[Fields]:
        """The objects of a list; none if there is no such field."""
        value = self.values.get(name)
        if value is not None and not isinstance(value, list):
            self._refuse_type(name, "a list of objects")
        for number, item in enumerate(value or ()):
            path = f"{self.name(name)}[{number}]"
            if not isinstance(item, dict):
                raise bad_field(path, f"must be an object, not {_shown(item)}")
            yield Fields(item, path)

    def _checked(self, name: str, text: str) -> str:
        """Raises ApiError for a text that is no Unicode: with half of a pair of surrogates."""
        try:
            text.encode("utf-8")
        except UnicodeEncodeError:
            self.refuse(name, "has half of a character (a lone surrogate), which no model can read")
        return text

    def _refuse_type(self, name: str, expected: str) -> NoReturn:
        self.refuse(name, f"must be {expected}, not {_shown(self.values[name])}")


def _shown(value: object) -> str:
    if isinstance(value, list | dict):
        return "a list" if isinstance(value, list) else "an object"
    text = json.dumps(value[:_SHOWN] if isinstance(value, str) else value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not allowed in JSON")
