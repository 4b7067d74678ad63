"""JSON Schemas: the official test suite, hostile schemas, and what is written for the usual ones.

Every text of a grammar has to be valid by `jsonschema` as it is published, without our changes to it.
"""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
from jsonschema import Draft7Validator, Draft202012Validator

from r1.forms.form import Form, FormOptions, form_in
from r1_quantize.errors import UsageError
from tests.fakes.gbnf import TextGrammar
from tests.fakes.paths import ROOT

SUITE: dict[str, list[dict[str, Any]]] = json.loads(
    (ROOT / "tests/data/json-schema-suite.json").read_text(encoding="utf-8")
)

REFUSED = {
    *("not", "if-then-else", "contains", "dependentRequired", "dependentSchemas", "dynamicRef", "patternProperties"),
    *("propertyNames", "content", "anchor"),
}
"""Files of the suite of which every schema has a keyword that is refused."""

ACCEPTED = {
    *(
        "boolean_schema",
        "const",
        "enum",
        "exclusiveMaximum",
        "maxItems",
        "maxLength",
        "maximum",
        "minItems",
        "minLength",
    ),
    *("pattern", "prefixItems", "required", "type", "default"),
}
"""Files of the suite of which every schema that allows something is accepted."""


def form_of(schema: Any) -> Form:
    form = form_in({"schema": schema})
    assert form is not None
    return form


def refusal(schema: Any) -> str:
    with pytest.raises(UsageError) as error:
        form_in({"schema": schema})
    assert "\n" not in str(error.value)
    return str(error.value)


def check_refusal(name: str, reason: str) -> None:
    assert reason.startswith('"schema": the schema cannot be used: #')
    assert name not in ACCEPTED or "no value is allowed" in reason


@pytest.mark.parametrize("name", SUITE)
def test_the_official_suite(name: str) -> None:
    """A schema is refused by name, or every text of its grammar is valid and none of its invalid examples is a text."""
    for case in SUITE[name]:
        schema = case["schema"]
        try:
            form = form_of(schema)
        except UsageError as exc:
            check_refusal(name, str(exc))
            continue
        assert name not in REFUSED, case["description"]
        grammar, validator, rng = TextGrammar(form.gbnf), Draft202012Validator(schema), random.Random(1)
        for _ in range(8):
            text = grammar.sample(rng)
            assert validator.is_valid(json.loads(text)), (case["description"], text)
            assert form.problem(text) is None
        for value in case["invalid"]:
            spellings = (json.dumps(value), json.dumps(value, ensure_ascii=False))
            assert not any(map(grammar.matches, spellings)), (case["description"], value)
            assert form.problem(spellings[0]) is not None, (case["description"], value)
        for value in case["valid"]:
            assert form.problem(json.dumps(value)) is None, (case["description"], value)


@pytest.mark.parametrize("name", ["anyOf", "enum", "oneOf", "ref", "required", "properties", "additionalProperties"])
def test_some_valid_examples_of_the_suite_are_texts(name: str) -> None:
    """A grammar of nothing would be within each schema."""
    forms = []
    for case in SUITE[name]:
        try:
            forms.append((TextGrammar(form_of(case["schema"]).gbnf), case["valid"]))
        except UsageError:
            continue
    assert forms
    assert (
        sum(any(grammar.matches(json.dumps(value)) for value in values) for grammar, values in forms) >= len(forms) / 2
    )


@pytest.mark.parametrize(
    ("schema", "texts", "others"),
    [
        (
            {
                "type": "object",
                "properties": {"note": {"type": "string"}, "age": {"type": "integer"}, "ok": {"type": "boolean"}},
                "required": ["age"],
            },
            ['{"age":3}', '{"note":"x","age":3}', '{ "age": 3, "ok": true }', '{"note":"","age":-1,"ok":false}'],
            ['{"note":"x"}', '{"age":3,"note":"x"}', '{"age":3,"more":1}', '{"age":3,}', '{"note":"x""age":3}', "{}"],
        ),
        ({"properties": {"*": {"type": "null"}, "b": {}}}, ['{"*":null,"b":1}', '{"b":"x"}', "{}"], ['{"*":1}']),
        ({"type": "object", "additionalProperties": {"type": "null"}}, ["{}", '{"a":null,"b":null}'], ['{"a":1}']),
        ({"type": "object", "properties": {}}, ["{}", "{ }"], ['{"a":1}']),
        ({"type": "object"}, ["{}", '{"a":[1,"x",{}]}'], ["[]"]),
        ({"properties": {"a": {}}, "required": ["b"]}, ['{"b":1}', '{"a":[],"b":null}'], ['{"a":1}']),
        ({"const": 'é"\\\n😀\x01'}, [json.dumps('é"\\\n😀\x01', ensure_ascii=False)], ['"é"']),
        ({"enum": ["a", 1, 2, None], "type": ["string", "integer"], "minimum": 2}, ['"a"', "2"], ["1", "null"]),
        ({"type": "string"}, ['"é\\u00e9\\n"', '""', '"😀"'], ['"\n"', '"\\ud800"', '"\\x"', "'a'", '"\x00"']),
        ({"type": "string", "minLength": 2, "maxLength": 3}, ['"ab"', '"\\n\\u0041é"', '"😀😀"'], ['"a"', '"abcd"']),
        ({"type": "string", "pattern": '^["\\\\]\\d$'}, ['"\\"1"', '"\\\\9"'], ['""1"', '"a1"']),
        ({"type": "string", "pattern": "b+"}, ['"b"', '"abc"'], ['"a"']),
        ({"type": "string", "pattern": ""}, ['""', '"a"'], ["1"]),
        ({"enum": ["1.2.3.4", "x", 5], "format": "ipv4"}, ['"1.2.3.4"', "5"], ['"x"']),
        ({"type": "string", "format": "date"}, ['"2024-02-29"', '"1999-12-31"'], ['"2023-02-29"', '"2023-04-31"']),
        ({"type": "string", "format": "ipv4"}, ['"192.168.0.1"'], ['"256.1.1.1"', '"1.1.1"', '"01.1.1.1"']),
        ({"type": "integer"}, ["0", "-12", "999999999999999"], ["01", "1.0", "+1", "--1", "1e3"]),
        ({"type": "number"}, ["0.5", "-1e9", "12"], ["1e999", ".5", "1.", "00.5"]),
        ({"type": "array", "items": {"type": "null"}, "maxItems": 2}, ["[]", "[null, null]"], ["[null,null,null]"]),
        ({"type": "array", "minItems": 2}, ["[1,2]", '[1,"a",[]]'], ["[1]"]),
        ({"prefixItems": [{"type": "null"}, {"const": 1}], "items": False}, ["[null,1]"], ["[null]", "[null,1,1]"]),
        ({"$ref": "#/$defs/a~1b", "$defs": {"a/b": {"type": "null"}}}, ["null"], ["1"]),
        (
            {
                "$ref": "#/$defs/tree",
                "$defs": {"tree": {"properties": {"tree": {"$ref": "#/$defs/tree"}, "string": {"const": 1}}}},
            },
            ['{"tree":{"tree":{},"string":1}}'],
            ['{"tree":1}'],
        ),
        (
            {
                "allOf": [
                    {"properties": {"a": {"type": "integer"}}, "required": ["a"]},
                    {"properties": {"a": {"minimum": 5}}},
                ]
            },
            ['{"a":5}'],
            ['{"a":4}', "{}"],
        ),
        (
            {"allOf": [{"properties": {"a": True}, "additionalProperties": False}, {"properties": {"b": True}}]},
            ["{}", '{"a":1}'],
            ['{"b":1}'],
        ),
        (
            {"properties": {"a": {}, "b": {}}, "anyOf": [{"required": ["a"]}, {"required": ["b"]}]},
            ['{"a":1}', '{"b":1}', '{"a":1,"b":2}'],
            ["{}"],
        ),
        (
            {
                "oneOf": [
                    {"type": "object", "properties": {"k": {"const": "a"}, "n": {"type": "null"}}, "required": ["k"]},
                    {"type": "object", "properties": {"k": {"const": "b"}}, "required": ["k"]},
                ]
            },
            ['{"k":"a"}', '{"k":"a","n":null}', '{"k":"b"}'],
            ['{"k":"c"}', '{"k":"b","n":null}'],
        ),
        (True, ["1", "[]", '{"a":null}'], ["", "x"]),
    ],
)
def test_what_is_written_for_a_schema(schema: Any, texts: list[str], others: list[str]) -> None:
    form = form_of(schema)
    checker = Draft202012Validator.FORMAT_CHECKER
    grammar, validator = TextGrammar(form.gbnf), Draft202012Validator(schema, format_checker=checker)
    for text in texts:
        assert validator.is_valid(json.loads(text)), "a mistake in this table"
        assert grammar.matches(text), text
        assert form.problem(text) is None
    assert not any(map(grammar.matches, others)), [text for text in others if grammar.matches(text)]
    rng = random.Random(7)
    assert all(validator.is_valid(json.loads(grammar.sample(rng))) for _ in range(20))


def test_an_older_draft() -> None:
    schema = {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "definitions": {"a": {"type": "integer"}},
        "type": "array",
        "items": [{"$ref": "#/definitions/a"}, {"const": "x"}],
        "additionalItems": False,
    }
    grammar = TextGrammar(form_of(schema).gbnf)
    assert grammar.matches('[1, "x"]')
    assert Draft7Validator(schema).is_valid(json.loads(grammar.sample(random.Random(2))))


@pytest.mark.parametrize(
    ("schema", "reason"),
    [
        (
            {"properties": {"a b/c": {"multipleOf": 2, "type": "number"}}},
            "#/properties/a b~1c: multipleOf is not supported",
        ),
        ({"type": "array", "uniqueItems": True}, "#: uniqueItems is not supported"),
        ({"type": "object", "minProperties": 1}, "#: minProperties is not supported"),
        ({"type": "object", "maxProperties": 1}, "#: maxProperties is not supported"),
        ({"requried": ["a"]}, "#: requried is not supported; leave it out"),
        ({"not": {"type": "null"}}, "#: not is not supported; say what is allowed instead"),
        ({"type": "string", "format": "hostname"}, "#: format hostname is not supported"),
        ({"type": "string", "pattern": "a", "minLength": 2}, "#: pattern beside minLength is not supported"),
        ({"type": "string", "pattern": "(?=a)b"}, "#: pattern: the regular expression uses a lookahead"),
        ({"enum": [[1]], "items": {"type": "null"}}, "#: items beside enum or const is not supported"),
        ({"prefixItems": [True], "items": {"type": "null"}}, "#: items beside prefixItems is not supported"),
        ({"prefixItems": [True], "minItems": 2}, "#: minItems beyond prefixItems is not supported"),
        ({"properties": {"a": {}}, "additionalProperties": {"type": "null"}}, "#: additionalProperties with a schema"),
        ({"oneOf": [{"type": "number"}, {"type": "integer"}]}, "#: oneOf: a value may be valid by both 0 and 1"),
        ({"anyOf": [True], "oneOf": [True]}, "#: anyOf beside oneOf"),
        ({"allOf": [{"pattern": "a"}, {"pattern": "b"}]}, "#/allOf/1: pattern is set twice"),
        ({"$ref": "https://example.com/a"}, '#: $ref "https://example.com/a" leads out of the schema'),
        ({"$ref": "file:///etc/passwd"}, "leads out of the schema"),
        ({"$ref": "#/$defs/a"}, "#: $ref #/$defs/a leads nowhere"),
        ({"$ref": "#/minimum", "minimum": 3}, "leads to something that is no schema"),
        ({"$dynamicRef": "#a"}, "#: $dynamicRef is not supported"),
        ({"properties": {"a": {"$id": "x"}}}, "#/properties/a: $id is not supported"),
        ({"$schema": "http://json-schema.org/draft-03/schema"}, "is not a known dialect"),
        ({"type": "strin"}, "this is not a JSON Schema: #/type: 'strin'"),
        ({"required": "a"}, "this is not a JSON Schema: #/required: 'a' is not of type 'array'"),
        ({"type": "integer", "minimum": 10**20}, "#: a bound beyond 1,000,000,000,000,000"),
        ({"type": "number", "minimum": 1e-30}, "#: minimum has more than 6 digits"),
        # nothing is allowed
        (False, "#: no value is allowed"),
        ({"enum": []}, "#: no value is allowed"),
        ({"type": "string", "enum": [1, 2]}, "#: no value is allowed"),
        ({"properties": {"a": False}, "required": ["a"]}, "#/properties/a: no value is allowed"),
        ({"required": ["a"], "additionalProperties": False}, "#/properties/a: no value is allowed"),
        ({"type": "array", "items": False, "minItems": 1}, "#/items: no value is allowed"),
        ({"type": "string", "minLength": 3, "maxLength": 2}, "#: minLength is larger than maxLength"),
        ({"type": "integer", "minimum": 3, "maximum": 2}, "#: no value is allowed"),
        # never finished
        ({"$ref": "#"}, "#: it requires itself without end"),
        ({"properties": {"me": {"$ref": "#"}}, "required": ["me"]}, "#: it requires itself without end"),
        ({"anyOf": [{"$ref": "#"}, {"type": "null"}]}, "#: it refers to itself with nothing around it"),
        ({"allOf": [{"$ref": "#"}, {"type": "null"}]}, "leads back to itself"),
        (
            {
                "properties": {"a": {"$ref": "#/$defs/a"}},
                "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}},
            },
            "#/$defs/a: it requires itself without end",
        ),
    ],
)
def test_what_cannot_be_expressed_is_refused_by_its_name_and_place(schema: Any, reason: str) -> None:
    assert reason in refusal(schema)


def chain(links: int, link: Any) -> str:
    """Definitions that refer to the next one, in a way that `link` gives for a reference."""
    definitions = {f"d{n}": link({"$ref": f"#/$defs/d{n + 1}"}) for n in range(links)}
    return json.dumps({"$ref": "#/$defs/d0", "$defs": {**definitions, f"d{links}": {"type": "string"}}})


HOSTILE = {
    "large": (json.dumps({"title": "x" * 2**20}), "more than 65,536 bytes"),
    "deep": ('{"items":' * 90 + "{}" + "}" * 90, "nested more than 50 levels deep"),
    "deeper": ('{"enum":' + "[" * 30_000, "nested more than 100 levels deep"),
    "objects": ('{"a":' * 10_000, "nested more than 100 levels deep"),
    "long text": ('{"type":"string","maxLength":1000000000}', "maxLength is larger than 2,000"),
    "long array": ('{"type":"array","minItems":1e300}', "minItems is larger than 2,000"),
    "chain": (chain(300, lambda ref: {"properties": {"a": ref}}), "nested more than 50 levels deep"),
    "doubled": (chain(40, lambda ref: {"allOf": [ref, ref]}), "too many references and allOf"),
    "oneOf": (json.dumps({"oneOf": [{"const": number} for number in range(900)]}), "more than 100 branches"),
    "properties": (json.dumps({"properties": {f"p{n}": {} for n in range(3000)}}), "more than 262,144 characters"),
    "text in text": (
        json.dumps({"properties": {f"p{n}": {"type": "string", "minLength": 1999} for n in range(300)}}),
        "too large when its repetitions are written out",
    ),
    "counts": ('{"pattern":"^((a{1,1000}){1,1000}){1,1000}$"}', "nested counts of more than 10,000"),
    "twice": ('{"type":"string","type":"integer"}', 'an object has "type" twice'),
    "NaN": ('{"const":NaN}', "NaN is no number of JSON"),
    "infinite": ('{"const":1e999}', "a number is too large: 1e999"),
    "digits": ('{"const":' + "9" * 5000 + "}", "a number is too large: 999"),
    "cut": ('{"type":', "the schema is not JSON"),
    "two": ("{} {}", "the schema is not JSON: Extra data"),
    "array": ("[]", "this is not a JSON Schema, which is an object"),
    "stdin": ("-", "not read from stdin"),
    "empty": (" ", "the schema is empty"),
    "no file": ("no/such.json", "no/such.json: cannot be read (No such file or directory)"),
    "NUL": ("a\0b", "cannot be read"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_schema_ends_in_a_line(name: str) -> None:
    text, reason = HOSTILE[name]
    with pytest.raises(UsageError) as error:
        FormOptions(schema=text).compile()
    assert reason in str(error.value)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 300


@pytest.mark.parametrize(
    "text",
    [
        json.dumps({"type": "array", "maxItems": 2000, "items": {"type": "array", "maxItems": 2000, "items": {}}}),
        json.dumps({"enum": ["a" * 40 + "!", "aa"], "pattern": "^(a+)+$"}),  # takes Python's re 2^40 steps
        '{"items":' * 40 + "{}" + "}" * 40,
        json.dumps({"properties": {f"p{n}": {"type": "null"} for n in range(300)}}),
    ],
)
def test_a_large_schema_is_accepted(text: str) -> None:
    assert FormOptions(schema=text).compile() is not None


def test_an_answer_is_validated() -> None:
    form = form_of({"properties": {"a": {"type": "array", "items": {"type": "integer"}}}, "required": ["a"]})
    assert form.problem(' {"a": [1]}\n') is None
    assert form.problem('{"a": [1, "x"]}') == "the answer is not valid at #/a/1: 'x' is not of type 'integer'"
    assert form.problem('{"a": [1') is not None
    assert "is not JSON" in str(form.problem('{"a": NaN}'))
    assert "nested too deeply" in str(form.problem("[" * 100_000))


def test_validating_takes_no_exponential_time() -> None:
    form = form_of({"type": "string", "pattern": "^(a+)+$"})
    assert form.problem(json.dumps("a" * 60)) is None
    assert "does not match" in str(form.problem(json.dumps("a" * 60 + "!")))
