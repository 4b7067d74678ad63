"""One of the APIs that are served: its routes, and how it words an error."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from starlette.routing import Route

from r1.serve.errors import ApiError


def _own_status(error: ApiError) -> int:
    return error.status


@dataclass(frozen=True, slots=True)
class Api:
    """`prefixes` are what the paths of its routes begin with. `header` is one that all its clients send, and no others;
    where APIs share a path, it tells which one is meant. `status_of` is the HTTP status for an error.
    """

    name: str
    prefixes: tuple[str, ...]
    routes: tuple[Route, ...]
    error_object: Callable[[ApiError], dict[str, Any]]
    status_of: Callable[[ApiError], int] = _own_status
    header: str | None = None
