"""The progress of a download and a conversion in numbers, counted from their events."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass, field

from r1_quantize import units
from r1_quantize.events import (
    Advanced,
    Arrived,
    Checked,
    Fetched,
    Fetching,
    Hashed,
    PipelineEvent,
    Planned,
    Preparing,
    PullPlan,
    Rechecked,
    Rejected,
    Resumed,
    StartedOver,
    TensorDone,
    Waiting,
)

FREQUENT = Fetched | Hashed | Rechecked | Advanced | Checked
"""Events that can come thousands of times per second."""


class Rate:
    """Bytes per second over the last few seconds."""

    _WINDOW_S = 15.0
    _STEP_S = 0.1  # bytes that arrive within it are counted as one step
    _MIN_S = 0.5  # before that, a rate would be a guess

    def __init__(self) -> None:
        self._steps: deque[tuple[float, int]] = deque()  # when, and how many bytes
        self._sum = 0

    def add(self, count: int) -> None:
        now = time.monotonic()
        if self._steps and now - self._steps[-1][0] < self._STEP_S:
            now, before = self._steps.pop()
            self._steps.append((now, before + count))
        else:
            self._steps.append((now, count))
        self._sum += count
        while now - self._steps[0][0] > self._WINDOW_S:
            self._sum -= self._steps.popleft()[1]

    @property
    def value(self) -> float | None:
        """None until there is enough data."""
        if not self._steps or (passed := time.monotonic() - self._steps[0][0]) < self._MIN_S:
            return None
        return self._sum / passed


@dataclass(slots=True)
class Progress:
    """Counts include the work of earlier runs, rates do not. Sizes are in bytes."""

    tensors: int = 0
    of_tensors: int = 0
    read: int = 0
    of_read: int = 0
    written: int = 0
    reading: Rate = field(default_factory=Rate)
    checking: bool = False
    checked: int = 0
    of_written: int = 0
    rechecked: int = 0
    preparing: str = ""  # the GGML type whose tables are being computed
    on_disk: dict[str, int] = field(default_factory=dict)  # file name without folder → its bytes on this disk
    of_fetched: int = 0
    fetching: Rate = field(default_factory=Rate)
    file: str = ""  # being downloaded
    files: int = 0  # complete
    of_files: int = 0
    hashed: int = 0  # of the file whose digest is being computed
    waiting: list[str] = field(default_factory=list)  # for how long, and why

    def add(self, event: PipelineEvent) -> None:
        """Counts one event."""
        self.preparing = event.ggml_type if isinstance(event, Preparing) else ""
        if not isinstance(event, Advanced | TensorDone):
            self.waiting = []
        if not isinstance(event, Hashed):
            self.hashed = 0
        self._add_conversion(event)
        self._add_transfer(event)

    def _add_conversion(self, event: PipelineEvent) -> None:
        match event:
            case Planned():
                self.of_tensors, self.of_read, self.of_written = len(event.tensors), event.bytes_in, event.bytes_out
            case Rechecked():
                self.rechecked += event.bytes
            case Resumed():
                self.tensors, self.read, self.written = event.tensors, event.bytes_in, event.bytes_out
            case StartedOver():
                self.tensors = self.read = self.written = 0
            case Advanced():
                self.read += event.bytes_in
                self.written += event.bytes_out
                self.reading.add(event.bytes_in)
            case TensorDone():
                self.tensors = event.index
            case Checked():
                self.checking = True
                self.checked += event.bytes

    def _add_transfer(self, event: PipelineEvent) -> None:
        match event:
            case PullPlan():
                self.of_fetched = self.of_written = sum(file.size for file in event.files)
                self.on_disk = {file.name: file.here for file in event.files}
                self.of_files = len(event.files)
            case Fetching():
                self.file = event.file
                self.on_disk[_base_name(event.file)] = event.here
            case Fetched(file=str(name)):
                self.on_disk[_base_name(name)] = self.on_disk.get(_base_name(name), 0) + event.bytes
                self.fetching.add(event.bytes)
            case Arrived():
                self.files += 1
                self.file = ""
            case Rejected():
                self.on_disk[_base_name(event.file)] = 0
            case Hashed():
                self.hashed += event.bytes
            case Waiting():
                self.waiting = [f"retrying in {units.duration(event.seconds)}", event.reason]

    @property
    def fetched(self) -> int:
        """Bytes of the source's files on this disk."""
        return sum(self.on_disk.values())

    @property
    def seconds_left(self) -> float | None:
        """Until everything is downloaded and read, whichever takes longer; None while there is no estimate."""
        rates = [(self.of_fetched - self.fetched, self.fetching.value), (self.of_read - self.read, self.reading.value)]
        estimates = [remaining / rate for remaining, rate in rates if remaining > 0 and rate]
        return max(estimates, default=None)

    @property
    def done_and_total(self) -> tuple[int, int]:
        """Bytes for a progress bar; those that are downloaded and then read count twice."""
        if self.checked:
            return self.checked, self.of_written
        return self.fetched + self.read, self.of_fetched + self.of_read


def _base_name(path: str) -> str:
    """A file's name without its folder: on this disk, all files of a repository are in one folder."""
    return path.rpartition("/")[2]
