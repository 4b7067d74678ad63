"""How far a download and a conversion are: their events, added up.

Knows: what an event adds. Does not know: what is said of it, or to whom (`progress`, `event_lines`).
"""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass, field

from r1_quantize import units
from r1_quantize.events import (
    Advanced,
    Arrived,
    Checked,
    Hashed,
    Fetched,
    Fetching,
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

MOVES = Fetched | Hashed | Rechecked | Advanced | Checked
"""The events that come by the thousand."""


class Rate:
    """Bytes a second over the last moments."""

    _WINDOW = 15.0  # seconds

    def __init__(self) -> None:
        self._steps: deque[tuple[float, int]] = deque()
        self._sum = 0

    def add(self, count: int) -> None:
        now = time.monotonic()
        if self._steps and now - self._steps[-1][0] < 0.1:
            now, before = self._steps.pop()
            self._steps.append((now, before + count))
        else:
            self._steps.append((now, count))
        self._sum += count
        while now - self._steps[0][0] > self._WINDOW:
            self._sum -= self._steps.popleft()[1]

    @property
    def value(self) -> float | None:
        """None while there is too little to say."""
        if not self._steps or (passed := time.monotonic() - self._steps[0][0]) < 0.5:
            return None
        return self._sum / passed


@dataclass(slots=True)
class Progress:
    """How far the work is. All counts include what earlier runs did, the rates do not; sizes are bytes."""

    tensors: int = 0
    of_tensors: int = 0
    read: int = 0
    of_read: int = 0
    written: int = 0
    reading: Rate = field(default_factory=Rate)
    checking: bool = False
    checked: int = 0
    of_written: int = 0
    recalled: int = 0
    preparing: str = ""  # the GGML type whose tables are being computed
    here: dict[str, int] = field(default_factory=dict)  # file, without its folder → its bytes that are on this disk
    of_fetched: int = 0
    fetching: Rate = field(default_factory=Rate)
    file: str = ""  # that is being fetched
    files: int = 0  # that arrived
    of_files: int = 0
    examined: int = 0  # of the file that is being looked at
    waiting: list[str] = field(default_factory=list)  # until when, and why

    def take(self, event: PipelineEvent) -> None:
        """One event more."""
        self.preparing = event.ggml_type if isinstance(event, Preparing) else ""
        if not isinstance(event, Advanced | TensorDone):
            self.waiting = []
        if not isinstance(event, Hashed):
            self.examined = 0
        self._take_transfer(event)
        match event:
            case Planned():
                self.of_tensors, self.of_read, self.of_written = len(event.tensors), event.bytes_in, event.bytes_out
            case Rechecked():
                self.recalled += event.bytes
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

    def _take_transfer(self, event: PipelineEvent) -> None:
        match event:
            case PullPlan():
                self.of_fetched = self.of_written = sum(file.size for file in event.files)
                self.here = {file.name: file.here for file in event.files}
                self.of_files = len(event.files)
            case Fetching():
                self.file = event.file
                self.here[_local(event.file)] = event.here
            case Fetched(file=str(name)):
                self.here[_local(name)] = self.here.get(_local(name), 0) + event.bytes
                self.fetching.add(event.bytes)
            case Arrived():
                self.files += 1
                self.file = ""
            case Rejected():
                self.here[_local(event.file)] = 0
            case Hashed():
                self.examined += event.bytes
            case Waiting():
                self.waiting = [f"trying again in {units.duration(event.seconds)}", event.reason]

    @property
    def fetched(self) -> int:
        """Bytes of the files that are on this disk."""
        return sum(self.here.values())

    @property
    def left(self) -> float | None:
        """Seconds until all is fetched and read, whichever takes longer; None while nobody can say."""
        rates = [(self.of_fetched - self.fetched, self.fetching.value), (self.of_read - self.read, self.reading.value)]
        known = [todo / rate for todo, rate in rates if todo > 0 and rate]
        return max(known, default=None)

    @property
    def share(self) -> tuple[int, int]:
        """Bytes done, and to be done; what is fetched and then read counts twice."""
        if self.checked:
            return self.checked, self.of_written
        return self.fetched + self.read, self.of_fetched + self.of_read


def _local(name: str) -> str:
    """A file's name without its folder: here all lie in one."""
    return name.rpartition("/")[2]
