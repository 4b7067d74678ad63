"""math-verify in a process of its own: formulas that hang it, its end, and what happens to r1 meanwhile."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, suppress

import psutil
import pytest

from r1.evaluate.symbolic import LONGEST, Hangs, Verifier

PATIENT_S = 60.0  # a limit that no honest comparison reaches, on a slow machine either
HANGS = "2^{2^{2^{99}}}"  # has more digits than there are atoms


@pytest.fixture
def verifier() -> Iterator[Verifier]:
    with closing(Verifier(PATIENT_S)) as verifier:
        yield verifier


def children() -> list[psutil.Process]:
    return [process for process in psutil.Process().children() if "symbolic_child.py" in " ".join(process.cmdline())]


def wait_for_end(process: psutil.Process) -> None:
    """Also of one that nobody has reaped yet."""
    until = time.monotonic() + PATIENT_S
    with suppress(psutil.NoSuchProcess):
        while process.status() != psutil.STATUS_ZOMBIE:
            assert time.monotonic() < until, f"{process} still runs"
            time.sleep(0.02)


def test_compares_and_starts_again_when_somebody_ended_it(verifier: Verifier) -> None:
    before = {process.pid for process in children()}
    assert verifier.verify("x^2 - 1", "(x-1)(x+1)") is True
    assert verifier.verify("x", "y") is False
    assert verifier.verify("5", "2a + b = 5") is False
    assert verifier.verify("2a + b = 5", "5") is False
    (process,) = (process for process in children() if process.pid not in before)
    if sys.platform == "linux":  # a gigabyte is all the memory that any formula can take
        assert process.rlimit(psutil.RLIMIT_AS) == (1 << 30, 1 << 30)
    process.kill()
    wait_for_end(process)
    assert verifier.verify("x", "x") is True
    verifier.close()
    verifier.close()
    assert {process.pid for process in children()} <= before


@pytest.mark.parametrize(
    "hostile",
    [HANGS, "\\frac{" * 180 + "1" + "}{2}" * 180],
    ids=["tower", "deep"],
)
def test_a_formula_that_hangs_it_has_no_result(hostile: str) -> None:
    with closing(Verifier(limit_s=0.2)) as verifier:
        assert verifier.verify(hostile, "5") is None


def test_a_formula_that_hung_it_is_not_read_again() -> None:
    hangs = Hangs()
    hangs.add(("a", "b"), 1)  # while it read the second one
    assert hangs.is_too_hard("c", "b")
    assert not hangs.is_too_hard("a", "c")


def test_a_formula_that_hung_it_with_two_others_is_too_hard_and_they_are_not() -> None:
    hangs = Hangs()
    for hard in ("first", "second", "third"):
        for formula in ("a", "b"):
            assert not hangs.is_too_hard(hard, formula)
            hangs.add((formula, hard), 2)
        assert hangs.is_too_hard("c", hard)
    assert not hangs.is_too_hard("a", "b")


def test_a_formula_that_once_had_a_result_is_never_blamed() -> None:
    """A right answer meets every wrong one."""
    hangs = Hangs()
    hangs.had_result(("right", "alike"))
    for hard in ("first", "second", "third"):
        hangs.add(("right", hard), 2)
    hangs.add(("right", "fourth"), 0)  # the machine was busy
    assert not hangs.is_too_hard("right", "alike")
    hangs.add(("alike", "first"), 2)
    assert hangs.is_too_hard("first")
    assert not hangs.is_too_hard("right", "alike", "second")


def test_results_are_kept_in_mind_when_others_hang(monkeypatch: pytest.MonkeyPatch) -> None:
    with closing(Verifier(PATIENT_S)) as verifier:
        assert verifier.verify("\\frac{1}{2}", "0.5") is True
        monkeypatch.setattr(verifier, "_limit_s", 0.0)  # of the next processes
        monkeypatch.setattr("r1.evaluate.symbolic._MARGIN_S", 0.0)
        assert [verifier.verify("\\frac{1}{2}", hard) for hard in ("x", "y")] == [None, None]
        monkeypatch.undo()
        assert verifier.verify("\\frac{1}{2}", "\\frac{2}{4}") is True


def test_formulas_with_other_values_are_told_apart_at_once() -> None:
    """To simplify these takes longer than anyone waits."""
    with closing(Verifier(PATIENT_S)) as verifier:
        assert verifier.verify("\\frac{\\sqrt{2}}{2}", "(x+y+z+1)^{999}") is False
        assert verifier.verify("(x+y+z+1)^{999}", "(x+y+z+2)^{999}") is False
        assert verifier.verify("\\sqrt{-2}", "\\sqrt{-3}") is False
        assert verifier.verify("\\pi + 10^{-30}", "\\pi") is False
        assert verifier.verify("y = (x+z+1)^{999}", "y = (x+z+2)^{999}") is False
        assert verifier.verify("y = (x+z+1)^{999}", "(x+z+2)^{999}") is False
        assert verifier.verify("y = 2x", "x = \\frac{y}{2}") is True


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("(10^{20}+x)^2 - 10^{40} - 2 \\cdot 10^{20}x", "x^2"),
        ("\\binom{n}{2}", "\\frac{n(n-1)}{2}"),
        ("n!", "n(n-1)!"),
        ("\\lfloor x+1 \\rfloor", "\\lfloor x \\rfloor + 1"),
        ("\\arcsin 2", "\\frac{\\pi}{2} - \\arccos 2"),
        ("x^{99} \\cdot 10^{99}", "(10x)^{99}"),
        ("\\frac{1}{\\sqrt{3}-\\sqrt{2}}", "\\sqrt{3}+\\sqrt{2}"),
    ],
)
def test_equal_formulas_have_equal_values(verifier: Verifier, one: str, other: str) -> None:
    assert verifier.verify(one, other) is verifier.verify(other, one) is True


def test_an_interrupt_ends_the_wait_and_the_process() -> None:
    before = len(children())
    with closing(Verifier(PATIENT_S)) as verifier:
        assert verifier.verify("x", "y") is False
        looks = iter([False] * 5)  # half a second
        assert verifier.verify(HANGS, "5", lambda: next(looks, True)) is None
        assert len(children()) == before
        assert verifier.verify("x", "x", lambda: True) is None
        assert len(children()) == before
        assert verifier.verify("x", "x") is True


def test_what_it_cannot_read_or_is_too_long_has_no_result(verifier: Verifier) -> None:
    before = len(children())
    assert verifier.verify("x" * (LONGEST + 1), "x") is None
    assert len(children()) == before  # not even started
    assert verifier.verify("", "") is None
    assert verifier.verify("\\frac{", "1") is None
    assert verifier.verify("\ud800\0\n", "1") is None
    assert verifier.verify("9" * LONGEST, "9" * LONGEST) is not None


def test_is_there_when_the_extra_is_installed() -> None:
    found = Verifier.if_installed()
    assert found is not None
    found.close()  # nothing was started


_PROGRAM = f"""
import sys
from r1.evaluate.symbolic import Verifier
verifier = Verifier({PATIENT_S})
try:
    print(verifier.verify("x+y", "y+x"), "sympy" in sys.modules, "math_verify" in sys.modules, flush=True)
    verifier.verify("{HANGS}", "5")
except KeyboardInterrupt:
    print("interrupted")
"""


@pytest.mark.skipif(os.name != "posix", reason="sends signals to a group of processes")
def test_ctrl_c_does_not_wait_for_it_and_it_is_ended() -> None:
    with subprocess.Popen([sys.executable, "-c", _PROGRAM], stdout=subprocess.PIPE, start_new_session=True) as asking:
        assert asking.stdout is not None
        assert asking.stdout.readline() == b"True False False\n"
        (process,) = psutil.Process(asking.pid).children()
        os.killpg(asking.pid, signal.SIGINT)
        assert asking.stdout.read() == b"interrupted\n"
        wait_for_end(process)


def test_it_ends_when_r1_is_killed() -> None:
    program = (
        _PROGRAM.replace(HANGS, "x").replace('print("interrupted")', "pass") + "print(flush=True); sys.stdin.read()"
    )
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", program], stdin=pipe, stdout=pipe) as asking:
        assert asking.stdout is not None
        asking.stdout.readline()
        assert asking.stdout.readline().strip() == b""
        (process,) = psutil.Process(asking.pid).children()
        asking.kill()
        wait_for_end(process)
