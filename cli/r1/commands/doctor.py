"""`r1 doctor`: this machine, the models it can run, which one to choose, and what to fix."""

from __future__ import annotations

from r1.console import Console
from r1.doctor.diagnosis import Diagnosis
from r1.doctor.examine import examine
from r1.doctor.facts import doctor_facts
from r1.settings import load
from r1_quantize.errors import ExitStatus

_PIPE_WIDTH = 80  # columns when stdout is not a terminal


def doctor(console: Console, *, as_json: bool) -> ExitStatus:
    """Prints tables, also when stdout is not a terminal, or everything as JSON.

    Raises what `examine` raises, and UsageError for a wrong setting.
    """
    diagnosis = examine(console, load({}, console.environ).threads)
    if as_json:
        console.json(doctor_facts(diagnosis))
    else:
        console.stdout.write(_report(console, diagnosis))  # styled text, which `out` would strip
    return ExitStatus.OK


def _report(console: Console, diagnosis: Diagnosis) -> str:
    from rich.console import Console as RichConsole

    from r1.doctor.tables import show

    terminal = diagnosis.hardware.terminal
    width = terminal.columns if terminal.is_terminal else _PIPE_WIDTH
    rich = RichConsole(file=console.stdout, highlight=False, width=width, height=terminal.lines)
    with rich.capture() as capture:
        show(diagnosis, rich)
    return "".join(f"{line.rstrip()}\n" for line in capture.get().splitlines())
