"""A console whose streams are in memory."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import BinaryIO

from r1.console import Console


def console(
    stdin: bytes | BinaryIO | None = None,
    *,
    stdout_is_terminal: bool = False,
    stderr_is_terminal: bool = False,
    environ: Mapping[str, str] | None = None,
) -> Console:
    """`stdin` None: a terminal without any input."""
    stream = io.BytesIO(stdin or b"") if stdin is None or isinstance(stdin, bytes) else stdin
    return Console(
        stdin=stream,
        stdout=io.StringIO(),
        stderr=io.StringIO(),
        environ=environ or {},
        stdin_is_terminal=stdin is None,
        stdout_is_terminal=stdout_is_terminal,
        stderr_is_terminal=stderr_is_terminal,
    )


def written(stream: object) -> str:
    """The text written to an in-memory stream."""
    assert isinstance(stream, io.StringIO)
    return stream.getvalue()
