"""The description of what is served, beside what is served: its routes, and the fields that they read."""

from __future__ import annotations

import ast
import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from starlette.applications import Starlette

from r1.serve.asked import Asked
from r1.serve.errors import ApiError
from r1.serve.fields import Fields
from r1.serve.question import Question
from r1.serve.service import Service
from r1.serve.web.access import Access
from r1.serve.web.app import application
from r1.serve.web.journal import Journal, JournalOptions
from r1.serve.web.metrics import Metrics
from r1.serve.web.openapi.document import document
from tests.fakes.asgi import Answered, Exchange, ask, scope_of
from tests.fakes.consoles import console
from tests.fakes.paths import ROOT
from tests.fakes.probes import Probe, open_places, places, probes, resolved

DOCUMENT = document()
ASKED = 299
"""The status of a request that was understood."""

EVERYONE = Access()

MESSAGE = {"role": "user", "content": "x"}
EXAMPLES: dict[str, Any] = {
    "choices": ["x", "y"],
    "grammar": 'root ::= "x"',
    "messages": [MESSAGE],
    "messages[]": MESSAGE,
    "input[]": MESSAGE,
}
"""Values that are right not by their type alone."""

BASES: dict[str, Any] = {
    "/api/chat": {"messages": [MESSAGE]},
    "/api/generate": {"prompt": "x"},
    "/api/show": {"model": "x"},
}
"""Bodies where no field is required, and one is needed nevertheless."""

IN_WORDS = (
    "the messages have no text to answer",
    "a conversation begins with a user's message",
    "the schema cannot be used",
    "input is empty",  # it has nothing but old reasoning
    "top_logprobs is given, and logprobs is not true",
    "the grammar is wrong",
)
"""Reasons to refuse what the schema allows: the description has them in words."""


def operations() -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, item in DOCUMENT["paths"].items():
        for method, operation in item.items():
            if method != "parameters":
                yield method.upper(), path, operation


def bodies() -> dict[str, Any]:
    """Path → the schema of the body that is taken there, without references."""
    return {
        path: resolved(operation["requestBody"]["content"]["application/json"]["schema"], DOCUMENT)
        for _, path, operation in operations()
        if "requestBody" in operation
    }


BODIES = bodies()


def probes_of(path: str) -> Iterator[Probe]:
    base = {"": BASES[path]} if path in BASES else {}
    return probes(BODIES[path], {**EXAMPLES, **base})


class Refusing(Service):
    """Stands where the engine would: it refuses everything that comes so far."""

    def __init__(self, service: Service, error: ApiError) -> None:
        super().__init__(service.engine, service.models, service.settings, queue=8)
        self._error = error

    async def ask(self, question: Question) -> Asked:
        raise self._error

    async def prompt_tokens(self, question: Question) -> int:
        raise self._error

    async def name_of(self, model: str | None) -> str:
        raise self._error


def in_front_of(service: Service, access: Access = EVERYONE) -> Starlette:
    return application(service, Journal(console(), JournalOptions(), Metrics()), access)


@pytest.fixture(scope="module")
def understanding(service: Service) -> Starlette:
    """The application, in front of a service that answers nothing: what comes so far was understood."""
    return in_front_of(Refusing(service, ApiError(ASKED, "understood")))


class Noted(dict[str, Any]):
    """A JSON object that notes which of its keys are looked for."""

    def __init__(self, values: dict[str, Any], path: str, found: set[str]) -> None:
        super().__init__({name: noted(value, f"{path}{name}", found) for name, value in values.items()})
        self._path = path
        self._found = found

    def get(self, name: str, default: Any = None) -> Any:
        self._found.add(f"{self._path}{name}")
        return super().get(name, default)

    def __getitem__(self, name: str) -> Any:
        self._found.add(f"{self._path}{name}")
        return super().__getitem__(name)


def noted(value: Any, path: str, found: set[str]) -> Any:
    if isinstance(value, list):
        return [noted(item, f"{path}[]", found) for item in value]
    return Noted(value, f"{path}." if path else "", found) if isinstance(value, dict) else value


def test_it_is_served(app: Starlette) -> None:
    answered = ask(app, "GET", "/openapi.json")
    assert answered.headers["content-type"] == "application/json"
    assert answered.json() == DOCUMENT


def test_every_route_is_described_and_every_description_is_a_route(app: Starlette) -> None:
    """HEAD is a part of GET, and the parameter of a path may have any name."""

    def plain(path: str) -> str:
        return path.replace("{name:path}", "{}").replace("{model:path}", "{}").replace("{name}", "{}")

    served = {(method, plain(route.path)) for route in app.routes for method in route.methods}  # type: ignore[attr-defined]
    described = {(method, plain(path)) for method, path, _ in operations()}
    assert {(method, path) for method, path in served if method != "HEAD"} == described


@pytest.mark.parametrize("path", BODIES)
def test_every_field_is_read_as_it_is_described(path: str, understanding: Starlette) -> None:
    """What the description allows is understood; what it forbids is refused by its name, before the model is asked."""
    wrong = []

    async def send_all() -> None:
        for probe in probes_of(path):
            body = json.dumps(probe.body).encode()
            answered = await Exchange([body]).run(understanding, scope_of("POST", path))
            if not is_as_described(answered, probe.place, is_right=probe.is_right):
                wrong.append(f"{probe} → {answered.status} {answered.body.decode()}")

    asyncio.run(send_all())
    assert not wrong, "\n".join(wrong)


def is_as_described(answered: Answered, place: str, *, is_right: bool) -> bool:
    told = answered.body.decode()
    if is_right:
        return answered.status == ASKED or (answered.status == 400 and any(reason in told for reason in IN_WORDS))
    return answered.status == 400 and (place.rpartition(".")[2].removesuffix("[]") in told or "tools" in told)


@pytest.mark.parametrize("path", BODIES)
def test_the_fields_that_are_read_are_those_that_are_described(
    path: str, understanding: Starlette, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: set[str] = set()
    parse = Fields.parse
    monkeypatch.setattr(Fields, "parse", lambda body: Fields(noted(dict(parse(body).values), "", found)))
    schema = BODIES[path]

    async def send_all() -> None:
        for probe in probes_of(path):
            if probe.is_right:
                body = json.dumps(probe.body).encode()
                await Exchange([body]).run(understanding, scope_of("POST", path))

    asyncio.run(send_all())
    inside = tuple(f"{place}." for place in open_places(schema))
    assert {name for name in found if not name.startswith(inside)} == set(places(schema))


REFUSALS = [
    ApiError(404, "no such model", param="model", code="model_not_found"),
    ApiError(408, "slow"),
    ApiError(413, "large"),
    ApiError(500, "broken"),
    ApiError(503, "no memory", retry_after_s=60),
    ApiError(503, "busy", code="overloaded", retry_after_s=5),
]


@pytest.mark.parametrize("error", REFUSALS, ids=str)
@pytest.mark.parametrize("path", BODIES)
def test_every_refusal_is_described(path: str, error: ApiError, service: Service) -> None:
    body = next(probe.body for probe in probes_of(path) if probe.is_right)
    answered = ask(in_front_of(Refusing(service, error)), "POST", path, body)
    assert answered.status == (529 if path.startswith("/v1/messages") and error.code == "overloaded" else error.status)
    assert_described("POST", path, answered)


@pytest.mark.parametrize(
    ("status", "headers"),
    [
        (400, {"content-length": "1", "transfer-encoding": "chunked", "authorization": "Bearer secret"}),
        (401, {}),
        (403, {"origin": "http://evil.example", "authorization": "Bearer secret"}),
    ],
)
@pytest.mark.parametrize(("method", "path"), [(method, path) for method, path, _ in operations()])
def test_who_may_not_come_in_is_described(
    method: str, path: str, status: int, headers: dict[str, str], service: Service
) -> None:
    guarded = in_front_of(service, Access(keys=(b"secret",)))
    answered = ask(guarded, method, path.format(name="tiny", digest="sha256:0"), headers=headers)
    if (path, status) == ("/health", 401):
        assert (answered.status, status in DOCUMENT["paths"][path]["get"]["responses"]) == (200, False)
        return
    assert answered.status == status
    assert_described(method, path, answered)


def assert_described(method: str, path: str, answered: Answered) -> None:
    response = DOCUMENT["paths"][path][method.lower()]["responses"][str(answered.status)]
    schema = response["content"][answered.headers["content-type"]]["schema"]
    Draft202012Validator(resolved(schema, DOCUMENT)).validate(answered.json())
    assert {"retry-after", "request-id"} & answered.headers.keys() == response.get("headers", {}).keys()


GETTERS = {
    "text",
    "required_text",
    "one_of",
    "integer",
    "number",
    "flag",
    "texts",
    "texts_by_name",
    "object",
    "objects",
}


def names_in(folder: Path) -> Iterator[str]:
    """The names of fields that the modules of an API read, as far as they stand in the calls."""
    for path in folder.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.args:
                of_values = node.func.attr == "get" and ast.unparse(node.func.value).endswith(".values")
                if node.func.attr in GETTERS or of_values:
                    yield from (arg.value for arg in node.args[:1] if isinstance(arg, ast.Constant))


@pytest.mark.parametrize("api", ["openai", "anthropic", "ollama"])
def test_every_name_that_is_read_is_described(api: str) -> None:
    """Also one that is read after the model has answered."""
    described = {place.rpartition(".")[2] for schema in BODIES.values() for place in places(schema)}
    found = set(names_in(ROOT / "cli" / "r1" / "serve" / api))
    assert found
    assert found <= described
