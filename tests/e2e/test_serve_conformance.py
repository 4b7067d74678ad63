"""Made-up requests, right ones and wrong ones: whatever comes, the server answers as its description says.

By hand, for other requests each time: `pytest --hypothesis-profile long tests/e2e/test_serve_conformance.py`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from jsonschema.exceptions import best_match
from schemathesis import Case, GenerationMode, Response
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from r1.serve.question import MOST_REPLIES
from r1.serve.reply_fields import MOST_TOKENS
from r1.serve.web.openapi.document import document
from tests.conftest import isolated_environ
from tests.e2e.serving import serving
from tests.fakes.probes import resolved

DOCUMENT = document()
SCHEMA = schemathesis.openapi.from_dict(DOCUMENT)
SCHEMA.config.max_stream_events = 10_000  # a stream is read to its end
SCHEMA.config.request_timeout = 120
CHECKS = [
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    negative_data_rejection,
]
ROUTES = [(method, path) for path, item in DOCUMENT["paths"].items() for method in item if method != "parameters"]
TAKING = [
    (method, path)
    for method, path in ROUTES
    if {"requestBody", "parameters"} & DOCUMENT["paths"][path][method].keys() and path != "/v1/models/{name}"
]

MOST = {
    **dict.fromkeys(("max_tokens", "max_completion_tokens", "max_output_tokens", "num_predict"), (4, MOST_TOKENS)),
    **{"n": (2, MOST_REPLIES), "votes": (2, 1024)},
}
"""So much is generated at most, and so much may be asked for."""

IN_WORDS = (
    "the messages have no text to answer",
    "is no model of the list",
    "input is empty",
    "a form is for the complete answer",
)
"""Reasons to refuse what the schema allows: the description has them in words."""

EVENTS, LINES = "text/event-stream", "application/x-ndjson"
MESSAGE = {"role": "user", "content": "17+25?"}
FORMS = ("choices", "regex", "grammar", "response_format", "text", "output_format", "output_config")
WORKING = {"grammar": 'root ::= "42"', "regex": "[0-9]+", "choices": ["42", "43"]}
ANSWER = {"type": "object", "properties": {"sum": {"type": "integer"}}, "required": ["sum"]}
GREEDY = {"temperature": 0, "seed": 1}
VOTED = {"votes": 3, "temperature": 0.6, "seed": 1}
SCORED = {**GREEDY, "logprobs": True, "top_logprobs": 2}
RICH: tuple[tuple[str, dict[str, Any]], ...] = (
    ("/v1/chat/completions", {"messages": [MESSAGE], **SCORED, "n": 2, "stream_options": {"include_usage": True}}),
    ("/v1/chat/completions", {"messages": [MESSAGE], **VOTED}),
    ("/v1/completions", {"prompt": ["17+25=", "1+1="], **GREEDY, "logprobs": 2, "stop": "="}),
    ("/v1/completions", {"prompt": "17+25=", "echo": True, "stream_options": {"include_usage": True}}),
    ("/v1/responses", {"input": "17+25?", **GREEDY, "top_logprobs": 2, "metadata": {"a": "b"}}),
    ("/v1/responses", {"input": "17+25?", **VOTED, "reasoning": {"summary": "auto"}}),
    ("/v1/responses", {"input": "17+25?", "max_output_tokens": 2}),
    (
        "/v1/responses",
        {"input": "17+25?", "text": {"format": {"type": "json_schema", "name": "sum", "schema": ANSWER}}},
    ),
    ("/v1/messages", {"messages": [MESSAGE], "max_tokens": 99, **GREEDY, "thinking": {"type": "adaptive"}}),
    ("/v1/messages", {"messages": [MESSAGE], "max_tokens": 99, **VOTED}),
    ("/api/chat", {"messages": [MESSAGE], "options": GREEDY, "logprobs": True, "top_logprobs": 2}),
    ("/api/chat", {"keep_alive": "5m"}),
    ("/api/generate", {"prompt": "17+25?", "options": GREEDY, "logprobs": True}),
    ("/api/generate", {"prompt": "17+25=", "raw": True, "options": {"num_predict": 4}}),
)
"""Requests that bring as much as there is into an answer."""


# What is sent


def prepare(case: Case, *, is_streamed: bool) -> None:
    """Makes the request quick, and a right one sensible."""
    if isinstance(case.body, dict):
        is_right = case.meta.generation.mode is GenerationMode.POSITIVE
        body = {**sensible(case.body, case.path), "stream": is_streamed} if is_right else case.body
        case.body = quick(body)
    elif case.path == "/v1/models":
        case.headers["anthropic-version"] = "2023-06-01"  # without it, pages are not asked for


def quick(body: Any) -> Any:
    """The same request, but so that little is generated. What is wrong in it stays wrong."""
    if not isinstance(body, dict):
        return body
    body = {name: quick(value) if name == "options" else value for name, value in body.items()}
    return {name: lowered(value, *MOST[name]) if name in MOST else value for name, value in body.items()}


def lowered(value: Any, most: int, allowed: int) -> Any:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return most if is_number and most < value <= allowed else value


def sensible(body: dict[str, Any], path: str) -> dict[str, Any]:
    """A right request without what a schema cannot forbid: two forms at once, a grammar that is none, ..."""
    body = dict(body)
    for name in ("messages", "input"):
        if isinstance(body.get(name), list) and body[name]:
            body[name] = [MESSAGE, *body[name]]
    if path != "/v1/completions":
        with_one_form(body)
    if body.get("top_logprobs") and path == "/v1/chat/completions":
        body["logprobs"] = True
    if path == "/v1/completions" and body.get("echo"):
        body["logprobs"] = None
    if body.get("votes") is not None:
        body |= {"n": 1, "temperature": 0.5, "first": 1}
    if body.get("raw"):
        body |= {"system": None, "format": None}
    return body


def with_one_form(body: dict[str, Any]) -> None:
    given = [name for name in FORMS if body.get(name) is not None]
    for name in given[1:]:
        body[name] = None
    for name in given[:1]:
        body[name] = WORKING.get(name) or with_schema(body[name])
    if isinstance(body.get("format"), dict):
        body["format"] = ANSWER


def with_schema(form: Any) -> Any:
    """The form with a schema that can be used, wherever it has one."""
    if not isinstance(form, dict):
        return form
    return {name: ANSWER if name == "schema" else with_schema(value) for name, value in form.items()}


# What comes back


def check(case: Case, response: Response) -> None:
    """Fails if this is no answer to the request, as the description has it."""
    case.validate_response(response, checks=CHECKS)
    assert response.status_code not in {500, 502, 504}, response.text
    assert not response.stream_cut_short
    for piece in pieces(response):
        problem = best_match(validator_of(case.operation.path).iter_errors(piece))
        assert problem is None, problem
    is_right = case.meta is not None and case.meta.generation.mode is GenerationMode.POSITIVE
    if is_right and response.status_code == 400:
        assert any(reason in response.text for reason in IN_WORDS), response.text


def pieces(response: Response) -> Iterator[Any]:
    """The objects of a stream; none of a whole answer."""
    kind = response.headers["content-type"][0]
    if kind == LINES:
        yield from map(json.loads, response.text.splitlines())
    elif kind.startswith(EVENTS):
        data = [line.removeprefix("data: ") for line in response.text.splitlines() if line.startswith("data: ")]
        yield from (json.loads(each) for each in data if each != "[DONE]")


@cache
def validator_of(path: str) -> Draft202012Validator:
    """Of the pieces of the streams that a route sends."""
    content = DOCUMENT["paths"][path]["post"]["responses"]["200"]["content"]
    if LINES in content:
        return Draft202012Validator(resolved(content[LINES]["schema"], DOCUMENT))
    data = content[EVENTS]["schema"]["properties"]["data"]
    with_content = next(each for each in (data, *data.get("anyOf", ())) if "contentSchema" in each)
    return Draft202012Validator(resolved(with_content["contentSchema"], DOCUMENT))


@pytest.fixture(scope="module")
def address(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server of one model, so that any name of a model is right."""
    folder = tmp_path_factory.mktemp("conformance")
    with serving(isolated_environ(home, folder), folder) as server:
        yield server.address


def test_the_description_is_valid_openapi() -> None:
    SCHEMA.validate()


@pytest.mark.parametrize(("method", "path"), [route for route in ROUTES if route not in TAKING])
def test_what_takes_no_fields_answers_as_described(method: str, path: str, address: str) -> None:
    """A part of a path can be anything."""
    case = SCHEMA[path][method].Case(path_parameters={"name": "tiny", "digest": "sha256:0"})
    response = case.call(base_url=address)
    case.validate_response(response, checks=CHECKS[:-1])
    assert response.status_code in {200, 501}


@pytest.mark.parametrize("is_streamed", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize(("path", "body"), RICH)
def test_all_parts_of_an_answer_are_described(path: str, body: dict[str, Any], is_streamed: bool, address: str) -> None:
    case = SCHEMA[path]["post"].Case(body={**body, "stream": is_streamed}, media_type="application/json")
    response = case.call(base_url=address)
    assert response.status_code == 200
    check(case, response)


@pytest.mark.parametrize("path", sorted({path for method, path in TAKING if method == "post"}))
def test_the_examples_are_answered(path: str, address: str) -> None:
    [content] = DOCUMENT["paths"][path]["post"]["requestBody"]["content"].values()
    case = SCHEMA[path]["post"].Case(body=content["example"], media_type="application/json")
    response = case.call(base_url=address)
    assert response.status_code == 200
    check(case, response)


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE], ids=["right", "wrong"])
@pytest.mark.parametrize(("method", "path"), TAKING)
def test_every_request_is_answered_as_described(method: str, path: str, mode: GenerationMode, address: str) -> None:
    """Tells right ones from wrong ones, streams what it says, and never fails itself."""
    session = requests.Session()

    @settings(max_examples=max(settings.default.max_examples // 10, 1))
    @given(SCHEMA[path][method].as_strategy(generation_mode=mode), st.booleans())
    def ask(case: Case, is_streamed: bool) -> None:
        prepare(case, is_streamed=is_streamed)
        check(case, case.call(base_url=address, session=session))

    with session:
        ask()
