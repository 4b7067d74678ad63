"""After an answer the KV cache does not match the start of the conversation's next prompt, because old thinking is left
out there. The difference is decoded while nothing else is to be done.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from r1.engine.prompt import Turn
from r1.serve.model_host import Hosted


@dataclass(frozen=True, slots=True)
class Warming:
    """The turns of a conversation with a model of this full name."""

    model: str
    turns: tuple[Turn, ...]


class Warmings:
    """Those that are still to be done, the latest last. Only for the engine's thread."""

    def __init__(self) -> None:
        self._to_do: deque[Warming] = deque()

    def __len__(self) -> int:
        return len(self._to_do)

    def add(self, warming: Warming, most: int) -> None:
        """Keeps `most` of them: as many as there are sequences to hold them."""
        self._to_do.append(warming)
        while len(self._to_do) > most:
            self._to_do.popleft()

    def go_on(self, present: Hosted | None, is_needed_elsewhere: Callable[[], bool]) -> None:
        """Does the latest, or a part of it, if its model is present. Raises what llama.cpp raises."""
        warming = self._to_do.pop()
        if present is None or present.name != warming.model:
            return
        for _ in present.loaded.warm(warming.turns):
            if is_needed_elsewhere():
                self._to_do.append(warming)  # goes on later
                return

    def clear(self) -> None:
        self._to_do.clear()
