"""The program in this process: the real command line, on streams in memory. Much faster than starting it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from r1 import app
from r1.console import Console
from r1.exit import run_app
from tests.conftest import Run
from tests.fakes.consoles import console, written
from tests.fakes.homes import write_full_home


@pytest.fixture
def r1(environ: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs `r1 ARGUMENTS` like the fixture of the same name that starts a process; `stdin` None is an empty pipe."""

    def run(*arguments: str | Path, stdin: bytes | None = None, **variables: str) -> subprocess.CompletedProcess[bytes]:
        made = console(stdin or b"", environ={**environ, **variables})
        with monkeypatch.context() as patch:
            for name in os.environ.keys() - made.environ.keys():
                patch.delenv(name)
            for name, value in made.environ.items():
                patch.setenv(name, value)
            patch.setattr(sys, "argv", ["r1", *map(str, arguments)])
            patch.setattr(sys, "stdout", made.stdout)
            patch.setattr(sys, "stderr", made.stderr)
            patch.setattr(Console, "of_process", lambda: made)
            patch.setattr(app, "keep_libraries_quiet", lambda: None)  # it would redirect the tests' own stderr
            status = run_app(app.app)
        out, err = (written(stream).encode("utf-8", "backslashreplace") for stream in (made.stdout, made.stderr))
        return subprocess.CompletedProcess(arguments, status, out, err)

    return run


@pytest.fixture
def own_home(home: Path, tmp_path: Path) -> Path:
    """A copy of the home, for a test to change."""
    return Path(shutil.copytree(home, tmp_path / "own"))


@pytest.fixture
def full_home(home: Path, tmp_path: Path) -> Path:
    """A home with everything that can be listed and removed."""
    return write_full_home(home, tmp_path / "own")
