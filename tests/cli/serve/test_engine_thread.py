"""The engine's thread, with models that only have a name."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from r1.engine.llama import Stop
from r1.loaded_model import LoadedModel
from r1.serve.engine_thread import EngineThread
from r1.serve.model_host import ModelHost


@dataclass
class NamedModel:
    name: str
    sequences: int = 1
    closed: threading.Event = field(default_factory=threading.Event)

    def close(self) -> None:
        self.closed.set()


@dataclass
class Loader:
    """`loaded` are the names, in their order. There is no model `missing`."""

    loaded: list[str] = field(default_factory=list)

    def __call__(self, name: str) -> LoadedModel:
        if name == "missing":
            raise ValueError(name)
        self.loaded.append(name)
        return cast(LoadedModel, NamedModel(name))


@contextmanager
def running(loader: Loader, keep_alive_s: float | None = None) -> Iterator[EngineThread]:
    engine = EngineThread(ModelHost(loader, keep_alive_s), Stop())
    engine.start()
    try:
        yield engine
    finally:
        engine.close()


def name_of(model: LoadedModel) -> str:
    return cast(NamedModel, model).name


async def cancelled(work: asyncio.Task[Any]) -> None:
    work.cancel()
    with suppress(asyncio.CancelledError):
        await work
    assert work.cancelled()


def run(test: Callable[[EngineThread, Loader], Coroutine[Any, Any, None]]) -> None:
    loader = Loader()
    with running(loader) as engine:
        asyncio.run(test(engine, loader))


class TestWithModel:
    def test_gives_what_the_work_makes_of_the_model(self) -> None:
        async def test(engine: EngineThread, loader: Loader) -> None:
            assert [await engine.with_model(name, name_of) for name in ("a", "a", "b")] == ["a", "a", "b"]
            assert loader.loaded == ["a", "b"]

        run(test)

    def test_raises_what_loading_and_the_work_raise_and_goes_on(self) -> None:
        async def test(engine: EngineThread, loader: Loader) -> None:
            with pytest.raises(ValueError, match="missing"):
                await engine.with_model("missing", name_of)
            with pytest.raises(ZeroDivisionError):
                await engine.with_model("a", lambda _: 1 // 0)
            assert await engine.with_model("b", name_of) == "b"

        run(test)

    def test_work_that_nobody_waits_for_keeps_its_model_to_its_end(self) -> None:
        """Another model would be loaded in its place, and it would compute with freed memory."""
        may_end, has_begun = threading.Event(), threading.Event()
        was_closed: list[bool] = []

        def work(model: LoadedModel) -> None:
            has_begun.set()
            may_end.wait(60)
            was_closed.append(cast(NamedModel, model).closed.is_set())

        async def test(engine: EngineThread, loader: Loader) -> None:
            working = asyncio.create_task(engine.with_model("a", work))
            await asyncio.to_thread(has_begun.wait, 60)
            await cancelled(working)
            following = asyncio.create_task(engine.with_model("b", name_of))
            await turn_of(engine)
            assert loader.loaded == ["a"]
            may_end.set()
            assert await following == "b"
            assert was_closed == [False]

        run(test)

    def test_one_that_stops_waiting_is_out_of_the_line(self) -> None:
        may_end = threading.Event()

        async def test(engine: EngineThread, loader: Loader) -> None:
            working = asyncio.create_task(engine.with_model("a", lambda _: may_end.wait(60)))
            waiting = asyncio.create_task(engine.with_model("b", name_of))
            await turn_of(engine)
            await cancelled(waiting)
            may_end.set()
            await working
            assert await engine.with_model("c", name_of) == "c"
            assert loader.loaded == ["a", "c"]

        run(test)


async def turn_of(engine: EngineThread) -> None:
    """Returns when the thread has looked at all that it was asked for before."""
    for _ in range(2):  # what it begins comes after what it reads
        await asyncio.sleep(0)
        seen = threading.Event()
        engine.call(seen.set)
        await asyncio.to_thread(seen.wait, 60)


class TestKeepAlive:
    def test_a_model_that_is_not_to_be_kept_is_freed_when_nothing_uses_it(self) -> None:
        with running(Loader()) as engine:
            with engine.lease("a") as model:
                closed = cast(NamedModel, model).closed
                engine.keep("a", 0)
                with engine.lease("a"):  # the thread has read both
                    assert not closed.is_set()
            assert closed.wait(10)
            assert engine.presence is None

    def test_another_one_is_not_meant(self) -> None:
        with running(Loader()) as engine:
            with engine.lease("a"):
                engine.keep("b", 0)
            with engine.lease("a"):
                assert engine.model == "a"

    def test_a_time_that_is_longer_than_a_thread_can_wait(self) -> None:
        """It is an error of the operating system, which would end the thread."""
        loader = Loader()
        with running(loader, 10 * threading.TIMEOUT_MAX) as engine:
            for _ in range(2):
                assert asyncio.run(asyncio.wait_for(engine.with_model("a", name_of), 10)) == "a"
        assert loader.loaded == ["a"]
