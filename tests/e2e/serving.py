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
_PROGRAM = """
import os, sys
from pathlib import Path
from r1.commands.serve import ServeOptions, serve_models
from r1.console import Console
from r1.settings import load

flags, options = eval(sys.argv[1]), eval(sys.argv[2])
console = Console.of_process()
sys.exit(serve_models(console, ServeOptions(**options), load(flags, os.environ)))
"""


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
    environ: Mapping[str, str], folder: Path, *, model: str | Path | None = "tiny", parallel: int = 4, **options: object
) -> Iterator[Server]:
    """Serves on a free port of this machine, and ends the server.

    `environ` is that of `tests.conftest.isolated_environ`; stderr goes to a file in `folder`; `options` are fields of
    ServeOptions. Fails with the server's stderr if it does not start, if it ended by itself, or if it met an error that
    it did not expect.
    """
    log = folder / "server.log"
    flags = {"parallel": parallel}
    given = {"port": 0, "pinned": None if model is None else str(model), "grace_s": 1.0, **options}
    command = [sys.executable, "-c", _PROGRAM, repr(flags), repr(given)]
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
        found = re.search(r"http://[\w.:\[\]]*:\d+(?=\s)", log.read_text(encoding="utf-8", errors="replace"))
        if found:
            return found[0]
        time.sleep(_POLL_S)
    raise AssertionError(f"the server did not start:\n{log.read_text(encoding='utf-8', errors='replace')}")


def _end(server: Server) -> None:
    """Ends it as a person does. A server that ended before, or that wrote a traceback, fails the test."""
    assert server.process.poll() is None, f"the server ended by itself:\n{server.stderr()}"
    server.process.terminate()
    try:
        server.process.wait(_END_S)
    except subprocess.TimeoutExpired:
        raise AssertionError(f"the server did not end:\n{server.stderr()}") from None
    assert "Traceback" not in server.stderr(), server.stderr()
