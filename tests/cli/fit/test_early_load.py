"""`r1.fit.early_load`: weights that were loaded before they were asked for."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from r1.engine.context import Context, ContextParams, Part, Stopped
from r1.engine.devices import Placement
from r1.engine.llama import Stop
from r1.engine.model import LoadCancelled, Model
from r1.fit import early_load
from r1.fit.planner import MemoryPlanner
from r1.machine.memory import Memory
from r1.settings import Settings
from r1_quantize.errors import BadGGUF
from r1_quantize.gguf import reader

BEFORE = Memory(total=9 << 30, free=7 << 30)


PARAMS = ContextParams(length=256)


def begin(path: Path) -> early_load.EarlyLoad:
    damaged: list[BadGGUF] = []
    return early_load.begin(path, [reader.read(path)], BEFORE, damaged.append)


@pytest.fixture(autouse=True)
def _taken() -> Iterator[None]:
    yield
    for load in list(early_load._begun):
        early_load.take(load.path, Placement(), mapped=True)


class TestClaim:
    def test_the_load_of_another_model_is_cancelled(self, tiny_path: Path, tmp_path: Path) -> None:
        begun = begin(tiny_path)
        assert early_load.claim(tiny_path) is begun
        assert early_load.claim(tmp_path / "other.gguf") is None
        assert begun._is_cancelled
        assert early_load.begun(tiny_path) is None


class TestTake:
    """Weights are used if they are where the plan wants them."""

    def test_gives_the_model_that_was_begun_once(self, tiny_path: Path) -> None:
        begin(tiny_path)
        model = early_load.take(tiny_path, Placement(), mapped=True)
        assert model is not None
        assert model.tokenize("42")
        model.close()
        assert early_load.take(tiny_path, Placement(), mapped=True) is None

    @pytest.mark.parametrize(
        ("placement", "mapped"), [(Placement(("GPU0",), 3, (1.0,)), True), (Placement(), False)], ids=["gpu", "copied"]
    )
    def test_a_model_elsewhere_is_loaded_anew(self, tiny_path: Path, placement: Placement, *, mapped: bool) -> None:
        begin(tiny_path)
        assert early_load.take(tiny_path, placement, mapped=mapped) is None
        assert early_load.begun(tiny_path) is None

    def test_a_model_that_cannot_be_loaded_is_none(self, tiny_path: Path, tmp_path: Path) -> None:
        path = tmp_path / "other.gguf"
        path.write_bytes(tiny_path.read_bytes().replace(b"\x07\0\0\0\0\0\0\0<think>", b"\x07\0\0\0\0\0\0\0<thinx>"))
        begin(path)
        assert early_load.take(path, Placement(), mapped=True) is None

    def test_can_be_cancelled(self, tiny_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        begun, asked = threading.Event(), threading.Event()

        def waiting(*arguments: Any, **options: Any) -> Model:
            begun.set()
            asked.wait(10)
            return Model(*arguments, **options)

        monkeypatch.setattr(early_load, "Model", waiting)
        begin(tiny_path)
        begun.wait(10)
        with pytest.raises(LoadCancelled):
            early_load.take(tiny_path, Placement(), mapped=True, on_progress=lambda _: bool(asked.set()))


class TestContext:
    """A context that was created together with the weights is used if it is the one that is needed."""

    def test_is_given_once_and_obeys_the_new_stop(self, tiny_path: Path) -> None:
        begin(tiny_path).add_context(PARAMS)
        model = early_load.take(tiny_path, Placement(), mapped=True)
        assert model is not None
        stop = Stop()
        context = early_load.take_context(model, PARAMS, stop)
        assert context is not None
        assert early_load.take_context(model, PARAMS, stop) is None
        with model, context:
            tokens = model.tokenize("42")
            context.decode([Part(context.sequences[0], tokens)])
            stop.set()
            with pytest.raises(Stopped):
                context.decode([Part(context.sequences[0], tokens)])

    def test_another_one_is_not(self, tiny_path: Path) -> None:
        begin(tiny_path).add_context(PARAMS)
        model = early_load.take(tiny_path, Placement(), mapped=True)
        assert model is not None
        with model:
            assert early_load.take_context(model, ContextParams(length=512), Stop()) is None

    def test_belongs_to_its_model(self, tiny_path: Path) -> None:
        begin(tiny_path)
        early = early_load.take(tiny_path, Placement(), mapped=True)
        assert early is not None
        with early, Model(tiny_path) as other:
            assert early_load.take_context(other, PARAMS, Stop()) is None

    def test_is_closed_before_weights_that_are_wanted_elsewhere(
        self, tiny_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        closed: list[str] = []
        for kind in (Context, Model):
            monkeypatch.setattr(kind, "close", lambda _, name=kind.__name__: closed.append(name))
        load = begin(tiny_path)
        load.add_context(PARAMS)
        assert load._creating is not None
        load._creating.join()
        assert early_load.take(tiny_path, Placement(), mapped=False) is None
        assert closed == ["Context", "Model"]

    def test_that_cannot_be_created_is_none(self, tiny_path: Path) -> None:
        params = ContextParams(length=256, kv_type="q9_9")
        begin(tiny_path).add_context(params)
        model = early_load.take(tiny_path, Placement(), mapped=True)
        assert model is not None
        with model:
            assert early_load.take_context(model, params, Stop()) is None


def test_the_plan_is_made_from_the_memory_before_the_load(tiny_path: Path) -> None:
    begin(tiny_path)
    planner = MemoryPlanner.of(tiny_path, Settings(), "tiny")
    assert planner.machine.free == BEFORE.free
