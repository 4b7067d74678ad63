"""Which model is loaded, and for how long."""

from __future__ import annotations

from typing import Any

import pytest

from r1.serve.model_host import ModelHost
from tests.fakes.clock import Clock


class FakeModel:
    """As LoadedModel."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.plan = f"the plan of {name}"
        self.is_closed = False
        self.is_kept = False

    def keep_all(self) -> str:
        self.is_kept = True
        return "the disk is full" if self.name == "large" else ""

    def close(self) -> None:
        self.is_closed = True


class Hosting:
    """A host of fake models, and its clock."""

    def __init__(self, keep_alive_s: float | None) -> None:
        self.clock = Clock()
        self.loaded: list[FakeModel] = []
        self.warnings: list[str] = []
        self.host = ModelHost(self._load, keep_alive_s, self.warnings.append, self.clock)

    def _load(self, name: str) -> Any:
        if name == "too-large":
            raise MemoryError
        self.loaded.append(FakeModel(name))
        return self.loaded[-1]


def test_one_model_at_a_time() -> None:
    hosting = Hosting(60)
    assert hosting.host.presence is None
    first = hosting.host.get("a")
    assert hosting.host.get("a") is first
    hosting.host.get("b")
    assert [(model.name, model.is_closed) for model in hosting.loaded] == [("a", True), ("b", False)]


def test_one_that_cannot_be_loaded_leaves_none() -> None:
    hosting = Hosting(60)
    hosting.host.get("a")
    with pytest.raises(MemoryError):
        hosting.host.get("too-large")
    assert (hosting.host.present, hosting.loaded[0].is_closed) == (None, True)


def test_the_time_runs_from_the_last_use() -> None:
    hosting = Hosting(60)
    assert hosting.host.seconds_left is None
    hosting.host.get("a")
    hosting.clock.now += 50
    assert hosting.host.seconds_left == 10
    hosting.host.used()
    assert hosting.host.seconds_left == 60
    hosting.clock.now += 99
    assert hosting.host.seconds_left == 0


def test_what_is_freed_is_kept_on_disk_and_what_is_in_disorder_is_not() -> None:
    hosting = Hosting(60)
    for name in ("a", "large", "b"):
        hosting.host.get(name)
    hosting.host.drop()
    assert [(model.is_kept, model.is_closed) for model in hosting.loaded] == [(True, True), (True, True), (False, True)]
    assert hosting.warnings == ["the KV cache was not kept on disk: the disk is full"]


@pytest.mark.parametrize("seconds", [0.0, 5.0, 600.0, None])
def test_a_client_may_change_it_until_the_model_is_loaded_again(seconds: float | None) -> None:
    hosting = Hosting(60)
    hosting.host.get("a")
    hosting.host.keep("a", seconds)
    assert hosting.host.seconds_left == seconds
    hosting.host.get("a")
    assert hosting.host.seconds_left == seconds
    hosting.host.free()
    hosting.host.get("a")
    assert hosting.host.seconds_left == 60


def test_what_is_said_of_another_model_changes_nothing() -> None:
    hosting = Hosting(60)
    hosting.host.keep("a", 0)
    hosting.host.get("a")
    hosting.host.keep("b", 0)
    assert hosting.host.seconds_left == 60


def test_others_see_the_model_its_plan_and_its_time() -> None:
    hosting = Hosting(60)
    hosting.host.get("a")
    hosting.clock.now += 20
    presence = hosting.host.presence
    assert presence is not None
    assert (presence.name, str(presence.plan), presence.seconds_left) == ("a", "the plan of a", 40)
    hosting.host.keep("a", None)
    assert hosting.host.presence is not None
    assert hosting.host.presence.seconds_left is None
