"""One of the APIs that are served: its routes, and how it words an error."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from starlette.routing import Route

from r1.serve.errors import ApiError


@dataclass(frozen=True, slots=True)
class Api:
    """`prefixes` are what the paths of its routes begin with."""

    name: str
    prefixes: tuple[str, ...]
    routes: tuple[Route, ...]
    error_object: Callable[[ApiError], dict[str, Any]]
