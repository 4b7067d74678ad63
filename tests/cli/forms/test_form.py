"""The form of an answer as it is asked for: by options, and by the keys of a line of JSON."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from r1.forms.form import FormOptions, form_in
from r1_quantize.errors import UsageError
from tests.fakes.gbnf import TextGrammar


def test_without_an_option_there_is_no_form() -> None:
    assert FormOptions().compile() is None
    assert form_in({"prompt": "x", "schema": None}) is None


@pytest.mark.parametrize(
    ("text", "choices"),
    [
        ("yes,no,unsure", ["yes", "no", "unsure"]),
        (" a , ab,abc ", ["a", "ab", "abc"]),
        ('["a, b", "\\"q\\" \\\\ \\n ]", "é😀", "-^["]', ["a, b", '"q" \\ \n ]', "é😀", "-^["]),
        ("one", ["one"]),
    ],
)
def test_choices(text: str, choices: list[str]) -> None:
    form = FormOptions(choices=text).compile()
    assert form is not None
    assert form.kind == "choices"
    grammar = TextGrammar(form.gbnf)
    assert all(grammar.matches(choice) and form.problem(f"{choice}\n") is None for choice in choices)
    for other in ("", "x", choices[0] + choices[0], choices[0][:-1]):
        assert other in choices or not grammar.matches(other)
        assert other in choices or form.problem(other) == "the answer is none of the choices"
    assert form_in({"choices": choices}) == form


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "a choice is empty"),
        ("yes,,no", "a choice is empty"),
        ("yes,no, yes", 'the choice "yes" is there twice'),
        ("[]", "a choice is empty"),
        ('["a", 1]', "choices are texts"),
        ("[a,b]", "begin with [ but are no array of JSON"),
        ("[" * 100_000, "begin with [ but are no array of JSON"),
        (",".join(map(str, range(2000))), "more than 1,000 choices"),
        ('["a\\u0000b"]', "a character that no model can write"),
        ("a\udcff,b", "a character that no model can write"),
    ],
)
def test_bad_choices(text: str, reason: str) -> None:
    with pytest.raises(UsageError) as error:
        FormOptions(choices=text).compile()
    assert reason in str(error.value)
    assert "\n" not in str(error.value)


def test_a_regex() -> None:
    form = FormOptions(regex=r"^\d{1,3}(\.\d+)?$").compile()
    assert form is not None
    assert form.description == r"text that matches ^\d{1,3}(\.\d+)?$"
    assert TextGrammar(form.gbnf).matches("12.5")
    assert form.problem("12.5\n") is None
    assert form.problem("x12") == "the answer does not match the regular expression"


def test_files(tmp_path: Path) -> None:
    schema, grammar = tmp_path / "a.json", tmp_path / "a.gbnf"
    schema.write_text('\ufeff{"type": "boolean"}', encoding="utf-8")
    grammar.write_text('root ::= "a" | "b"\n', encoding="utf-8")
    form = FormOptions(schema=str(schema)).compile()
    assert form is not None
    assert TextGrammar(form.gbnf).matches("true")
    form = FormOptions(grammar=grammar).compile()
    assert form is not None
    assert form.description == "text by the grammar a.gbnf"
    assert form.problem("anything") is None


@pytest.mark.parametrize("key", ["schema", "grammar"])
def test_files_that_cannot_be_read(key: str, tmp_path: Path) -> None:
    latin, large = tmp_path / "latin", tmp_path / "large"
    latin.write_bytes(b'{"title": "\xe9"}')
    large.write_bytes(b" " * 2_000_000)
    for path, reason in (
        (latin, "is not UTF-8 (byte 12)"),
        (large, "bytes"),
        (tmp_path, "cannot be read (Is a directory)"),
        (tmp_path / "none", "cannot be read (No such file or directory)"),
    ):
        options = FormOptions(schema=str(path)) if key == "schema" else FormOptions(grammar=path)
        with pytest.raises(UsageError) as error:
            options.compile()
        assert reason in str(error.value)


def test_a_line_has_the_same_forms_as_the_options() -> None:
    schema = {"type": "integer", "minimum": 3}
    asked = form_in({"schema": schema})
    assert asked is not None
    for same in ({"schema": json.dumps(schema)}, {"schema": schema, "choices": None}):
        form = form_in(same)
        assert form is not None
        assert form.gbnf == asked.gbnf
    assert form_in({"schema": True}) is not None
    grammar = form_in({"grammar": 'root ::= "x"'})
    assert grammar is not None
    assert grammar.kind == "grammar"
    assert form_in({"regex": "a+"}) is not None
    assert form_in({"choices": "a,b"}) == form_in({"choices": ["a", "b"]})


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ({"schema": {}, "regex": "a"}, "an answer has one form, but schema and regex are given"),
        ({"schema": 3}, '"schema": this is not a JSON Schema'),
        ({"schema": "a.json"}, '"schema": the schema is not JSON'),
        ({"schema": False}, '"schema": the schema cannot be used: #: no value is allowed'),
        ({"choices": {"a": 1}}, '"choices": choices are texts'),
        ({"choices": []}, '"choices": a choice is empty'),
        ({"regex": 3}, '"regex": is not text'),
        ({"grammar": ["root"]}, '"grammar": is not text'),
        ({"grammar": "x"}, '"grammar": the grammar is wrong in line 1'),
    ],
)
def test_a_bad_line_is_refused_by_its_key(record: dict[str, object], reason: str) -> None:
    with pytest.raises(UsageError) as error:
        form_in(record)
    assert str(error.value).startswith(reason)


def test_two_options_are_refused() -> None:
    with pytest.raises(UsageError, match="an answer has one form, but choices and regex are given; give one of them"):
        FormOptions(choices="a,b", regex="a").compile()


def test_a_description_is_one_short_line() -> None:
    form = form_in({"schema": {"title": "A person\nwith a very long title " * 5}})
    assert form is not None
    assert form.description.startswith("JSON, A person with a very")
    assert len(form.description) <= 60
