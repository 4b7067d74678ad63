"""A server as a process of its own, for tests with real clients over real HTTP."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_START_S = 120  # until it listens; a busy machine takes much longer than an idle one
_END_S = 60
_POLL_S = 0.02


@dataclass(frozen=True, slots=True)
class Server:
    """A server that runs. `address` is its base, such as `http://127.0.0.1:40123`, without `/v1`."""

    address: str
    process: subprocess.Popen[bytes]
    log: Path

    def stderr(self) -> str:
        """What it has written so far."""
        return self.log.read_text(encoding="utf-8", errors="replace")


@contextmanager
def serving(
    environ: Mapping[str, str],
    folder: Path,
    *arguments: str,
    model: str | Path | None = "tiny",
    parallel: int = 4,
    grace_s: int = 1,
) -> Iterator[Server]:
    """Serves on a free port of this machine, and ends the server.

    `environ` is that of `tests.conftest.isolated_environ`; stderr goes to a file in `folder`; `model` None: whatever
    is there. Fails with the server's stderr if it does not start, if it ended by itself, or if it met an unexpected
    error.
    """
    log = folder / "server.log"
    named = [] if model is None else ["-m", str(model)]
    limits = ["--parallel", str(parallel), "--grace", str(grace_s)]
    command = [sys.executable, "-m", "r1", "serve", "--port", "0", *named, *limits, *arguments]
    with log.open("wb") as stderr:
        process = subprocess.Popen(
            command, env=dict(environ), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=stderr
        )
    try:
        server = Server(_address(process, log), process, log)
        yield server
        _end(server)
    finally:
        process.kill()
        process.wait()


def _address(process: subprocess.Popen[bytes], log: Path) -> str:
    """Waits until the server says where it listens."""
    deadline = time.monotonic() + _START_S
    while time.monotonic() < deadline and process.poll() is None:
        found = re.search(r"http://[\w.:\[\]]*:\d+(?=\W)", log.read_text(encoding="utf-8", errors="replace"))
        if found:
            return found[0]
        time.sleep(_POLL_S)
    raise AssertionError(f"the server did not start:\n{log.read_text(encoding='utf-8', errors='replace')}")


def _end(server: Server) -> None:
    """Ends it as a person does. A server that ended before, or that met an unexpected error, fails the test."""
    assert server.process.poll() is None, f"the server ended by itself:\n{server.stderr()}"
    server.process.terminate()
    try:
        server.process.wait(_END_S)
    except subprocess.TimeoutExpired:
        raise AssertionError(f"the server did not end:\n{server.stderr()}") from None
    assert "Traceback" not in server.stderr(), server.stderr()
    assert "unexpected error" not in server.stderr(), server.stderr()
