"""The events of a conversion → a line that moves on a terminal, plain lines elsewhere, or nothing.

Knows: what people want to know while they wait. Does not know: how anything is converted.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, Self

from r1.console import Console
from r1.render import units
from r1_quantize.events import (
    Advanced,
    Checked,
    Event,
    Finished,
    Planned,
    Preparing,
    Recalled,
    Resumed,
    StartedOver,
    TensorDone,
)

Report = Literal["lines", "json", "nothing"]
"""What is said: progress and a line about the result, an object about the result, or nothing."""

_EVERY = 5.0  # seconds between two plain lines
_WIDE = 60  # columns, from which on there is room for a bar
_BAR = 16  # columns it takes


@dataclass(slots=True)
class Standing:
    """How far a conversion is. `read` and `written` count what earlier runs did too; sizes are bytes."""

    tensors: int = 0
    of_tensors: int = 0
    read: int = 0
    of_read: int = 0
    written: int = 0
    checking: bool = False
    checked: int = 0
    of_written: int = 0
    recalled: int = 0
    preparing: str = ""  # the GGML type whose tables are being computed

    def take(self, event: Event) -> None:
        """One event more."""
        self.preparing = event.ggml_type if isinstance(event, Preparing) else ""
        match event:
            case Planned():
                self.of_tensors, self.of_read, self.of_written = event.tensors, event.bytes_in, event.bytes_out
            case Recalled():
                self.recalled += event.bytes
            case Resumed():
                self.tensors, self.read, self.written = event.tensors, event.bytes_in, event.bytes_out
            case StartedOver():
                self.tensors = self.read = self.written = 0
            case Advanced():
                self.read += event.bytes_in
                self.written += event.bytes_out
            case TensorDone():
                self.tensors = event.index
            case Checked():
                self.checking = True
                self.checked += event.bytes


def follow(console: Console, events: Iterator[Event], name: str, report: Report) -> Finished:
    """Takes every event and says what is worth saying on stderr; the last event comes back.

    Ctrl-C and being asked to end pass through, after a line that says how to go on.
    """
    standing = Standing()
    event: Event | None = None
    try:
        with _view(console, name, report) as view:
            for event in events:
                standing.take(event)
                view.show(event, standing)
    except (KeyboardInterrupt, SystemExit):
        if standing.tensors and report != "nothing":
            done = f"{standing.tensors} of {standing.of_tensors} tensors are done"
            console.warn(f"stopped; {done}, and the same command goes on from there")
        raise
    assert isinstance(event, Finished), "a conversion always ends with Finished"
    return event


def _view(console: Console, name: str, report: Report) -> _View:
    if report == "nothing":
        return _View()
    if console.stderr_is_terminal:
        return _Bar(console, name)
    return _Lines(console, name) if report == "lines" else _View()


class _View:
    """Shows nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def show(self, event: Event, standing: Standing) -> None:
        """One event, and how far the work is with it."""


class _Lines(_View):
    """A line every few seconds."""

    def __init__(self, console: Console, name: str) -> None:
        self._console = console
        self._name = name
        self._began = self._said = time.monotonic()
        self._read_before = 0  # by earlier runs

    def show(self, event: Event, standing: Standing) -> None:
        if said := _announcement(event, self._name):
            self._console.warn(said)
        now = time.monotonic()
        if isinstance(event, Resumed | StartedOver):
            self._began = self._said = now
            self._read_before = standing.read
        if now - self._said >= _EVERY and isinstance(event, Recalled | Advanced | Checked):
            self._said = now
            speed = (standing.read - self._read_before) / (now - self._began)
            self._console.warn(" · ".join(_facts(standing, speed)))


class _Bar(_View):
    """One line that moves, with as many facts as the terminal has room for."""

    def __init__(self, console: Console, name: str) -> None:
        from rich.console import Console as RichConsole
        from rich.progress import BarColumn, Progress, TextColumn
        from rich.table import Column

        text = TextColumn("{task.fields[facts]}", markup=False, table_column=Column(no_wrap=True, overflow="crop"))
        self._console = console
        self._name = name
        self._screen = RichConsole(file=console.stderr, highlight=False, width=self._width())
        bar = [BarColumn(bar_width=_BAR)] if self._screen.width >= _WIDE else []
        self._taken = _BAR + 2 if bar else 1
        self._progress = Progress(*bar, text, console=self._screen, transient=True, refresh_per_second=8)
        self._task = self._progress.add_task(name, total=None, facts=f"{name}: reading what it is")

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def show(self, event: Event, standing: Standing) -> None:
        self._screen.width = self._width()  # people resize their terminals
        if said := _announcement(event, self._name):
            self._screen.print(f"r1: {said}", markup=False, style="dim")
        if isinstance(event, Resumed | StartedOver):
            self._progress.reset(self._task)
        done, total = (standing.checked, standing.of_written) if standing.checked else (standing.read, standing.of_read)
        facts = _fitting(_facts(standing, self._progress.tasks[0].speed), self._screen.width - self._taken)
        self._progress.update(self._task, completed=done, total=total, facts=facts)

    def _width(self) -> int:
        """The columns of the terminal that stderr is; Rich would ask the one of stdin or stdout."""
        columns = self._console.environ.get("COLUMNS", "")
        found = int(columns) if columns.isdecimal() else os.get_terminal_size(self._console.stderr.fileno()).columns
        return max(20, found or 80)


def _announcement(event: Event, name: str) -> str | None:
    """What is said once: the plan, and what became of an interrupted run."""
    match event:
        case Planned():
            sizes = f"{units.size(event.bytes_in)} in, {units.size(event.bytes_out)} out"
            return f"{name} → {event.quant}: {event.tensors} tensors, {sizes}"
        case Resumed():
            return f"going on after tensor {event.tensors}; the source of what is done is checked first"
        case StartedOver():
            return f"starting over: {event.reason}"
    return None


def _facts(standing: Standing, speed: float | None) -> list[str]:
    """What there is to say, the most important first; `speed` is in bytes read a second."""
    if standing.preparing:
        return [f"preparing the tables of {standing.preparing}"]
    if standing.recalled and not standing.read:
        return [f"checking what an earlier run wrote, {units.size(standing.recalled)}"]
    if standing.checking and not standing.checked:
        return ["written; the disk takes what is still in memory"]
    if standing.checked:
        return [f"reading it back, {units.size(standing.checked)} of {units.size(standing.of_written)}"]
    facts = [f"tensor {min(standing.tensors + 1, standing.of_tensors)} of {standing.of_tensors}"]
    if speed and (left := (standing.of_read - standing.read) / speed) >= 1:
        facts.append(f"{units.duration(left)} left")
    facts.append(f"{units.size(standing.read)} of {units.size(standing.of_read)} read")
    facts.append(f"{units.size(standing.written)} written")
    if speed:
        facts.append(f"reading {units.size(int(speed))}/s")
    return facts


def _fitting(facts: list[str], room: int) -> str:
    """As many facts as fit into a line."""
    text = facts[0]
    for fact in facts[1:]:
        if len(text) + 3 + len(fact) > room:
            break
        text += f" · {fact}"
    return text
