"""`r1 ARGUMENTS` in this process: the same exit status and output as from a process of its own, without its start."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from unittest.mock import patch

from r1 import app as module
from r1.console import Console
from r1.exit import run_app
from tests.fakes.consoles import console, written
from tests.fakes.hub import huggingface_client


def run_here(*arguments: str | Path, environ: Mapping[str, str]) -> subprocess.CompletedProcess[bytes]:
    """Run a command with this environment and no terminal. Only in the main thread: some commands handle signals."""
    command = ["r1", *map(str, arguments)]
    made = console(b"", environ=environ)
    with ExitStack() as stack:
        stack.enter_context(patch.multiple(sys, argv=command, stdout=made.stdout, stderr=made.stderr))
        stack.enter_context(patch.object(Console, "of_process", lambda: made))
        stack.enter_context(patch.object(module, "keep_libraries_quiet", lambda: None))
        stack.enter_context(huggingface_client(environ))
        status = run_app(module.app)
    output, errors = written(made.stdout).encode(), written(made.stderr).encode()
    return subprocess.CompletedProcess(command, status, output, errors)
