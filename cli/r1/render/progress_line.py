"""The events of a download and a conversion → a line that moves on a terminal, plain lines elsewhere, or nothing.

Knows: what people want to know while they wait. Does not know: how anything is fetched or converted.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from typing import Literal, Self

from r1.console import Console
from r1.render.progress import MOVES, Progress
from r1_quantize import units
from r1_quantize.events import (
    Noted,
    PipelineEvent,
    Planned,
    PullPlan,
    WaitingForLock,
    Rejected,
    Resumed,
    StartedOver,
    Waiting,
)

Report = Literal["lines", "json", "nothing"]
"""What is said: progress and a line about the result, objects, or nothing."""

_EVERY = 5.0  # seconds between two plain lines
_LATER_EVERY, _LATER = 30.0, 120.0  # and after so many seconds, because a night's download has many lines
_REFRESH = 0.125  # seconds between two looks of the line that moves
_WIDE = 60  # columns, from which on there is room for a bar
_BAR = 12  # columns it takes


Describe = Callable[[PullPlan], list[str]]
"""What there is to say of a plan, in lines."""


def follow(
    console: Console, events: Iterator[PipelineEvent], name: str, report: Report, describe: Describe = lambda _: []
) -> PipelineEvent:
    """Takes every event and says what is worth saying on stderr; the last event comes back.

    Ctrl-C and being asked to end pass through, after a line that says how to go on.
    """
    progress = Progress()
    event: PipelineEvent | None = None
    try:
        with _view(console, name, report, describe) as view:
            for event in events:
                progress.take(event)
                view.show(event, progress)
    except (KeyboardInterrupt, SystemExit):
        if (progress.tensors or progress.of_fetched) and report != "nothing":
            console.warn(f"stopped; {_done(progress)}, and the same command goes on from there")
        raise
    assert event is not None, "something always happens"
    return event


def _done(progress: Progress) -> str:
    fetched = (
        f"{units.size(progress.fetched)} of {units.size(progress.of_fetched)} are here" if progress.of_fetched else ""
    )
    tensors = f"{progress.tensors} of {progress.of_tensors} tensors are done" if progress.tensors else ""
    return ", ".join(filter(None, [fetched, tensors]))


def _view(console: Console, name: str, report: Report, describe: Describe) -> _View:
    if report == "nothing":
        return _View()
    if console.stderr_is_terminal:
        return _Bar(console, name, describe)
    return _Lines(console, name, describe) if report == "lines" else _View()


class _View:
    """Shows nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def show(self, event: PipelineEvent, progress: Progress) -> None:
        """One event, and how far the work is with it."""


class _Lines(_View):
    """A line every few seconds."""

    def __init__(self, console: Console, name: str, describe: Describe) -> None:
        self._console = console
        self._name = name
        self._describe = describe
        self._began = self._said = time.monotonic()

    def show(self, event: PipelineEvent, progress: Progress) -> None:
        for line in _announcement(event, progress, self._name, self._describe):
            self._console.err(f"{line}\n")
        now = time.monotonic()
        if isinstance(event, Waiting):
            self._console.warn(f"{event.reason}; {progress.waiting[0]}")
            self._said = now
        every = _EVERY if now - self._began < _LATER else max(_EVERY, _LATER_EVERY)
        if now - self._said >= every and isinstance(event, MOVES):
            self._said = now
            self._console.warn(" · ".join(_facts(progress)))


class _Bar(_View):
    """One line that moves, with as many facts as the terminal has room for."""

    def __init__(self, console: Console, name: str, describe: Describe) -> None:
        from rich.console import Console as RichConsole
        from rich.progress import BarColumn, Progress, TextColumn
        from rich.table import Column

        text = TextColumn("{task.fields[facts]}", markup=False, table_column=Column(no_wrap=True, overflow="crop"))
        self._console = console
        self._name = name
        self._describe = describe
        self._screen = RichConsole(file=console.stderr, highlight=False, width=self._width())
        bar = [BarColumn(bar_width=_BAR)] if self._screen.width >= _WIDE else []
        self._taken = _BAR + 2 if bar else 1
        self._progress = Progress(*bar, text, console=self._screen, transient=True, refresh_per_second=1 / _REFRESH)
        self._moved = 0.0
        self._asking = f"{name}: asking what there is"
        self._task = self._progress.add_task(name, total=None, facts=self._asking)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def show(self, event: PipelineEvent, progress: Progress) -> None:
        now = time.monotonic()
        if isinstance(event, MOVES) and now - self._moved < _REFRESH:
            return  # thousands a second come, and nothing is announced of them
        self._moved = now
        self._screen.width = self._width()  # people resize their terminals
        for line in _announcement(event, progress, self._name, self._describe):
            self._screen.print(line, markup=False, style="dim")
        done, total = progress.share
        facts = _fitting(_facts(progress) or [self._asking], self._screen.width - self._taken)
        self._progress.update(self._task, completed=done, total=total or None, facts=facts)

    def _width(self) -> int:
        """The columns of the terminal that stderr is; Rich would ask the one of stdin or stdout."""
        columns = self._console.environ.get("COLUMNS", "")
        found = int(columns) if columns.isdecimal() else os.get_terminal_size(self._console.stderr.fileno()).columns
        return max(20, found or 80)


def _announcement(event: PipelineEvent, progress: Progress, name: str, describe: Describe) -> list[str]:
    """What is said once: the plan, what became of an interrupted run, what went another way than usual."""
    if isinstance(event, PullPlan):
        lines = describe(event)
    elif isinstance(event, Planned) and progress.of_fetched:
        return []  # the plan of the pull has said it
    elif said := _remark(event, name):
        lines = [" ".join(said.split())]
    else:
        return []
    return [f"r1: {line}" if number == 0 else line for number, line in enumerate(lines)]


def _remark(event: PipelineEvent, name: str) -> str | None:
    match event:
        case Planned():
            sizes = f"{units.size(event.bytes_in)} in, {units.size(event.bytes_out)} out"
            return f"{name} → {event.quant}: {len(event.tensors)} tensors, {sizes}"
        case Resumed(tensors=tensors) if tensors:
            return f"going on after tensor {tensors}"
        case StartedOver():
            return f"starting over: {event.reason}"
        case WaitingForLock():
            return f"{event.holder}; waiting for it"
        case Noted():
            return event.text
        case Rejected():
            return f"{event.file}: {event.reason}; fetching it again, alone"
    return None


def _facts(progress: Progress) -> list[str]:
    """What there is to say, the most important first."""
    if progress.waiting:
        return progress.waiting
    if progress.preparing:
        return [f"preparing the tables of {progress.preparing}"]
    if progress.examined:
        return [f"checking what is here already, {units.size(progress.examined)}"]
    if progress.recalled and not progress.read:
        return [f"checking what an earlier run wrote, {units.size(progress.recalled)}"]
    if progress.checking and not progress.checked:
        return ["written; the disk takes what is still in memory"]
    if progress.checked:
        return [f"reading it back, {units.part(progress.checked, progress.of_written)}"]
    left = [f"{units.duration(progress.left)} left"] if progress.left and progress.left >= 1 else []
    if progress.fetched < progress.of_fetched:
        return [*_fetching(progress), *left, *_places(progress)]
    return [*_places(progress), *left, *_converting(progress)]


def _fetching(progress: Progress) -> list[str]:
    rate = progress.fetching.value
    done = units.part(progress.fetched, progress.of_fetched)
    return [done, f"{units.size(int(rate))}/s"] if rate else [done]


def _places(progress: Progress) -> list[str]:
    """Which file is being fetched, which tensor quantized."""
    file, tensor = min(progress.files + 1, progress.of_files), min(progress.tensors + 1, progress.of_tensors)
    files = [f"file {file}/{progress.of_files}"] if progress.fetched < progress.of_fetched and file > 0 else []
    return [*files, f"tensor {tensor}/{progress.of_tensors}"] if progress.of_tensors else files


def _converting(progress: Progress) -> list[str]:
    if not progress.of_tensors:
        return []
    facts = [f"{units.part(progress.read, progress.of_read)} read"]
    facts.append(f"{units.size(progress.written)} written")
    if rate := progress.reading.value:
        facts.append(f"reading {units.size(int(rate))}/s")
    return facts


def _fitting(facts: list[str], room: int) -> str:
    """As many facts as fit into a line."""
    text = facts[0] if facts else ""
    for fact in facts[1:]:
        if len(text) + 3 + len(fact) > room:
            break
        text += f" · {fact}"
    return text
