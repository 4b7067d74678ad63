"""`python -m scripts.fuzz`: made-up cases find no fault, and a fault would be found."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from scripts.fuzz.cases import Case, Streams
from scripts.fuzz.judge import fault
from scripts.fuzz.process import Outcome
from tests.fakes.paths import ROOT

CASE = Case(ROOT, ["show", "x"], {}, {}, b"", Streams(), [])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the fuzzer forks")
def test_no_fault_in_the_cases_of_one_seed() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "scripts.fuzz", "--seed", "1", "--cases", "60"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stdout


@pytest.mark.parametrize(
    ("status", "stderr", "problem"),
    [
        (1, b"r1: unexpected error: OSError: [Errno 9] Bad file descriptor\n", "an unexpected error"),
        (1, b"Traceback (most recent call last):\n", "a traceback"),
        (-11, b"", "it died of SIGSEGV"),
        (4, b"", "status 4 without a line that says why"),
        (9, b"r1: no\n", "status 9"),
        (0, b"FutureWarning: old\n", "a line on stderr that is not r1's own: 'FutureWarning: old'"),
        (0, b"", ""),
        (4, b"r1: no model is called 'x'\n", ""),
    ],
)
def test_what_counts_as_a_fault(status: int, stderr: bytes, problem: str) -> None:
    assert fault(CASE, Outcome(status, b"", stderr, seconds=0.1, hung=False)) == problem


def test_a_process_that_does_not_end_is_a_fault() -> None:
    assert fault(CASE, Outcome(-9, b"", b"", seconds=45.0, hung=True)) == "it did not end, even after SIGTERM"
