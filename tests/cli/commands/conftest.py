"""The program in this process: the real command line, on streams in memory. Much faster than starting it."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.conftest import Run
from tests.fakes.homes import write_full_home
from tests.fakes.in_process import run_here


@pytest.fixture
def r1(environ: dict[str, str]) -> Run:
    """Runs `r1 ARGUMENTS` like the fixture of the same name that starts a process; `stdin` None is an empty pipe."""

    def run(*arguments: str | Path, stdin: bytes | None = None, **variables: str) -> subprocess.CompletedProcess[bytes]:
        return run_here(*arguments, environ={**environ, **variables}, stdin=stdin or b"")

    return run


@pytest.fixture
def own_home(home: Path, tmp_path: Path) -> Path:
    """A copy of the home, for a test to change."""
    return Path(shutil.copytree(home, tmp_path / "own"))


@pytest.fixture
def full_home(home: Path, tmp_path: Path) -> Path:
    """A home with everything that can be listed and removed."""
    return write_full_home(home, tmp_path / "own")
