"""SIGTERM and SIGHUP end every command like Ctrl-C, with the exit code that a shell shows, and no traceback."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

import pytest

from tests.conftest import R1, Start
from tests.e2e.terminal import Terminal

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")

SIGNALS = [(signal.SIGTERM, 143), (signal.SIGHUP, 129)]
WAIT_S = 300  # for a process; a busy machine takes much longer than an idle one


@pytest.fixture
def environ(environ: dict[str, str], own_home: Path) -> dict[str, str]:
    """With a home of its own, because some of these lines write chats."""
    return {**environ, "R1_HOME": str(own_home)}


@pytest.mark.parametrize(("sent", "status"), SIGNALS)
class TestRun:
    """A run that generates prints what there is."""

    def test_as_text(self, start: Start, endless_path: Path, sent: signal.Signals, status: int) -> None:
        arguments = ("-m", endless_path, "--no-stdin", "--temp", "0", "--thinking", "show", "hi")
        process = start("run", *arguments, bufsize=0)
        first = process.stderr.read(1)
        process.send_signal(sent)
        out, rest = process.communicate(timeout=WAIT_S)
        assert process.returncode == status
        assert (first + rest).endswith(b"\n")
        assert out == b"" or out.endswith(b"\n")

    def test_as_json(self, start: Start, endless_path: Path, sent: signal.Signals, status: int) -> None:
        arguments = ("-m", endless_path, "--no-stdin", "--temp", "0", "--thinking", "show", "--json", "hi")
        process = start("run", *arguments)
        process.stderr.read(1)
        process.send_signal(sent)
        out, _ = process.communicate(timeout=WAIT_S)
        report = json.loads(out)
        assert (process.returncode, report["finish_reason"]) == (status, "interrupted")
        assert report["thinking"]
        assert out.endswith(b"\n")


@pytest.mark.parametrize(("sent", "status"), SIGNALS)
@pytest.mark.parametrize("arguments", ["rm tiny", "chat --plain"])
def test_while_it_waits_for_a_person(
    environ: dict[str, str], arguments: str, sent: signal.Signals, status: int
) -> None:
    with Terminal([*R1, *arguments.split()], environ) as terminal:
        screen = ""
        while not screen.endswith((" [y/N] ", "> ")):
            screen += terminal.read_some()
        os.kill(terminal.process_id, sent)
        rest = terminal.read_to_end()
        assert terminal.status == status
    assert "Traceback" not in screen + rest


@pytest.mark.parametrize(("sent", "status"), SIGNALS)
def test_a_chat_in_lines_ends_in_the_middle_of_a_reply(
    environ: dict[str, str], endless_path: Path, sent: signal.Signals, status: int
) -> None:
    with Terminal([*R1, "chat", "--plain", "-m", str(endless_path)], environ) as terminal:
        terminal.type("hi\r")
        screen = ""
        while len(screen) < 500:  # the model never ends its turn
            screen += terminal.read_some()
        os.kill(terminal.process_id, sent)
        rest = terminal.read_to_end()
        assert terminal.status == status
    assert "Traceback" not in screen + rest
