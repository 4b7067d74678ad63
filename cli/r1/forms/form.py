"""The form of an answer, as it is asked for: by one of four options, or by a key of a JSON line."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

from r1.forms.gbnf import MAX_SIZE, literal
from r1.forms.gbnf_check import check_grammar
from r1.forms.regex import compile_regex, matches, regex_grammar
from r1.forms.schema_text import parse_json, read_file, read_schema, schema_of, shortened
from r1_quantize.errors import UsageError

FormKind = Literal["schema", "choices", "regex", "grammar"]

MAX_CHOICES = 1000

_SHOWN = 60  # characters of a description


@dataclass(frozen=True, slots=True)
class Form:
    """A form of answers: a grammar for llama.cpp, and the rule by which a finished answer is checked."""

    kind: FormKind
    description: str
    """A few words, in one line."""
    gbnf: str
    _find_problem: Callable[[str], str | None] = field(repr=False, compare=False)

    def problem(self, answer: str) -> str | None:
        """Why a finished answer has not the form; None if it has. White space around the answer does not count."""
        return self._find_problem(answer)


@dataclass(frozen=True, slots=True)
class FormOptions:
    """The form as the command line gives it; at most one of these."""

    schema: str | None = None
    """A file, or JSON that begins with `{`."""
    choices: str | None = None
    """Texts with commas between them, or an array of texts in JSON."""
    regex: str | None = None
    grammar: Path | None = None

    def compile(self) -> Form | None:
        """The form; None if none is asked for. Raises UsageError for what cannot be used. Needs no model."""
        given = [name for name in get_args(FormKind) if getattr(self, name) is not None]
        _refuse_several(given)
        if self.schema is not None:
            return schema_form(read_schema(self.schema), "" if self.schema.lstrip().startswith("{") else self.schema)
        if self.choices is not None:
            return choices_form(split_choices(self.choices))
        if self.regex is not None:
            return regex_form(self.regex)
        return grammar_form(_grammar_file(self.grammar), self.grammar.name) if self.grammar is not None else None


def form_in(record: Mapping[str, object]) -> Form | None:
    """The form that a line of `--jsonl` or a request asks for; None if none.

    The keys: `schema` is an object, true or false, or the JSON of one as a text; `choices` an array of texts, or one
    text with commas; `regex` an expression; `grammar` the text of a grammar. Null is as good as no key. A file is never
    read. Raises UsageError that names the key.
    """
    given = {key: record[key] for key in _FORMS if record.get(key) is not None}
    _refuse_several(list(given))
    for key, value in given.items():
        try:
            return _FORMS[key](value)
        except UsageError as exc:
            raise UsageError(f'"{key}": {exc}') from exc
    return None


def _refuse_several(names: list[str]) -> None:
    if len(names) > 1:
        raise UsageError(f"an answer has one form, but {' and '.join(names)} are given; give one of them")


def schema_form(schema: object, source: str = "") -> Form:
    """JSON by a schema, as `schema_text` reads it."""
    from r1.forms.schema import description_of, grammar_of, problem_finder

    return Form("schema", _short(description_of(schema, source)), grammar_of(schema), problem_finder(schema))


def choices_form(choices: list[str]) -> Form:
    """One of some texts. Raises UsageError for none, for an empty one, and for one that is there twice."""
    choices = [choice.strip() for choice in choices]
    _check_choices(choices)
    allowed = frozenset(choices)

    def problem(answer: str) -> str | None:
        return None if answer.strip() in allowed else "the answer is none of the choices"

    gbnf = f"root ::= {' | '.join(map(literal, choices))}"
    check_grammar(gbnf)
    return Form("choices", _short(f"one of {', '.join(choices)}"), gbnf, problem)


def _check_choices(choices: list[str]) -> None:
    if not choices or not all(choices):
        raise UsageError("a choice is empty; give texts with commas between them, such as yes,no,unsure")
    if len(choices) > MAX_CHOICES:
        raise UsageError(f"there are more than {MAX_CHOICES:,} choices; give fewer")
    for choice in choices:
        if "\0" in choice or any("\ud800" <= char <= "\udfff" for char in choice):
            shown = shortened(json.dumps(choice))
            raise UsageError(f"the choice {shown} has a character that no model can write; give it in UTF-8")
    if len(set(choices)) < len(choices):
        twice = next(choice for choice in choices if choices.count(choice) > 1)
        raise UsageError(f"the choice {shortened(json.dumps(twice, ensure_ascii=False))} is there twice; give it once")


def split_choices(text: str) -> list[str]:
    """The choices in a text with commas, or in one that is an array of JSON, where a choice may have a comma."""
    if not text.strip().startswith("["):
        return text.split(",")
    try:
        choices = parse_json(text)
    except (ValueError, RecursionError) as exc:
        problem = f"the choices begin with [ but are no array of JSON ({shortened(str(exc))})"
        raise UsageError(f'{problem}; write ["yes", "no"]') from exc
    return _texts(choices)


def _texts(choices: object) -> list[str]:
    if not isinstance(choices, list) or not all(isinstance(choice, str) for choice in choices):
        raise UsageError('choices are texts; write ["yes", "no"]')
    return choices


def regex_form(expression: str) -> Form:
    """Text that an expression matches as a whole."""
    node = compile_regex(expression)
    gbnf = regex_grammar(node)
    check_grammar(gbnf)

    def problem(answer: str) -> str | None:
        return None if matches(node, answer.strip()) else "the answer does not match the regular expression"

    return Form("regex", _short(f"text that matches {expression}"), gbnf, problem)


def grammar_form(gbnf: str, source: str = "") -> Form:
    """Text by a grammar of the user's own. Nothing is checked afterwards: llama.cpp kept to it."""
    check_grammar(gbnf)
    return Form(
        "grammar", _short(f"text by the grammar {source}" if source else "text by a grammar"), gbnf, _no_problem
    )


def _no_problem(_: str) -> None:
    return None


def _grammar_file(path: Path) -> str:
    text = read_file(path, 4 * MAX_SIZE)
    if text is None:
        raise UsageError(f"{path}: has more than {4 * MAX_SIZE:,} bytes; give a smaller grammar")
    return text


def _schema_in(value: object) -> Form:
    return schema_form(schema_of(value))


def _choices_in(value: object) -> Form:
    return choices_form(split_choices(value) if isinstance(value, str) else _texts(value))


def _regex_in(value: object) -> Form:
    return regex_form(_text(value))


def _grammar_in(value: object) -> Form:
    return grammar_form(_text(value))


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise UsageError("is not text; write it in quotes")
    return value


_FORMS: dict[str, Callable[[object], Form]] = {
    "schema": _schema_in,
    "choices": _choices_in,
    "regex": _regex_in,
    "grammar": _grammar_in,
}


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _SHOWN else f"{line[: _SHOWN - 1]}…"
