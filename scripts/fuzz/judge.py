"""What r1 must never do, in any circumstances."""

from __future__ import annotations

import signal

from r1_quantize.errors import ExitStatus
from scripts.fuzz.cases import Case
from scripts.fuzz.process import Outcome

_DOCUMENTED = {int(status) for status in ExitStatus} | {128 + signal.SIGTERM, 128 + signal.SIGHUP}
_WITHOUT_WORDS = {
    ExitStatus.OK,
    ExitStatus.INTERRUPTED,
    ExitStatus.CLOSED_PIPE,
    128 + signal.SIGTERM,
    128 + signal.SIGHUP,
}


def fault(case: Case, outcome: Outcome) -> str:
    """What is wrong with the outcome of a case; empty if nothing is."""
    errors = outcome.stderr.decode("utf-8", "replace")
    if outcome.hung:
        return "it did not end, even after SIGTERM"
    if outcome.status < 0:
        return f"it died of {signal.Signals(-outcome.status).name}"
    if "R1_DEBUG" not in case.variables and ("Traceback" in errors or "Exception ignored" in errors):
        return "a traceback"
    if "unexpected error" in errors or b"unexpected error" in outcome.stdout:
        return "an unexpected error"
    if outcome.status not in _DOCUMENTED:
        return f"status {outcome.status}"
    if case.streams.reads_stderr and outcome.status not in _WITHOUT_WORDS and "r1: " not in errors:
        return f"status {outcome.status} without a line that says why"
    foreign = [line for line in errors.splitlines() if line and not line.startswith("r1: ")]
    if foreign and not case.shows_thinking:
        return f"a line on stderr that is not r1's own: {foreign[0]!r}"
    return ""
