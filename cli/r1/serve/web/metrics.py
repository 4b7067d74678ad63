"""The figures of /metrics, in the text format of Prometheus."""

from __future__ import annotations

import asyncio
import math
from concurrent.futures import Future

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics, generate_latest

from r1.serve.engine_thread import EngineState, EngineThread
from r1.serve.entry import Entry

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)

_LOOK_S = 0.5


async def look(engine: EngineThread) -> EngineState:
    """What the engine does, between two of its steps. If none ends soon, as while it loads or reads a long prompt, it
    is what it does meanwhile, without the KV cache.
    """
    looked: Future[EngineState] = Future()
    engine.call(lambda: looked.set_result(engine.state()))
    try:
        return await asyncio.wait_for(asyncio.shield(asyncio.wrap_future(looked)), _LOOK_S)
    except TimeoutError:
        return engine.state_in_a_step()


class Metrics:
    """What has happened since the start. Used on the event loop's thread only."""

    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # a time for each series, which nobody asks for
        self._registry = CollectorRegistry()
        self._requests = self._counter("requests", "HTTP requests, by path and status.", "path", "status")
        self._tokens = self._counter("tokens", "Tokens of prompts and replies.", "kind")
        self._replies = self._counter("replies", "Replies, by how they ended.", "reason")
        self._wait = self._seconds("wait_seconds", "From the request to the beginning of its prompt.")
        self._ttft = self._seconds("first_token_seconds", "From the beginning of the prompt to the first token.")
        self._active = self._gauge("active_requests", "Questions that wait or are answered.")
        self._running = self._gauge("replies_running", "Replies that have begun.")
        self._waiting = self._gauge("replies_waiting", "Replies that have not begun, and other uses of the model.")
        self._leases = self._gauge("leases", "Uses of the model beside replies, such as votes and counting tokens.")
        self._sequences = self._gauge("sequences", "Replies that the model can generate at once.")
        self._busy = self._gauge("sequences_busy", "Sequences that a reply has.")
        self._cells = self._gauge("cells", "Tokens that fit the KV cache.")
        self._free = self._gauge("cells_free", "Cells of the KV cache that a new reply could have.")
        for gauge in (self._sequences, self._busy, self._cells, self._free):
            gauge.set(math.nan)

    def add(self, entry: Entry) -> None:
        """A request that is over."""
        path = entry.path if entry.has_fixed_path else "other"  # each one is kept
        self._requests.labels(path, str(entry.status or 499)).inc()
        if entry.asked is None:
            return
        if entry.asked.wait_s is not None:
            self._wait.observe(entry.asked.wait_s)
        for number, finished in enumerate(entry.asked.finished):
            usage = finished.usage
            self._replies.labels(finished.reason).inc()
            self._ttft.observe(finished.timings.ttft_s)
            if number == 0:
                self._tokens.labels("prompt").inc(usage.prompt_tokens - usage.cached_tokens)
                self._tokens.labels("cached").inc(usage.cached_tokens)
            self._tokens.labels("thinking").inc(usage.thinking_tokens + usage.discarded_tokens)
            self._tokens.labels("answer").inc(usage.answer_tokens)

    def text(self, active: int, state: EngineState) -> bytes:
        """All figures; `active` questions wait or are answered now. Those of a KV cache that is not known are as before
        or NaN.
        """
        self._active.set(active)
        self._running.set(state.running)
        self._waiting.set(state.waiting)
        self._leases.set(state.leases)
        if state.occupancy is not None:
            self._sequences.set(state.occupancy.sequences)
            self._busy.set(state.occupancy.busy_sequences)
            self._cells.set(state.occupancy.cells)
            self._free.set(state.occupancy.free_cells)
        return generate_latest(self._registry)

    def _counter(self, name: str, what: str, *labels: str) -> Counter:
        return Counter(f"r1_{name}", what, labels, registry=self._registry)

    def _gauge(self, name: str, what: str) -> Gauge:
        return Gauge(f"r1_{name}", what, registry=self._registry)

    def _seconds(self, name: str, what: str) -> Histogram:
        return Histogram(f"r1_{name}", what, buckets=_SECONDS, registry=self._registry)
