"""The engine's thread, with models that only have a name."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import CancelledError, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from r1.engine.llama import Stop
from r1.engine.prompt import Turn
from r1.loaded_model import LoadedModel
from r1.serve.engine_thread import EngineThread
from r1.serve.jobs import Lease, Party
from r1.serve.model_host import ModelHost
from tests.fakes import hosted
from tests.fakes.hosted import WAIT_S


@dataclass
class NamedModel:
    name: str
    sequences: int = 1
    plan: None = None
    closed: threading.Event = field(default_factory=threading.Event)

    def keep_all(self) -> str:
        return ""

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
                assert engine.presence is not None
                assert engine.presence.name == "a"

    def test_a_time_that_is_longer_than_a_thread_can_wait(self) -> None:
        """It is an error of the operating system, which would end the thread."""
        loader = Loader()
        with running(loader, 10 * threading.TIMEOUT_MAX) as engine:
            for _ in range(2):
                assert asyncio.run(asyncio.wait_for(engine.with_model("a", name_of), 10)) == "a"
        assert loader.loaded == ["a"]


class TestLine:
    """With models that take two jobs at once, and replies that end when the test says so."""

    def test_first_come_first_served_as_many_at_once_as_there_are_sequences(self) -> None:
        with hosted.running() as run:
            asked = [run.ask("a") for _ in range(5)]
            asked[1].has_begun.wait(WAIT_S)
            run.settle()
            assert [asking.has_begun.is_set() for asking in asked] == [True, True, False, False, False]
            run.finish(asked[1])
            for number in (2, 0, 3, 4):
                run.finish(asked[number])
            assert run.models.names == ["a"]
            assert run.models.loaded[0].most_at_once == 2

    def test_a_job_without_room_waits_until_the_others_are_done_and_nobody_passes_it(self) -> None:
        with hosted.running() as run:
            first = run.begun("a")
            run.models.loaded[0].is_full = True
            second, third = run.ask("a"), run.ask("a")
            run.settle()
            assert not second.has_begun.is_set()
            run.finish(first)
            run.finish(second)
            run.finish(third)
            assert run.models.loaded[0].most_at_once == 1

    def test_another_model_waits_until_nothing_uses_the_present_one(self) -> None:
        with hosted.running() as run:
            first, other, behind = run.begun("a"), run.ask("b"), run.ask("a")
            run.settle()
            assert run.models.names == ["a"]
            assert not behind.has_begun.is_set(), "first come, first served"
            run.finish(first)
            run.finish(other)
            run.finish(behind)
            assert run.models.names == ["a", "b", "a"]
            assert [model.closed.is_set() for model in run.models.loaded] == [True, True, False]

    def test_a_model_that_cannot_be_loaded_fails_its_job_alone(self) -> None:
        with hosted.running() as run:
            first, missing, after = run.ask("a"), run.ask("missing"), run.ask("b")
            run.finish(first)
            assert missing.end == "failed: missing"
            assert missing.events == missing.events[-1:], "it never began"
            run.finish(after)

    def test_a_request_that_cannot_be_made_fails_its_job_alone(self) -> None:
        with hosted.running() as run:
            bad, good = hosted.Asking("a"), hosted.Asking("a")
            bad.job.request = lambda _: 1 // 0  # type: ignore[assignment,return-value]
            run.engine.submit(bad.job)
            run.engine.submit(good.job)
            assert bad.end == "failed: integer division or modulo by zero"
            run.finish(good)

    def test_a_step_that_fails_ends_what_runs_and_the_next_loads_anew(self) -> None:
        with hosted.running() as run:
            both = [run.begun("a"), run.begun("a")]
            waiting = run.ask("a")
            run.models.loaded[0].breaks = True
            assert [asking.end for asking in both] == ["failed: llama.cpp failed"] * 2
            run.finish(waiting)
            assert run.models.names == ["a", "a"]
            assert run.models.loaded[0].closed.is_set()

    def test_a_fault_of_ours_fails_what_runs_is_told_and_the_thread_goes_on(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Without the thread all clients would wait for ever."""
        told: list[threading.ExceptHookArgs] = []
        monkeypatch.setattr(threading, "excepthook", told.append)
        with hosted.running() as run:
            asked = run.begun("a")
            run.engine.call(fail)
            assert asked.end == "failed: a fault"
            run.finish(run.ask("a"))
        assert [args.exc_type for args in told] == [ZeroDivisionError]


class TestCancel:
    def test_in_the_line(self) -> None:
        with hosted.running() as run:
            first, waiting, behind = run.begun("a"), run.ask("b"), run.ask("a")
            run.engine.cancel(waiting.job)
            assert waiting.end == "interrupted"
            assert not waiting.has_begun.is_set()
            run.finish(behind)
            run.finish(first)
            assert run.models.names == ["a"], "nobody wants the other model any more"

    def test_while_it_runs_the_others_go_on(self) -> None:
        with hosted.running() as run:
            first, second = run.begun("a"), run.begun("a")
            run.engine.cancel(first.job)
            assert first.end == "interrupted"
            run.finish(second)

    def test_while_its_model_is_loaded(self) -> None:
        models = hosted.Models()
        models.may_load.clear()
        with hosted.running(models=models) as run:
            loading, next_one = run.ask("missing"), run.ask("b")
            assert models.is_loading.wait(WAIT_S)
            run.engine.cancel(next_one.job)
            models.may_load.set()
            assert loading.end == "failed: missing"
            assert next_one.end == "interrupted"
            assert models.names == [], "the next one was not loaded for nobody"

    def test_one_that_has_ended(self) -> None:
        with hosted.running() as run:
            asked = run.begun("a")
            run.finish(asked)
            events = list(asked.events)
            run.engine.cancel(asked.job)
            run.settle()
            assert asked.events == events


class TestLeases:
    def test_a_model_that_fails_is_freed_only_when_nobody_uses_it(self) -> None:
        """It would compute with freed memory."""
        with hosted.running() as run, run.engine.lease("a"):
            model, asked = run.models.loaded[0], run.begun("a")
            model.breaks = True
            assert asked.end == "failed: llama.cpp failed"
            waiting = run.ask("a")
            run.settle()
            assert not model.closed.is_set()
            assert not waiting.has_begun.is_set(), "the model is of no use any more"
            model.breaks = False
        with hosted.running() as run:
            with run.engine.lease("a"):
                asked = run.begun("a")
                run.models.loaded[0].breaks = True
                assert asked.end == "failed: llama.cpp failed"
                waiting = run.ask("a")
            run.finish(waiting)
            assert run.models.names == ["a", "a"]
            assert run.models.loaded[0].closed.is_set()

    def test_warming_that_fails_frees_no_model_in_use(self) -> None:
        with hosted.running() as run:
            with run.engine.lease("a"):
                model = run.models.loaded[0]
                model.breaks = True
                run.engine.warm("a", [Turn("hi", "", "hello")])
                run.settle()
                assert not model.closed.is_set()
            assert model.closed.wait(WAIT_S)

    def test_the_jobs_of_a_holder_pass_those_who_wait_for_another_model(self) -> None:
        """They wait for the lease, and the lease for its jobs."""
        lease = Lease("a")
        with hosted.running() as run:
            with run.engine.held(lease):
                other, behind = run.ask("b"), run.ask("a")
                own = hosted.Asking("a")
                own.job.lease = lease
                run.engine.submit(own.job)
                run.finish(own)
                run.settle()
                assert not behind.has_begun.is_set(), "it came after the one for the other model"
            run.finish(other)
            run.finish(behind)
            assert run.models.names == ["a", "b", "a"]

    def test_one_for_the_present_model_is_granted_while_all_sequences_are_busy(self) -> None:
        with hosted.running() as run:
            busy = [run.begun("a"), run.begun("a"), run.ask("a")]
            with run.engine.lease("a"):
                assert not busy[2].has_begun.is_set()
            for asked in busy:
                run.finish(asked)

    def test_the_jobs_of_a_holder_fail_with_the_model(self) -> None:
        lease = Lease("a")
        with hosted.running() as run, run.engine.held(lease):
            model, asked = run.models.loaded[0], run.begun("a")
            model.breaks = True
            assert asked.end == "failed: llama.cpp failed"
            own = hosted.Asking("a")
            own.job.lease = lease
            run.engine.submit(own.job)
            assert own.end == "failed: llama.cpp failed"

    def test_one_that_is_cancelled_in_the_line_loads_nothing(self) -> None:
        with hosted.running() as run:
            first, lease = run.begun("a"), Lease("b")
            waiting = threading.Thread(target=lambda: hold(run.engine, lease))
            waiting.start()
            run.engine.cancel(lease)
            waiting.join(WAIT_S)
            assert lease.granted.cancelled()
            run.finish(first)
            run.settle()
            assert run.models.names == ["a"]

    def test_without_a_thread_for_the_work_it_is_given_back(self, monkeypatch: pytest.MonkeyPatch) -> None:
        async def test(run: hosted.Running) -> None:
            asyncio.get_running_loop().set_default_executor(NoThreads())
            with pytest.raises(RuntimeError, match="can't start new thread"):
                await run.engine.with_model("a", lambda _: None)

        with hosted.running() as run:
            asyncio.run(test(run))
            run.finish(run.ask("b"))


def fail() -> None:
    raise ZeroDivisionError("a fault")


class NoThreads(ThreadPoolExecutor):
    def submit(self, *_: object, **__: object) -> Any:
        raise RuntimeError("can't start new thread")


def hold(engine: EngineThread, lease: Lease) -> None:
    with suppress(CancelledError), engine.held(lease):
        pass


class TestWarming:
    def test_while_idle_and_a_job_comes_first(self) -> None:
        with hosted.running() as run:
            run.finish(run.ask("a"))
            model = run.models.loaded[0]
            model.may_warm = threading.Semaphore(1)
            run.engine.warm("a", [Turn("hi", "", "hello")])
            assert hosted.eventually(lambda: model.warmed == ["hi 0"])
            asked = run.ask("a")
            model.may_warm.release(1000)
            assert asked.has_begun.wait(WAIT_S)
            assert "hi 2" not in model.warmed, "the job waited for all of it"
            run.finish(asked)
            assert hosted.eventually(lambda: model.warmed[-1:] == ["hi 2"]), "it does not go on later"

    def test_of_several_the_latest_as_many_as_there_are_sequences(self) -> None:
        with hosted.running() as run:
            asked = run.begun("a")
            for prompt in "stu":
                run.engine.warm("a", [Turn(prompt, "", "hello")])
            run.finish(asked)
            model = run.models.loaded[0]
            assert hosted.eventually(lambda: len(model.warmed) == 2 * model.to_warm)
            assert [step[0] for step in model.warmed] == [*"uuu", *"ttt"]

    def test_for_a_model_that_is_not_there_any_more(self) -> None:
        with hosted.running() as run:
            run.finish(run.ask("a"))
            run.finish(run.ask("b"))
            run.engine.warm("a", [Turn("hi", "", "hello")])
            run.settle()
            assert [model.warmed for model in run.models.loaded] == [[], []]
            assert run.models.names == ["a", "b"]

    def test_one_that_fails_costs_the_model_and_nothing_else(self) -> None:
        with hosted.running() as run:
            run.finish(run.ask("a"))
            run.models.loaded[0].breaks = True
            run.engine.warm("a", [Turn("hi", "", "hello")])
            assert run.models.loaded[0].closed.wait(WAIT_S)
            run.finish(run.ask("a"))


class TestEnd:
    def test_those_in_the_line_are_refused_and_those_under_way_finish(self) -> None:
        with hosted.running() as run:
            under_way, party = run.begun("a"), Party()
            begun, rest, waiting = run.begun("a", party), run.ask("a", party), run.ask("a")
            run.settle()
            run.engine.refuse_waiting(ValueError("the end"))
            assert waiting.end == "failed: the end"
            run.finish(begun)
            run.finish(rest)
            run.finish(under_way)

    def test_a_job_that_comes_later_is_not_meant(self) -> None:
        """Who may come is not for the thread to say."""
        with hosted.running() as run:
            run.engine.refuse_waiting(ValueError("the end"))
            run.finish(run.ask("a"))

    def test_closing_ends_what_runs_and_what_waits(self) -> None:
        with hosted.running() as run:
            first, waiting = run.begun("a"), run.ask("b")
            run.settle()
            run.engine.close()
            assert first.end == "interrupted"
            assert waiting.end == "failed: the server is ending; try again in 5 s"
            assert run.models.loaded[0].closed.is_set()
            assert run.models.names == ["a"]

    def test_closing_while_a_model_is_loaded(self) -> None:
        models = hosted.Models()
        models.may_load.clear()
        with hosted.running(models=models) as run:
            waiting = run.ask("a")
            assert models.is_loading.wait(WAIT_S)
            closing = threading.Thread(target=run.engine.close)
            closing.start()
            models.may_load.set()
            closing.join(WAIT_S)
            assert waiting.is_over.is_set()

    def test_a_model_in_use_is_freed_when_it_is_given_back(self) -> None:
        with hosted.running() as run:
            with run.engine.lease("a"):
                closing = threading.Thread(target=run.engine.close)
                closing.start()
                assert hosted.eventually(lambda: run.engine.is_stopped)
                asked = run.ask("a")
                assert asked.end == "failed: the server is ending; try again in 5 s"
                assert not run.models.loaded[0].closed.is_set()
            closing.join(WAIT_S)
            assert run.models.loaded[0].closed.is_set()
