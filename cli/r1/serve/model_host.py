"""Keeps one model loaded at a time: loads it when it is asked for, and frees it when nobody has used it for a while."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from r1.fit.plan import MemoryPlan
from r1.loaded_model import LoadedModel


@dataclass(frozen=True, slots=True)
class Hosted:
    """The loaded model under its full name, such as `qwen-7b:Q4_K_M`."""

    name: str
    loaded: LoadedModel


@dataclass(frozen=True, slots=True)
class Presence:
    """What others can know of the loaded model. It is freed after `seconds_left` without use; None: it stays."""

    name: str
    plan: MemoryPlan
    seconds_left: float | None


class ModelHost:
    """Belongs to the engine's thread; only `presence` may be read on any. `present` is the model that is loaded; None:
    none is.
    """

    def __init__(
        self,
        load: Callable[[str], LoadedModel],
        keep_alive_s: float | None,
        warn: Callable[[str], None] = lambda _: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`load` loads the model of a full name. It is freed after `keep_alive_s` seconds without use; None: never.
        `warn` tells the user what went wrong without harm.
        """
        self.present: Hosted | None = None
        self._default_keep_s = self._keep_s = keep_alive_s
        self._load = load
        self._warn = warn
        self._clock = clock
        self._used_at = clock()

    @property
    def seconds_left(self) -> float | None:
        """Until the model is to be freed; None: there is none, or it stays."""
        return None if self.present is None else self._left(self._keep_s)

    @property
    def presence(self) -> Presence | None:
        """The present model as others see it."""
        present, keep_s = self.present, self._keep_s
        return None if present is None else Presence(present.name, present.loaded.plan, self._left(keep_s))

    def get(self, name: str) -> LoadedModel:
        """The model, loaded in place of the present one if that is another. Raises as `load`; there is none then."""
        if self.present is None or self.present.name != name:
            self.free()
            self._keep_s = self._default_keep_s
            self.present = Hosted(name, self._load(name))
        self.used()
        return self.present.loaded

    def used(self) -> None:
        """Notes that the model is in use."""
        self._used_at = self._clock()

    def keep(self, name: str, seconds: float | None) -> None:
        """If this is the present model, from now on it is freed after so many seconds without use; None: never. When it
        is loaded again, it is kept as usual.
        """
        if self.present is not None and self.present.name == name:
            self._keep_s = seconds

    def free(self) -> None:
        """Frees the model. What its KV cache holds stays on disk for the next time, if the user wants that."""
        if self.present is not None and (trouble := self.present.loaded.keep_all()):
            self._warn(f"the KV cache was not kept on disk: {trouble}")
        self.drop()

    def drop(self) -> None:
        """Frees the model, which may be in disorder."""
        present, self.present = self.present, None
        if present is not None:
            present.loaded.close()

    def _left(self, keep_s: float | None) -> float | None:
        return None if keep_s is None else max(self._used_at + keep_s - self._clock(), 0.0)
