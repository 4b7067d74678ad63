"""Loads the weights of a GGUF as planned, from a disk that may be slow."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from r1.engine.devices import Placement
from r1.engine.llama import Stop
from r1.engine.model import LoadCancelled, Model
from r1.engine.read_ahead import read_ahead
from r1.fit import early_load
from r1.fit.planner import MemoryPlanner

_READING_SHARE = 0.8  # of the progress, if the file has to be read from disk first

Progress = Callable[[float], None]
"""Is called with the share that is loaded, 0 to 1."""


def load_weights(path: Path, placement: Placement, planner: MemoryPlanner, stop: Stop, progress: Progress) -> Model:
    """The weights, on the machine of `planner`. Raises BadGGUF, NotEnoughSpace; LoadCancelled once `stop` is set."""
    reads_first = False

    def reading(share: float) -> bool:
        nonlocal reads_first
        reads_first = True
        progress(_READING_SHARE * share)
        return not stop()

    def loading(share: float) -> bool:
        progress(_READING_SHARE + (1 - _READING_SHARE) * share if reads_first else share)
        return not stop()

    if (model := early_load.take(path, placement, mapped=planner.maps, on_progress=loading)) is not None:
        model.until_exit = planner.draft is None  # else it may be loaded again, without the draft model
        return model
    if not read_ahead(path, planner.machine.usable, reading):
        raise LoadCancelled
    return Model(path, placement, mapped=planner.maps, on_progress=loading)
