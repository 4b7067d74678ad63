"""What is known of one HTTP request while it is answered: who asks, what became of it, and the replies to it."""

from __future__ import annotations

import time
from contextvars import ContextVar
from dataclasses import dataclass, field

from r1.serve.asked import Asked
from r1.serve.errors import ApiError


@dataclass(slots=True)
class Entry:
    """`client` is an address, `agent` the name of its program. `status` is that of HTTP; None: nothing was sent.

    `has_fixed_path`: the path is one of the application's, with nothing in it that a client could think up. `error`
    says why it was refused; `prompt` is what was asked.
    """

    method: str
    path: str
    client: str = ""
    agent: str = ""
    status: int | None = None
    has_fixed_path: bool = False
    error: ApiError | None = None
    prompt: str | None = None
    asked: Asked | None = None
    began: float = field(default_factory=time.monotonic)


current: ContextVar[Entry | None] = ContextVar("current", default=None)
"""The entry of the request that the running task answers; None outside of one."""
