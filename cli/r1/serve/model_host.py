"""Keeps one model loaded at a time: loads it when it is asked for, and frees it when nobody has used it for a while."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from r1.loaded_model import LoadedModel


@dataclass(frozen=True, slots=True)
class Hosted:
    """The loaded model under its full name, such as `qwen-7b:Q4_K_M`."""

    name: str
    loaded: LoadedModel


class ModelHost:
    """Belongs to the engine's thread. `present` is the model that is loaded; None: none is."""

    def __init__(
        self,
        load: Callable[[str], LoadedModel],
        keep_alive_s: float | None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`load` loads the model of a full name. It is freed after `keep_alive_s` seconds without use; None: never."""
        self.present: Hosted | None = None
        self.keep_alive_s = keep_alive_s
        self._load = load
        self._clock = clock
        self._used_at = clock()

    @property
    def seconds_left(self) -> float | None:
        """Until the model is to be freed; None: there is none, or it stays."""
        if self.present is None or self.keep_alive_s is None:
            return None
        return max(self._used_at + self.keep_alive_s - self._clock(), 0.0)

    def get(self, name: str) -> LoadedModel:
        """The model, loaded in place of the present one if that is another. Raises as `load`; there is none then."""
        if self.present is None or self.present.name != name:
            self.free()
            self.present = Hosted(name, self._load(name))
        self.used()
        return self.present.loaded

    def used(self) -> None:
        """Notes that the model is in use."""
        self._used_at = self._clock()

    def free(self) -> None:
        present, self.present = self.present, None
        if present is not None:
            present.loaded.close()
