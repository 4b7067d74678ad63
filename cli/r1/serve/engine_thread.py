"""The one thread that runs llama.cpp for all clients: it loads models, begins jobs, steps, and warms while it is idle.

Jobs wait in one line. One begins when a sequence is free and the cache has room for it; a job for another model waits
until nothing uses the present one.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from queue import Empty, SimpleQueue
from typing import TypeVar

from r1.engine.events import Finished
from r1.engine.llama import Stop
from r1.engine.model import LoadCancelled
from r1.engine.prompt import Turn
from r1.engine.request import Request
from r1.engine.scheduler import Occupancy
from r1.loaded_model import LoadedModel
from r1.serve.errors import ApiError
from r1.serve.jobs import Begun, Job, JobEvent, Lease, Line
from r1.serve.model_host import ModelHost, Presence
from r1.serve.warmings import Warming, Warmings

_JOIN_S = 10.0
_LEASES_S = 5.0  # how long those who use the model may hold up the end

_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class EngineState:
    """At one moment: jobs that run, jobs and leases that wait, leases that are held, and the use of the KV cache; None:
    it is not known, because a step uses it.
    """

    running: int
    waiting: int
    leases: int
    occupancy: Occupancy | None


class EngineThread:
    """Takes jobs from any thread. `stop` is the engine's own: once it is set, everything under way ends."""

    def __init__(self, host: ModelHost, stop: Stop, sequences: int = 1) -> None:
        """`sequences`: how many jobs a model will probably do at once, as long as none was loaded."""
        self._host = host
        self._stop = stop
        self._inbox: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._line = Line()
        self._running: dict[Request, Job] = {}
        self._leases = 0
        self._lost: Exception | None = None  # why the present model cannot be used any more; leases are still held
        self._warmings = Warmings()
        self._is_closing = False
        self.sequences = sequences
        """How many jobs the model that was loaded last does at once."""
        self._thread = threading.Thread(target=self._run, name="r1-engine", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def submit(self, job: Job) -> None:
        self._inbox.put(lambda: self._line.add(job))

    def cancel(self, cancelled: Job | Lease) -> None:
        """Ends the job at the next step, or takes it out of the line; or a lease that was not granted yet."""
        cancelled.cancel()
        self._inbox.put(_nothing)

    def warm(self, model: str, turns: Sequence[Turn]) -> None:
        """Decodes the start of the next prompt after these turns, when there is nothing else to do."""
        self._inbox.put(lambda: self._warmings.add(Warming(model, tuple(turns)), self.sequences))

    @property
    def presence(self) -> Presence | None:
        """The model that is loaded; None: there is none, or it is being loaded."""
        return self._host.presence

    def keep(self, model: str, seconds: float | None) -> None:
        """If this is the loaded model, frees it after so many seconds without use; None: never."""
        self._inbox.put(lambda: self._host.keep(model, seconds))

    @property
    def is_stopped(self) -> bool:
        """Whether everything under way ends."""
        return self._stop()

    @contextmanager
    def lease(self, model: str) -> Iterator[LoadedModel]:
        """The loaded model, in its turn; until this is left, no other one takes its place. Raises what loading raises.

        Only what does not change the model may be called: `request`, `model.tokenize`. Not on the engine's thread.
        """
        with self.held(Lease(model)) as loaded:
            yield loaded

    @contextmanager
    def held(self, lease: Lease) -> Iterator[LoadedModel]:
        """As `lease`. Raises the CancelledError of concurrent.futures if it was cancelled before it was granted."""
        self._inbox.put(lambda: self._line.add(lease))
        try:
            yield lease.granted.result()
        finally:
            self._give_back(lease)

    async def with_model(self, model: str, work: Callable[[LoadedModel], _Result]) -> _Result:
        """What `work` makes of the loaded model on a worker thread, under a lease.

        No thread waits for the lease. When the coroutine is cancelled, work that has begun is done nevertheless, and
        the lease lasts as long. Raises as `lease`, and what `work` raises.
        """
        lease = Lease(model)
        self._inbox.put(lambda: self._line.add(lease))
        try:
            loaded = await asyncio.shield(asyncio.wrap_future(lease.granted))
            working = asyncio.get_running_loop().run_in_executor(None, work, loaded)
        except BaseException:
            self._give_back(lease)
            raise
        working.add_done_callback(lambda _: self._give_back(lease))
        return await asyncio.shield(working)

    def call(self, work: Callable[[], None]) -> None:
        """Does some work on the thread, between two steps."""
        self._inbox.put(work)

    def state(self) -> EngineState:
        """What there is to do. Only on the thread: see `call`."""
        present = self._host.present
        occupancy = Occupancy(0, 0, 0, 0) if present is None else present.loaded.occupancy
        return replace(self.state_in_a_step(), occupancy=occupancy)

    def state_in_a_step(self) -> EngineState:
        """The same without the KV cache, from any thread. What came during the step is not yet among what waits."""
        return EngineState(len(self._running), len(self._line), self._leases, None)

    def close(self) -> None:
        """Ends what is under way, and the thread."""
        self._is_closing = True
        self._stop.set()
        self._inbox.put(_nothing)
        if self._thread.is_alive():
            self._thread.join(_JOIN_S)

    def refuse_waiting(self, error: Exception) -> None:
        """Fails all that wait, except for the rest of what has begun."""
        self._inbox.put(lambda: self._line.fail_unbegun(error))

    # On the thread

    def _run(self) -> None:
        while not (self._is_closing and not self._running):
            try:
                self._read_inbox()
                self._begin_some()
                if self._running:
                    self._step()
                else:
                    self._do_when_idle()
            except Exception as exc:  # a fault of ours; without the thread all clients would wait for ever
                threading.excepthook(threading.ExceptHookArgs([type(exc), exc, exc.__traceback__, self._thread]))
                self._break_off(exc)
        self._end()

    def _end(self) -> None:
        """Fails what waits, and frees the model, unless somebody still uses it."""
        until = time.monotonic() + _LEASES_S
        while True:
            self._read_inbox()
            self._line.end(_ending())
            if not self._leases:
                self._host.free()
                return
            try:
                self._inbox.get(timeout=max(until - time.monotonic(), 0))()
            except Empty:
                return

    def _read_inbox(self) -> None:
        """Does what others asked for, without waiting for more."""
        while True:
            try:
                self._inbox.get_nowait()()
            except Empty:
                return

    def _begin_some(self) -> None:
        while not self._is_closing:
            self._line.drop_cancelled()
            if self._lost is not None:  # those who hold leases wait for their jobs
                self._line.fail_leased(self._lost)
            first = self._line.first
            if first is None or not self._is_possible(first.model):
                return
            try:
                loaded = self._host.get(first.model)
                self.sequences = loaded.sequences
                if isinstance(first, Job) and not self._begin(first, loaded):
                    return
            except Exception as exc:  # the others go on after any error of one client
                self._line.remove(first)
                first.fail(_ending() if isinstance(exc, LoadCancelled) else exc)
                continue
            self._line.remove(first)
            if isinstance(first, Lease):
                self._leases += 1
                first.is_held = True
                first.granted.set_result(loaded)

    def _is_possible(self, model: str) -> bool:
        """Whether the model can be used now: another one is loaded when nothing uses the present one."""
        present = self._host.present
        is_present = present is not None and present.name == model and self._lost is None
        return is_present or not (self._running or self._leases)

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
        job.party.has_begun = True
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
            self._break_off(exc)
            return
        self._host.used()
        events: dict[Request, list[JobEvent]] = {}
        for request, event in happened:
            events.setdefault(request, []).append(event)
        for request, each in events.items():
            running = self._running.pop(request) if isinstance(each[-1], Finished) else self._running[request]
            running.sink(each)

    def _do_when_idle(self) -> None:
        """Warms for one conversation, until something else is to be done; or waits for that."""
        left = None if self._leases else self._host.seconds_left
        if self._warmings and left != 0:
            try:
                self._warmings.go_on(self._host.present, lambda: self._stop() or not self._inbox.empty())
            except Exception as exc:  # it is only for speed, and the next request meets the same error
                self._lose(exc)
            return
        try:
            self._inbox.get(timeout=None if left is None else min(left, threading.TIMEOUT_MAX))()
        except Empty:
            if self._host.seconds_left == 0:
                self._warmings.clear()
                self._host.free()

    def _break_off(self, error: Exception) -> None:
        """Fails all that runs."""
        failed, self._running = self._running, {}
        for job in failed.values():
            job.fail(error)
        self._lose(error)

    def _lose(self, error: Exception) -> None:
        """Frees the model after an error, as soon as nobody uses it."""
        self._warmings.clear()
        self._lost = error if self._leases else None
        if self._lost is None:
            self._host.drop()

    def _give_back(self, lease: Lease) -> None:
        self._inbox.put(lambda: self._end_lease(lease))

    def _end_lease(self, lease: Lease) -> None:
        if self._line.remove(lease):
            lease.drop()
        elif lease.is_held:
            lease.is_held = False
            self._leases -= 1
            self._host.used()
            if self._lost is not None:
                self._lose(self._lost)


def _nothing() -> None:
    """Wakes the thread."""


def _ending() -> ApiError:
    return ApiError(503, "the server is ending", retry_after_s=5)
