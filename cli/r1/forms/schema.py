"""A JSON Schema as the form of an answer: its grammar, and validating an answer that is finished."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any

from r1.forms.regex import Node, compile_pattern, matches
from r1.forms.schema_grammar import schema_grammar
from r1.forms.schema_prepare import Preparation
from r1.forms.schema_text import Located, parse_json, pointer, shortened, validator_class

_compiled = lru_cache(maxsize=256)(compile_pattern)


def grammar_of(schema: Any) -> str:
    """The grammar of the JSON texts that are written for a schema.

    Raises UsageError, with the keyword and its place, for what cannot be expressed.
    """
    validator = _validator_class(schema)

    def is_valid(value: Any, keywords: Any) -> bool:
        return bool(validator(keywords, format_checker=validator.FORMAT_CHECKER).is_valid(value))

    return schema_grammar(Preparation(_anonymous(schema), is_valid))


def problem_finder(schema: Any) -> Callable[[str], str | None]:
    """A function that says why an answer is not valid by the schema, in a line; None: it is valid."""
    kind = _validator_class(schema)
    validator = kind(_anonymous(schema), format_checker=kind.FORMAT_CHECKER)

    def problem(answer: str) -> str | None:
        try:
            value = parse_json(answer)
        except RecursionError:
            return "the answer is nested too deeply"
        except ValueError as exc:
            return f"the answer is not JSON: {shortened(str(exc))}"
        try:
            error = next(iter(validator.iter_errors(value)), None)
        except RecursionError:
            return "the answer is nested too deeply"
        if error is None:
            return None
        return f"the answer is not valid at {pointer(list(error.absolute_path))}: {shortened(error.message)}"

    return problem


def _anonymous(schema: Any) -> Any:
    """The schema without its address, so that all references are to itself."""
    if isinstance(schema, bool):
        return schema
    return Located({key: value for key, value in schema.items() if key not in {"$id", "id", "$schema"}}, "#")


def _validator_class(schema: Any) -> Any:
    """The class for the schema's dialect, whose `pattern` takes no time that grows exponentially.

    Python's `re`, which `jsonschema` uses, takes minutes for some expressions and texts of a few characters.
    """
    from jsonschema import validators
    from jsonschema.exceptions import ValidationError

    def pattern(_: Any, expression: str, instance: Any, __: Any) -> Iterator[Any]:
        if isinstance(instance, str) and not matches(_pattern(expression), instance):
            yield ValidationError(f"{instance!r} does not match {expression!r}")

    extend: Any = validators.extend
    return extend(validator_class(schema), {"pattern": pattern})


def _pattern(expression: str) -> Node:
    return _compiled(expression)


def description_of(schema: Any, source: str) -> str:
    """One line about the form: the schema's own title, or where it comes from."""
    title = schema.get("title") if isinstance(schema, dict) else None
    name = title if isinstance(title, str) and title.strip() else source
    return f"JSON, {shortened(name)}" if name else "JSON of a schema"
