"""Which conversations are warmed, and what interrupts it."""

from __future__ import annotations

from typing import cast

import pytest

from r1.engine.llama import Stop
from r1.engine.prompt import Turn
from r1.loaded_model import LoadedModel
from r1.serve.model_host import Hosted
from r1.serve.warmings import Warming, Warmings
from tests.fakes.hosted import FakeModel


def warming(prompt: str, model: str = "a") -> Warming:
    return Warming(model, (Turn(prompt, "", "hello"),))


@pytest.fixture
def model() -> FakeModel:
    return FakeModel("a", Stop())


@pytest.fixture
def present(model: FakeModel) -> Hosted:
    return Hosted("a", cast(LoadedModel, model))


def never() -> bool:
    return False


def test_the_latest_first_and_no_more_than_there_are_sequences(model: FakeModel, present: Hosted) -> None:
    warmings = Warmings()
    for prompt in "stu":
        warmings.add(warming(prompt), 2)
    model.to_warm = 1
    while warmings:
        warmings.go_on(present, never)
    assert model.warmed == ["u 0", "t 0"]


def test_one_that_is_interrupted_goes_on_later(model: FakeModel, present: Hosted) -> None:
    warmings = Warmings()
    warmings.add(warming("s"), 2)
    warmings.go_on(present, lambda: len(model.warmed) == 2)
    assert (model.warmed, len(warmings)) == (["s 0", "s 1"], 1)
    warmings.go_on(present, never)
    assert (model.warmed[-1], len(warmings)) == ("s 2", 0)


@pytest.mark.parametrize("name", [None, "b"])
def test_for_another_model_it_is_dropped(model: FakeModel, name: str | None) -> None:
    warmings = Warmings()
    warmings.add(warming("s"), 2)
    warmings.go_on(None if name is None else Hosted(name, cast(LoadedModel, model)), never)
    assert (model.warmed, len(warmings)) == ([], 0)


def test_one_that_fails_is_not_tried_again(model: FakeModel, present: Hosted) -> None:
    warmings = Warmings()
    warmings.add(warming("s"), 2)
    model.breaks = True
    with pytest.raises(RuntimeError):
        warmings.go_on(present, never)
    assert len(warmings) == 0


def test_all_can_be_forgotten() -> None:
    warmings = Warmings()
    warmings.add(warming("s"), 2)
    warmings.clear()
    assert len(warmings) == 0
