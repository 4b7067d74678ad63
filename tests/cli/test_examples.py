"""`r1.examples`: every example is a command line that r1 accepts."""

from __future__ import annotations

import re
import shlex
import sys

import pytest

from r1 import examples
from r1.app import app
from r1.exit import run_app

TEXTS = [text for name, text in vars(examples).items() if name.isupper()]
COMMANDS = [
    re.split(r"[|<>&]", line.partition("r1")[2])[0]
    for text in TEXTS
    for line in text.splitlines()
    if line.startswith("    ")
]


@pytest.mark.parametrize("arguments", COMMANDS)
def test_is_accepted(arguments: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The parser refuses unknown options before it prints the help."""
    monkeypatch.setattr(sys, "argv", ["r1", *shlex.split(arguments), "--help"])
    assert run_app(app) == 0
    out, err = capsys.readouterr()
    assert out.startswith("Usage: r1")
    assert err == ""
