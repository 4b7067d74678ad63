"""`r1` with a paced model: it sleeps after each token, and stops after given texts until the test releases it.

    R1_TEST_PACE_S   seconds of sleep after each token
    R1_TEST_HOLDS    the texts, separated by "|"; while the reply ends in the n-th one (from 0), the model waits for ...
    R1_TEST_GATE     ... a file of the name n in this folder

Sleeping costs no processor time, and a held model waits for a test however busy the machine is.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from r1 import loaded_model
from r1.__main__ import main
from r1.engine.events import Answer, Event, Thinking

_POLL_S = 0.005


class Pacer:
    """Wraps `generate`."""

    def __init__(self, generate: Callable[..., Iterator[Event]]) -> None:
        self._generate = generate
        self._pace_s = float(os.environ["R1_TEST_PACE_S"])
        self._holds = list(filter(None, os.environ["R1_TEST_HOLDS"].split("|")))
        self._gate = Path(os.environ["R1_TEST_GATE"])
        self._passed = 0
        self._is_thinking = True

    def __call__(
        self, *arguments: Any, cancelled: Callable[[], bool], answer_now: Callable[[], bool], **options: Any
    ) -> Iterator[Event]:
        text = ""
        for event in self._generate(*arguments, cancelled=cancelled, answer_now=answer_now, **options):
            yield event
            if isinstance(event, Thinking | Answer):
                text += event.text
                self._is_thinking = isinstance(event, Thinking)
                time.sleep(self._pace_s)
                self._hold(text, lambda: cancelled() or (self._is_thinking and answer_now()))

    def _hold(self, text: str, is_told_to_go_on: Callable[[], bool]) -> None:
        """Waits at each hold that the text has reached, until its gate is open or the user interferes."""
        while self._passed < len(self._holds) and self._holds[self._passed] in text:
            while not ((self._gate / str(self._passed)).exists() or is_told_to_go_on()):
                time.sleep(_POLL_S)
            self._passed += 1


if __name__ == "__main__":
    loaded_model.generate = Pacer(loaded_model.generate)
    main()
