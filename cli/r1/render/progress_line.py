"""Progress of a download and a conversion on stderr: one moving line on a terminal, plain lines elsewhere."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from typing import Literal, Self

from r1.console import Console
from r1.render.progress import FREQUENT, Progress
from r1_quantize import units
from r1_quantize.control_tokens import unusable
from r1_quantize.events import (
    Noted,
    PipelineEvent,
    Planned,
    PullPlan,
    Rejected,
    Resumed,
    StartedOver,
    Waiting,
    WaitingForLock,
)

Report = Literal["lines", "json", "nothing"]
"""The output of a command: progress and a line about the result, JSON objects, or nothing."""

Describe = Callable[[PullPlan], list[str]]
"""The lines that describe a plan."""

_LINE_EVERY_S = 5.0
_LATER_LINE_EVERY_S = 30.0  # so that an overnight download does not print thousands of lines
_LATER_AFTER_S = 120.0
_REFRESH_S = 0.125  # of the moving line
_MIN_WIDTH_FOR_BAR = 60  # columns
_BAR_WIDTH = 12  # columns
_MIN_WIDTH = 20  # columns


def follow(
    console: Console, events: Iterator[PipelineEvent], name: str, report: Report, describe: Describe = lambda _: []
) -> PipelineEvent:
    """Consumes the events, shows them on stderr, and returns the last one.

    KeyboardInterrupt and SystemExit pass through, after a line that says how to resume.
    """
    progress = Progress()
    event: PipelineEvent | None = None
    try:
        with _view(console, name, report, describe) as view:
            for event in events:
                progress.add(event)
                view.show(event, progress)
    except (KeyboardInterrupt, SystemExit):
        if (progress.tensors or progress.of_fetched) and report != "nothing":
            console.warn(f"stopped ({_summary(progress)}); run it again to resume")
        raise
    assert event is not None, "there is always an event"
    return event


def _summary(progress: Progress) -> str:
    fetched, of_fetched = units.size(progress.fetched), units.size(progress.of_fetched)
    downloaded = f"{fetched} of {of_fetched} downloaded" if progress.of_fetched else ""
    tensors = f"{progress.tensors} of {progress.of_tensors} tensors done" if progress.tensors else ""
    return ", ".join(filter(None, [downloaded, tensors]))


def _view(console: Console, name: str, report: Report, describe: Describe) -> _View:
    if report == "nothing":
        return _View()
    if console.stderr_is_terminal:
        return _MovingLine(console, name, describe)
    return _Lines(console, name, describe) if report == "lines" else _View()


class _View:
    """Shows nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def show(self, event: PipelineEvent, progress: Progress) -> None:
        """One event, which is already counted in `progress`."""


class _Lines(_View):
    """Prints a line every few seconds."""

    def __init__(self, console: Console, name: str, describe: Describe) -> None:
        self._console = console
        self._name = name
        self._describe = describe
        self._began = self._last_line = time.monotonic()

    def show(self, event: PipelineEvent, progress: Progress) -> None:
        for line in _announcement(event, progress, self._name, self._describe):
            self._console.err(f"{line}\n")
        now = time.monotonic()
        if isinstance(event, Waiting):
            self._console.warn(f"{event.reason}; {progress.waiting[0]}")
            self._last_line = now
        every = _LINE_EVERY_S if now - self._began < _LATER_AFTER_S else _LATER_LINE_EVERY_S
        if now - self._last_line >= every and isinstance(event, FREQUENT):
            self._last_line = now
            self._console.warn(" · ".join(_facts(progress)))


class _MovingLine(_View):
    """A line that changes in place, with a bar where it fits, and as many facts as the terminal is wide enough for."""

    def __init__(self, console: Console, name: str, describe: Describe) -> None:
        from rich.console import Console as RichConsole
        from rich.progress import BarColumn, TextColumn
        from rich.progress import Progress as RichProgress
        from rich.table import Column

        text = TextColumn("{task.fields[facts]}", markup=False, table_column=Column(no_wrap=True, overflow="crop"))
        self._console = console
        self._name = name
        self._describe = describe
        self._screen = RichConsole(file=console.stderr, highlight=False, width=self._width())
        bar = [BarColumn(bar_width=_BAR_WIDTH)] if self._screen.width >= _MIN_WIDTH_FOR_BAR else []
        self._margin = _BAR_WIDTH + 2 if bar else 1
        self._rich = RichProgress(*bar, text, console=self._screen, transient=True, refresh_per_second=1 / _REFRESH_S)
        self._refreshed = 0.0
        self._initial_text = f"{name}: preparing"
        self._task = self._rich.add_task(name, total=None, facts=self._initial_text)

    def __enter__(self) -> Self:
        self._rich.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._rich.stop()

    def show(self, event: PipelineEvent, progress: Progress) -> None:
        now = time.monotonic()
        if isinstance(event, FREQUENT) and now - self._refreshed < _REFRESH_S:
            return
        self._refreshed = now
        self._screen.width = self._width()  # the terminal may have been resized
        for line in _announcement(event, progress, self._name, self._describe):
            self._screen.print(line, markup=False, style="dim")
        done, total = progress.done_and_total
        facts = _fit(_facts(progress) or [self._initial_text], self._screen.width - self._margin)
        self._rich.update(self._task, completed=done, total=total or None, facts=facts)

    def _width(self) -> int:
        """The columns of stderr's terminal; Rich would ask stdin's or stdout's."""
        columns = self._console.environ.get("COLUMNS", "")
        width = int(columns) if columns.isdecimal() else os.get_terminal_size(self._console.stderr.fileno()).columns
        return max(_MIN_WIDTH, width or 80)


def _announcement(event: PipelineEvent, progress: Progress, name: str, describe: Describe) -> list[str]:
    """Lines that are printed once: the plan, a resumed or restarted run, anything unusual."""
    if isinstance(event, PullPlan):
        lines = describe(event)
    elif isinstance(event, Planned) and progress.of_fetched:
        return []  # the pull's plan was printed already
    elif remarks := _remarks(event, name):
        return [f"r1: {' '.join(remark.split())}" for remark in remarks]
    else:
        return []
    return [f"r1: {line}" if number == 0 else line for number, line in enumerate(lines)]


def _remarks(event: PipelineEvent, name: str) -> list[str]:
    """What is said of an event, one line each."""
    remark = _remark(event, name)
    if isinstance(event, Planned):
        lacking = [unusable(event.missing_tokens)] if event.missing_tokens else []
        return [str(remark), *event.notes, *lacking]
    return [remark] if remark else []


def _remark(event: PipelineEvent, name: str) -> str | None:
    match event:
        case Planned():
            sizes = f"{units.size(event.bytes_in)} in, {units.size(event.bytes_out)} out"
            return f"{name} → {event.quant}: {len(event.tensors)} tensors, {sizes}"
        case Resumed(tensors=tensors) if tensors:
            return f"resuming after tensor {tensors}"
        case StartedOver():
            return f"starting over: {event.reason}"
        case WaitingForLock():
            return f"{event.holder}; waiting for it"
        case Noted():
            return event.text
        case Rejected():
            return f"{event.file}: {event.reason}; downloading it again"
    return None


def _facts(progress: Progress) -> list[str]:
    """The state in a few words, the most important fact first."""
    if progress.waiting:
        return progress.waiting
    if progress.preparing:
        return [f"computing the tables for {progress.preparing}"]
    if progress.hashed:
        return [f"checking files on disk, {units.size(progress.hashed)}"]
    if progress.rechecked and not progress.read:
        return [f"checking the output of an earlier run, {units.size(progress.rechecked)}"]
    if progress.checking and not progress.checked:
        return ["written; flushing to disk"]
    if progress.checked:
        return [f"verifying, {units.part(progress.checked, progress.of_written)}"]
    seconds = progress.seconds_left
    left = [f"{units.duration(seconds)} left"] if seconds and seconds >= 1 else []
    if progress.fetched < progress.of_fetched:
        return [*_downloading(progress), *left, *_position(progress)]
    return [*_position(progress), *left, *_converting(progress)]


def _downloading(progress: Progress) -> list[str]:
    rate = progress.fetching.value
    done = units.part(progress.fetched, progress.of_fetched)
    return [done, f"{units.size(int(rate))}/s"] if rate else [done]


def _position(progress: Progress) -> list[str]:
    """The file that is being downloaded, and the tensor that is being converted."""
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


def _fit(facts: list[str], width: int) -> str:
    """As many facts as fit in one line."""
    text = facts[0] if facts else ""
    for fact in facts[1:]:
        if len(text) + 3 + len(fact) > width:
            break
        text += f" · {fact}"
    return text
