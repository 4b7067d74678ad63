"""`r1 run` as a process: thinking that is ended by a budget, by SIGUSR1 and by Ctrl-C after it."""

from __future__ import annotations

import json
import os
import re
import select
import signal
import sys
from pathlib import Path

import pytest

from tests.conftest import R1, Start
from tests.e2e.terminal import Terminal, without_style

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals and terminals")

WAIT_S = 300  # for a process; a busy machine takes much longer than an idle one
ON_AND_ON = ("--temp", "0", "--loop-guard", "off")
ANSWER_NOW = rb"r1: the thinking was ended after \d+ tokens, by the signal to answer now\n"


class TestAnswerNow:
    """SIGUSR1 to a model that would think on for ever."""

    def test_the_answer_follows(self, start: Start, pensive_path: Path) -> None:
        options = ("-m", pensive_path, *ON_AND_ON, "--thinking", "show", "--choices", "42,43")
        process = start("run", "--no-stdin", *options, "hi", bufsize=0)
        assert process.stderr.read(1)
        process.send_signal(signal.SIGUSR1)
        out, errors = process.communicate(timeout=WAIT_S)
        assert process.returncode == 0
        assert out in {b"42\n", b"43\n"}
        assert re.search(rb"\n" + ANSWER_NOW + rb"\Z", errors)

    def test_ctrl_c_ends_the_answer_that_follows(self, start: Start, pensive_path: Path) -> None:
        process = start("run", "--no-stdin", "-m", pensive_path, *ON_AND_ON, "--thinking", "show", "hi", bufsize=0)
        assert process.stderr.read(1)
        process.send_signal(signal.SIGUSR1)
        first = process.stdout.read(1)  # the first line of an answer that does not end
        process.send_signal(signal.SIGINT)
        rest, errors = process.communicate(timeout=WAIT_S)
        assert process.returncode == 130
        assert (first + rest).endswith(b"\n")
        assert re.search(ANSWER_NOW, errors)

    def test_of_many_prompts_all_under_way_answer(self, start: Start, pensive_path: Path) -> None:
        options = ("-m", pensive_path, *ON_AND_ON, "--parallel", "2", "--choices", "42,43")
        process = start("run", "--jsonl", *options, bufsize=0)
        process.stdin.write(b'{"prompt": "hi", "think_budget": 1}\n"hi"\n"hi"\n')
        found = [json.loads(process.stdout.readline())]  # from now on it handles signals
        while len(found) < 3:
            process.send_signal(signal.SIGUSR1)
            if select.select([process.stdout], [], [], 0.05)[0]:
                found.append(json.loads(process.stdout.readline()))
        process.stdin.close()
        assert [each["thinking_end"] for each in found] == ["budget", "user", "user"]
        assert all(each["valid"] for each in found)
        assert process.wait(timeout=WAIT_S) == 0


@pytest.mark.parametrize("columns", ["40", "80"])
def test_a_terminal_shows_the_tokens_against_the_budget(
    environ: dict[str, str], pensive_path: Path, columns: str
) -> None:
    options = ("-m", str(pensive_path), *ON_AND_ON, "--thinking", "hide", "--choices", "42,43")
    command = [*R1, "run", "--no-stdin", *options, "--think-budget", "30000", "hi"]
    with Terminal(command, {**environ, "COLUMNS": columns}) as terminal:
        screen = ""
        while not re.search(
            r"thinking · \d+ s · [\d,]+ of 30,000 tokens" if columns == "80" else "thinking · ", screen
        ):
            screen += without_style(terminal.read_some())
        os.kill(terminal.process_id, signal.SIGUSR1)
        rest = without_style(terminal.read_to_end())
        assert terminal.status == 0
    status_lines = re.findall(r"\r\x1b\[K([^\r\n\x1b]+)", screen + rest)
    assert status_lines
    assert max(map(len, status_lines)) < int(columns)
    assert re.search(r"4[23]\r\n", rest)
    assert "by the signal to answer now" in rest
