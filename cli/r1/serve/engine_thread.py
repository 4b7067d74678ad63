"""The one thread that runs llama.cpp for all clients: it loads models, begins jobs, steps, and warms while it is idle.

Jobs wait in one line. One begins when a sequence is free and the cache has room for it; a job for another model waits
until nothing uses the present one. After an answer the KV cache does not match the start of the conversation's next
prompt, because old thinking is left out there; while nothing else is to be done, the thread decodes the difference.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import TypeVar

from r1.engine.events import Event, Finished, Timings, Usage
from r1.engine.llama import Stop
from r1.engine.prompt import Turn
from r1.engine.request import Request
from r1.engine.scheduler import Occupancy
from r1.loaded_model import LoadedModel
from r1.serve.model_host import ModelHost, Presence

_JOIN_S = 10.0

_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class Begun:
    """A job's turn has come: its model is loaded, and its prompt, of so many tokens, is next. It took `load_s` seconds
    to get ready.
    """

    load_s: float
    prompt_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Failed:
    """A job cannot be done, or not to its end."""

    error: Exception


JobEvent = Begun | Event | Failed


@dataclass(slots=True, eq=False)
class Job:
    """One reply by a model of a full name.

    `request` makes the request, with the model; `sink` gets the events of each step, the last of which is Finished or
    Failed. Both are called on the engine's thread.
    """

    model: str
    request: Callable[[LoadedModel], Request]
    sink: Callable[[Sequence[JobEvent]], None]
    is_cancelled: bool = field(default=False, init=False)
    made: Request | None = field(default=None, init=False)


@dataclass(frozen=True, slots=True)
class EngineState:
    """At one moment: jobs that run, jobs and leases that wait, leases that are held, and the use of the KV cache."""

    running: int
    waiting: int
    leases: int
    occupancy: Occupancy


@dataclass(slots=True, eq=False)
class _Lease:
    """A wish to use a model outside of jobs."""

    model: str
    granted: Future[LoadedModel] = field(default_factory=Future, init=False)
    is_cancelled: bool = field(default=False, init=False)


@dataclass(frozen=True, slots=True)
class _Warming:
    model: str
    turns: tuple[Turn, ...]


class EngineThread:
    """Takes jobs from any thread. `stop` is the engine's own: once it is set, everything under way ends."""

    def __init__(self, host: ModelHost, stop: Stop) -> None:
        self._host = host
        self._stop = stop
        self._inbox: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._waiting: deque[Job | _Lease] = deque()
        self._running: dict[Request, Job] = {}
        self._leases = 0
        self._warmings: deque[_Warming] = deque()  # the latest last
        self._is_closing = False
        self.sequences = 1
        """How many jobs the model that was loaded last does at once."""
        self._thread = threading.Thread(target=self._run, name="r1-engine", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def submit(self, job: Job) -> None:
        self._inbox.put(lambda: self._waiting.append(job))

    def cancel(self, job: Job) -> None:
        """Ends the job at the next step, or takes it out of the line."""
        job.is_cancelled = True
        self._inbox.put(job.made.cancel if job.made else _nothing)

    def warm(self, model: str, turns: Sequence[Turn]) -> None:
        """Decodes the start of the next prompt after these turns, when there is nothing else to do."""
        self._inbox.put(lambda: self._warm_later(_Warming(model, tuple(turns))))

    @property
    def model(self) -> str | None:
        """The full name of the model that is loaded; it may be another one a moment later."""
        present = self._host.present
        return None if present is None else present.name

    @property
    def presence(self) -> Presence | None:
        """The model that is loaded; None: there is none, or it is being loaded."""
        return self._host.presence

    def keep(self, model: str, seconds: float | None) -> None:
        """If this is the loaded model, frees it after so many seconds without use; None: never."""
        self._inbox.put(lambda: self._host.keep(model, seconds))

    @contextmanager
    def lease(self, model: str) -> Iterator[LoadedModel]:
        """The loaded model, in its turn; until this is left, no other one takes its place.

        Only what does not change the model may be called: `request`, `model.tokenize`. Raises what loading raises, and
        CancelledError when the thread ends. Not on the engine's thread.
        """
        lease = self._asked_for(model)
        try:
            yield lease.granted.result()
        finally:
            self._give_back(lease)

    async def with_model(self, model: str, work: Callable[[LoadedModel], _Result]) -> _Result:
        """What `work` makes of the loaded model on a worker thread, under a lease.

        No thread waits for the lease. When the coroutine is cancelled, work that has begun is done nevertheless, and
        the lease lasts as long. Raises as `lease`, and what `work` raises.
        """
        lease = self._asked_for(model)
        try:
            loaded = await asyncio.shield(asyncio.wrap_future(lease.granted))
        except BaseException:
            self._give_back(lease)
            raise
        working = asyncio.get_running_loop().run_in_executor(None, work, loaded)
        working.add_done_callback(lambda _: self._give_back(lease))
        return await asyncio.shield(working)

    def call(self, work: Callable[[], None]) -> None:
        """Does some work on the thread, between two steps."""
        self._inbox.put(work)

    def state(self) -> EngineState:
        """What there is to do. Only on the thread: see `call`."""
        present = self._host.present
        occupancy = Occupancy(0, 0, 0, 0) if present is None else present.loaded.occupancy
        return EngineState(len(self._running), len(self._waiting), self._leases, occupancy)

    def close(self) -> None:
        """Ends what is under way, and the thread."""
        self._is_closing = True
        self._stop.set()
        self._inbox.put(_nothing)
        if self._thread.is_alive():
            self._thread.join(_JOIN_S)

    def refuse_waiting(self, error: Exception) -> None:
        """Fails every job that has not begun."""
        self._inbox.put(lambda: self._fail(list(self._waiting), error))

    # On the thread

    def _run(self) -> None:
        while not (self._is_closing and not self._running):
            self._read_inbox()
            self._drop_cancelled()
            self._begin_some()
            if self._running:
                self._step()
            else:
                self._do_when_idle()
        self._host.free()
        for waiting in self._waiting:
            self._fail_one(waiting, RuntimeError("the server is ending"))

    def _read_inbox(self) -> None:
        """Does what others asked for, without waiting for more."""
        while True:
            try:
                self._inbox.get_nowait()()
            except Empty:
                return

    def _drop_cancelled(self) -> None:
        for waiting in [each for each in self._waiting if each.is_cancelled]:
            self._waiting.remove(waiting)
            if isinstance(waiting, Job):
                waiting.sink([_unanswered()])

    def _begin_some(self) -> None:
        while self._waiting and not self._is_closing:
            first = self._waiting[0]
            present = self._host.present
            if (self._running or self._leases) and (present is None or present.name != first.model):
                return
            try:
                loaded = self._host.get(first.model)
                self.sequences = loaded.sequences
                if isinstance(first, Job) and not self._begin(first, loaded):
                    return
            except Exception as exc:  # the others go on after any error of one client
                self._fail([first], exc)
                continue
            self._waiting.popleft()
            if isinstance(first, _Lease):
                self._leases += 1
                first.granted.set_result(loaded)

    def _begin(self, job: Job, loaded: LoadedModel) -> bool:
        """Returns whether it has begun; if not, others must end before."""
        if self._running and len(self._running) >= loaded.sequences:
            return False
        if job.made is None:
            job.made = job.request(loaded)
        if self._running and not loaded.has_room_for(job.made):
            return False
        load_s = loaded.submit(job.made)
        self._running[job.made] = job
        if job.is_cancelled:  # while its request was made
            job.made.cancel()
        job.sink([Begun(load_s, job.made.prompt_tokens)])
        return True

    def _step(self) -> None:
        present = self._host.present
        assert present is not None, "a request runs in a model"
        try:
            happened = present.loaded.step()
        except Exception as exc:  # what llama.cpp had under way is lost
            failed = [self._running.pop(request) for request in list(self._running)]
            self._host.free()
            self._fail(failed, exc)
            return
        self._host.used()
        events: dict[Job, list[JobEvent]] = {}
        for request, event in happened:
            job = self._running.get(request)
            if job is not None:
                events.setdefault(job, []).append(event)
                if isinstance(event, Finished):
                    del self._running[request]
        for job, each in events.items():
            job.sink(each)

    def _do_when_idle(self) -> None:
        """Warms for one conversation, until something else is to be done; or waits for that."""
        left = None if self._leases else self._host.seconds_left
        if self._warmings and left != 0:
            self._warm(self._warmings.pop())
            return
        try:
            self._inbox.get(timeout=None if left is None else min(left, threading.TIMEOUT_MAX))()
        except Empty:
            if self._host.seconds_left == 0:
                self._warmings.clear()
                self._host.free()

    def _warm(self, warming: _Warming) -> None:
        present = self._host.present
        if present is None or present.name != warming.model:
            return
        try:
            for _ in present.loaded.warm(warming.turns):
                if not self._inbox.empty() or self._stop():
                    self._warmings.append(warming)  # goes on later
                    return
        except Exception:  # it is only for speed, and the next request meets the same error
            self._host.free()

    def _warm_later(self, warming: _Warming) -> None:
        """Of several conversations, those that were active last: as many as there are sequences to hold them."""
        self._warmings.append(warming)
        while len(self._warmings) > self.sequences:
            self._warmings.popleft()

    def _asked_for(self, model: str) -> _Lease:
        lease = _Lease(model)
        self._inbox.put(lambda: self._waiting.append(lease))
        return lease

    def _give_back(self, lease: _Lease) -> None:
        self._inbox.put(lambda: self._end_lease(lease))

    def _end_lease(self, lease: _Lease) -> None:
        if lease in self._waiting:
            self._waiting.remove(lease)
        elif lease.granted.done() and lease.granted.exception() is None:
            self._leases -= 1
            self._host.used()

    def _fail(self, jobs: Sequence[Job | _Lease], error: Exception) -> None:
        for job in jobs:
            if job in self._waiting:
                self._waiting.remove(job)
            self._fail_one(job, error)

    def _fail_one(self, job: Job | _Lease, error: Exception) -> None:
        if isinstance(job, Job):
            job.sink([Failed(error)])
        else:
            job.granted.set_exception(error)


def _nothing() -> None:
    """Wakes the thread."""


def _unanswered() -> Finished:
    """The end of a job that never began."""
    return Finished("interrupted", Usage(0, 0, 0), Timings(0.0, 0.0, 0.0, 0.0))
