"""The figures of /metrics: of the requests, and of the engine at this moment."""

from __future__ import annotations

import asyncio
import math
import threading
import time

from prometheus_client.parser import text_string_to_metric_families
from starlette.applications import Starlette
from starlette.testclient import TestClient

from r1.engine.scheduler import Occupancy
from r1.serve.engine_thread import EngineState, EngineThread
from r1.serve.service import Service
from r1.serve.web.metrics import Metrics, look

CACHE = ("cells_free", "cells", "sequences_busy", "sequences")
LONG = {"messages": [{"role": "user", "content": "17+25?"}], "temperature": 5, "max_tokens": 1500, "n": 3}


def gauges(text: str) -> dict[str, float]:
    """The figures without labels."""
    families = text_string_to_metric_families(text)
    return {sample.name: sample.value for family in families for sample in family.samples if not sample.labels}


def wait_for(event: threading.Event) -> None:
    event.wait(60)


def ask_until(is_seen: threading.Event, client: TestClient) -> None:
    while not is_seen.is_set():
        client.post("/v1/chat/completions", json=LONG)


class TestMetrics:
    def test_a_cache_that_is_not_known_has_the_figures_of_before(self) -> None:
        metrics = Metrics()
        metrics.text(0, EngineState(0, 0, 0, Occupancy(700, 1000, 2, 4)))
        told = gauges(metrics.text(5, EngineState(2, 3, 1, None)).decode())
        names = ("active_requests", "replies_running", "replies_waiting", "leases")
        assert [told[f"r1_{name}"] for name in names] == [5, 2, 3, 1]
        assert [told[f"r1_{name}"] for name in CACHE] == [700, 1000, 2, 4]

    def test_a_cache_that_was_never_known_is_not_told_to_be_empty(self) -> None:
        told = gauges(Metrics().text(1, EngineState(1, 0, 0, None)).decode())
        assert told["r1_replies_running"] == 1
        assert all(math.isnan(told[f"r1_{name}"]) for name in CACHE)


class TestLook:
    def test_does_not_wait_for_a_long_step_and_tells_what_runs_in_it(self, service: Service) -> None:
        may_end, has_begun = threading.Event(), threading.Event()

        async def test(engine: EngineThread) -> None:
            engine.call(has_begun.set)
            engine.call(lambda: wait_for(may_end))
            await asyncio.to_thread(has_begun.wait, 60)
            assert await look(engine) == EngineState(0, 0, 0, None)
            may_end.set()
            state = await look(engine)
            assert (state.running, state.waiting, state.leases) == (0, 0, 0)
            assert state.occupancy is not None

        asyncio.run(test(service.engine))


class TestRoute:
    def test_tells_which_sequences_and_cells_are_in_use_and_that_they_are_free_again(
        self, app: Starlette, service: Service
    ) -> None:
        with TestClient(app, base_url="http://127.0.0.1") as client:
            is_seen = threading.Event()
            asking = threading.Thread(target=ask_until, args=(is_seen, client))
            asking.start()
            deadline = time.monotonic() + 60
            told = gauges(client.get("/metrics").text)
            while told["r1_sequences_busy"] != 3 and time.monotonic() < deadline:
                told = gauges(client.get("/metrics").text)
            is_seen.set()
            asking.join()
            assert told["r1_replies_running"] == 3
            assert told["r1_cells_free"] < told["r1_cells"]
            told = gauges(client.get("/metrics").text)
        assert (told["r1_sequences"], told["r1_sequences_busy"], told["r1_replies_running"]) == (4, 0, 0)
        assert told["r1_cells_free"] == told["r1_cells"] > 0
        assert told["r1_active_requests"] == 0
