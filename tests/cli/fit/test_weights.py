"""`r1.fit.weights`: the progress of loading, and how it is cancelled."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from r1.engine.devices import Placement
from r1.engine.llama import Stop
from r1.engine.model import LoadCancelled
from r1.fit.planner import MemoryPlanner
from r1.fit.weights import load_weights
from r1.settings import Settings


@pytest.fixture
def planner(tiny_path: Path) -> MemoryPlanner:
    return MemoryPlanner.of(tiny_path, Settings(), "tiny")


def test_the_progress_ends_with_all_of_the_file(planner: MemoryPlanner, tiny_path: Path) -> None:
    shares: list[float] = []
    load_weights(tiny_path, Placement(), planner, Stop(), shares.append).close()
    assert shares == sorted(shares)
    assert shares[-1] == 1


def test_a_file_that_has_to_be_read_first_takes_most_of_the_progress(
    planner: MemoryPlanner, tiny_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read_ahead(path: Path, available: int, on_progress: Callable[[float], bool]) -> bool:
        assert (path, available) == (tiny_path, planner.machine.usable)
        return all(on_progress(share) for share in (0.0, 0.5, 1.0))

    monkeypatch.setattr("r1.fit.weights.read_ahead", read_ahead)
    shares: list[float] = []
    load_weights(tiny_path, Placement(), planner, Stop(), shares.append).close()
    assert shares[:3] == [0, 0.4, 0.8]
    assert shares == sorted(shares)
    assert shares[-1] == 1


@pytest.mark.parametrize("is_reading", [True, False])
def test_a_stop_cancels_it(
    planner: MemoryPlanner, tiny_path: Path, monkeypatch: pytest.MonkeyPatch, is_reading: bool
) -> None:
    stop = Stop()
    stop.set()
    if is_reading:
        monkeypatch.setattr("r1.fit.weights.read_ahead", lambda _path, _available, on_progress: on_progress(0.5))
    with pytest.raises(LoadCancelled):
        load_weights(tiny_path, Placement(), planner, stop, lambda _: None)
