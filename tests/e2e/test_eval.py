"""`r1 eval` as a process: kills, Ctrl-C, a reader that goes away, and the line on a terminal.

`python -m scripts.eval_kills` kills it 20 times at random moments.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import R1, Start
from tests.e2e.terminal import Terminal, without_style

WAIT_S = 300  # for a process; a busy machine takes much longer than an idle one
ASKED = ("eval", "-m", "tiny", "--builtin", "tiny", "--limit", "12", "-k", "2", "--temp", "0", "--parallel", "4")

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")


def samples(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_bytes().splitlines()[1:]]


def lines(file: Path) -> int:
    return file.read_bytes().count(b"\n") if file.exists() else 0


def start_and_wait(start: Start, file: Path, whole_lines: int, *arguments: str | Path) -> subprocess.Popen[bytes]:
    """A process of which the file has so many lines, or that has ended."""
    process = start(*(arguments or ASKED), "--json", "-o", file)
    while process.poll() is None and lines(file) < whole_lines:
        threading.Event().wait(0.002)
    return process


def test_after_kills_no_sample_is_lost_or_drawn_twice_and_the_figures_are_as_without(
    start: Start, tmp_path: Path
) -> None:
    whole, file = tmp_path / "whole.jsonl", tmp_path / "killed.jsonl"
    undisturbed = json.loads(start(*ASKED, "--json", "-o", whole).communicate(timeout=WAIT_S)[0])
    for kill_at in (5, 16):
        process = start_and_wait(start, file, kill_at)
        process.kill()
        process.communicate(timeout=WAIT_S)
        with file.open("ab") as torn:  # as if it had been killed in the middle of a write
            torn.write(b'{"id": "add-3", "line": 3, "sam')
    last = start(*ASKED, "--json", "-o", file)
    out, errors = last.communicate(timeout=WAIT_S)
    assert (last.returncode, errors) == (0, b"")
    assert Counter((each["line"], each["sample"]) for each in samples(file)) == Counter(
        (each["line"], each["sample"]) for each in samples(whole)
    )
    assert len(samples(file)) == 24
    names = ("pass_at_1", "cons", "samples", "complete", "thinking_end", "finish_reason", "usage", "tokens")
    report = json.loads(out)
    assert {name: report[name] for name in names} == {name: undisturbed[name] for name in names}


def test_signals_hurry_the_samples_under_way_and_print_the_figures_so_far(
    start: Start, tmp_path: Path, pensive_path: Path
) -> None:
    """The samples end at --max-tokens, after thinking that ends to leave room for an answer or, some, at SIGUSR1.

    The file has them, and not those that Ctrl-C ended.
    """
    problems, file = tmp_path / "problems.jsonl", tmp_path / "samples.jsonl"
    problems.write_text('{"question": "hi", "answer": 1}\n' * 1000, encoding="utf-8")
    options = ("--max-tokens", "300", "--loop-guard", "off", "--parallel", "2", "--no-instruct")
    process = start_and_wait(start, file, 3, "eval", "-m", pensive_path, problems, *options)
    while process.poll() is None and b'"user"' not in file.read_bytes():
        process.send_signal(signal.SIGUSR1)
        threading.Event().wait(0.02)
    process.send_signal(signal.SIGINT)
    out, errors = process.communicate(timeout=WAIT_S)
    assert (process.returncode, errors) == (130, b"")
    report = json.loads(out)
    assert report["complete"] is False
    assert 2 <= report["samples"] == len(samples(file)) < 1000
    assert report["finish_reason"] == {"length": report["samples"]}
    assert report["thinking_end"].keys() == {"limit", "user"}


def test_a_terminal_has_a_line_with_what_is_done_and_what_is_left(
    environ: dict[str, str], tmp_path: Path, endless_path: Path
) -> None:
    problems = tmp_path / "problems.jsonl"
    problems.write_text('{"question": "hi", "answer": 1}\n' * 1000, encoding="utf-8")
    options = ("--max-tokens", "300", "--loop-guard", "off", "--parallel", "2", "--no-instruct", "-k", "3")
    with Terminal([*R1, "eval", "-m", str(endless_path), str(problems), *options], environ) as terminal:
        screen = ""
        while " left · no winner yet: line 1" not in without_style(screen):
            screen += terminal.read_some()
        terminal.type("\x03")
        screen += terminal.read_to_end()
        assert terminal.status == 130
    text = without_style(screen)
    assert " of 3,000 samples · " in text
    assert "only " in text
