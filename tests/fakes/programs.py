"""Programs that stand for a system's own."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path


def write_program(folder: Path, name: str, script: str = "") -> str:
    """Writes an executable that runs `script` with this Python; returns the PATH that finds it.

    A shell starts it, because the path of an interpreter in a `#!` line cannot hold a space.
    """
    source, file = folder / f"{name}.py", folder / name
    source.write_text(f"{script}\n", encoding="utf-8")
    file.write_text(
        f'#!/bin/sh\nexec {shlex.quote(sys.executable)} {shlex.quote(str(source))} "$@"\n', encoding="utf-8"
    )
    file.chmod(0o755)
    return str(folder)
