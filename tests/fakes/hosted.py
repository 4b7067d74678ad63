"""Models without weights for the engine's thread: replies end when the test says so."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, cast

from r1.engine.events import Answer, Event, Finished, Timings, Usage
from r1.engine.llama import Stop
from r1.engine.prompt import Turn
from r1.engine.request import Request
from r1.loaded_model import LoadedModel
from r1.serve.engine_thread import EngineThread
from r1.serve.jobs import Begun, Failed, Job, JobEvent, Party
from r1.serve.model_host import ModelHost

WAIT_S = 60
TIMINGS = Timings(0.1, 10.0, 10.0, 1.0)


def finished(reason: Any) -> Finished:
    return Finished(reason, Usage(1, 0, 1), TIMINGS)


@dataclass
class FakeModel:
    """As LoadedModel. `breaks`: steps and warming fail. `is_full`: nothing has room beside others."""

    name: str
    stop: Stop
    sequences: int = 2
    running: list[Request] = field(default_factory=list)
    to_end: list[Request] = field(default_factory=list)
    most_at_once: int = 0
    breaks: bool = False
    is_full: bool = False
    warmed: list[str] = field(default_factory=list)
    """The steps of warming that were done: the last prompt and the number of the step."""
    to_warm: int = 3
    may_warm: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(1000))
    closed: threading.Event = field(default_factory=threading.Event)
    plan: str = "a plan"

    def has_room_for(self, _: Request) -> bool:
        return not self.is_full

    def submit(self, request: Request) -> float:
        assert not self.closed.is_set()
        self.running.append(request)
        self.most_at_once = max(self.most_at_once, len(self.running))
        return 0.5

    def step(self) -> list[tuple[Request, Event]]:
        assert not self.closed.is_set()
        time.sleep(0.001)
        if self.breaks:
            raise RuntimeError("llama.cpp failed")
        happened: list[tuple[Request, Event]] = []
        for request in list(self.running):
            if request in self.to_end or request.is_cancelled or self.stop():
                self.running.remove(request)
                reason = "stop" if request in self.to_end else "interrupted"
                happened += [(request, Answer("42", 1)), (request, finished(reason))]
        return happened

    def warm(self, turns: Sequence[Turn]) -> Iterator[int]:
        for number in range(self.to_warm):
            if self.breaks:
                raise RuntimeError("llama.cpp failed")
            self.may_warm.acquire()
            self.warmed.append(f"{turns[-1].prompt} {number}")
            yield number

    def keep_all(self) -> str:
        assert not self.running
        return ""

    def close(self) -> None:
        self.closed.set()


@dataclass
class Models:
    """What can be loaded: anything but `missing`. `loaded` are the models, in their order."""

    stop: Stop = field(default_factory=Stop)
    loaded: list[FakeModel] = field(default_factory=list)
    may_load: threading.Event = field(default_factory=threading.Event)
    is_loading: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.may_load.set()

    def __call__(self, name: str) -> LoadedModel:
        self.is_loading.set()
        self.may_load.wait(WAIT_S)
        if name == "missing":
            raise ValueError(name)
        self.loaded.append(FakeModel(name, self.stop))
        return cast(LoadedModel, self.loaded[-1])

    @property
    def names(self) -> list[str]:
        return [model.name for model in self.loaded]


class Asking:
    """A job for the engine, and what it came to."""

    def __init__(self, model: str, party: Party | None = None) -> None:
        self.request = Request(prompt=[])
        self.events: list[JobEvent] = []
        self.has_begun = threading.Event()
        self.is_over = threading.Event()
        self.job = Job(model, lambda _: self.request, self._take, party=party or Party())

    def _take(self, events: Sequence[JobEvent]) -> None:
        for event in events:
            self.events.append(event)
            if isinstance(event, Begun):
                self.has_begun.set()
            if isinstance(event, Finished | Failed):
                self.is_over.set()

    @property
    def end(self) -> str:
        """Waits for the reason that it ended for, or for what it failed with."""
        assert self.is_over.wait(WAIT_S), "it has not ended"
        last = self.events[-1]
        if isinstance(last, Failed):
            return f"failed: {last.error}"
        assert isinstance(last, Finished)
        return last.reason


class Running:
    """An engine that runs, and its models."""

    def __init__(self, models: Models, keep_alive_s: float | None) -> None:
        self.models = models
        self.engine = EngineThread(ModelHost(models, keep_alive_s), models.stop)

    def ask(self, model: str, party: Party | None = None) -> Asking:
        asking = Asking(model, party)
        self.engine.submit(asking.job)
        return asking

    def begun(self, model: str, party: Party | None = None) -> Asking:
        """One that has begun."""
        asking = self.ask(model, party)
        assert asking.has_begun.wait(WAIT_S)
        return asking

    def finish(self, asking: Asking) -> None:
        """Ends its reply."""
        assert asking.has_begun.wait(WAIT_S)
        self.models.loaded[-1].to_end.append(asking.request)
        assert asking.end == "stop"

    def settle(self) -> None:
        """Returns when the thread has looked at all that it was asked for before."""
        for _ in range(2):  # what it begins comes after what it reads
            seen = threading.Event()
            self.engine.call(seen.set)
            assert seen.wait(WAIT_S)


@contextmanager
def running(keep_alive_s: float | None = None, models: Models | None = None) -> Iterator[Running]:
    made = Running(models or Models(), keep_alive_s)
    made.engine.start()
    try:
        yield made
    finally:
        made.models.may_load.set()
        made.engine.close()


def eventually(is_so: Callable[[], bool]) -> bool:
    """Whether it comes true."""
    deadline = time.monotonic() + WAIT_S
    while not is_so() and time.monotonic() < deadline:
        time.sleep(0.001)
    return is_so()
