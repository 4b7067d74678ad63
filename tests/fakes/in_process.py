"""`r1 ARGUMENTS` in this process: the same exit status and output as from a process of its own, without its start."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO, NamedTuple
from unittest.mock import patch

from r1 import app as module
from r1.console import Console
from r1.dispatch import app_for
from r1.exit import run_app
from tests.fakes.consoles import console, written
from tests.fakes.hub import huggingface_client
from tests.fakes.paths import ROOT


def run_here(
    *arguments: str | Path,
    environ: Mapping[str, str],
    stdin: bytes | BinaryIO = b"",
    stderr_is_terminal: bool = False,
) -> subprocess.CompletedProcess[bytes]:
    """Run a command with this environment. Only in the main thread: some commands handle signals."""
    command = ["r1", *map(str, arguments)]
    made = console(stdin, environ=environ, stderr_is_terminal=stderr_is_terminal)

    def of_process(*, quiet: bool = False) -> Console:
        made.quiet = quiet
        return made

    with ExitStack() as stack:
        stack.enter_context(patch.multiple(sys, argv=command, stdout=made.stdout, stderr=made.stderr))
        stack.enter_context(patch.object(Console, "of_process", of_process))
        stack.enter_context(patch.object(module, "keep_libraries_quiet", lambda: None))  # it redirects descriptor 2
        stack.enter_context(huggingface_client(environ))
        status = run_app(app_for(module.app, command[1:]))
    output, errors = (written(stream).encode("utf-8", "backslashreplace") for stream in (made.stdout, made.stderr))
    return subprocess.CompletedProcess(command, status, output, errors)


def run_each(commands: Sequence[Sequence[str | Path]], environ: Mapping[str, str]) -> list[Outcome]:
    """The outcome of each command, all run one after the other in one new process; fewer if the process died.

    What a process computes only once, such as the tables of the smallest quant types, is then paid for only once.
    """
    done = subprocess.run(
        [sys.executable, "-m", "tests.fakes.in_process"],
        input=json.dumps([[str(argument) for argument in command] for command in commands]),
        env=dict(environ),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    return [Outcome(*json.loads(line)) for line in done.stdout.splitlines()]


class Outcome(NamedTuple):
    """The exit status of a command, and what it printed on stderr."""

    status: int
    stderr: str


def main() -> None:
    """Run the commands on stdin, a list of lists as JSON; print a line for each as it ends."""
    for command in json.load(sys.stdin):
        done = run_here(*command, environ=os.environ)
        print(json.dumps([int(done.returncode), done.stderr.decode()]), flush=True)


if __name__ == "__main__":
    main()
