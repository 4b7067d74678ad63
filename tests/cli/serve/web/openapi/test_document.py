"""The description of what is served, beside what is served: routes, fields, bounds."""

from __future__ import annotations

import jsonschema
import pytest
from schemathesis import openapi
from starlette.applications import Starlette
from starlette.routing import Route

from r1.serve.web.openapi.document import document
from tests.fakes.asgi import ask


def test_it_is_valid_openapi() -> None:
    openapi.from_dict(document()).validate()


def test_it_is_served(app: Starlette) -> None:
    answered = ask(app, "GET", "/openapi.json")
    assert answered.headers["content-type"] == "application/json"
    assert answered.json() == document()
