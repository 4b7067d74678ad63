"""`r1` with a paced model: it sleeps after each token, and stops after given texts until the test releases it.

    R1_TEST_PACE_S   seconds of sleep after each token
    R1_TEST_HOLDS    the texts, separated by "|"; while the reply ends in the n-th one (from 0), the model waits for ...
    R1_TEST_GATE     ... a file of the name n in this folder
    R1_TEST_REPLY    the path of a JSON file with a trace and an answer: the model's reply to every question. After
                     "⟲7" in the trace it has gone back by 7 characters, as out of a loop

A vote is held while one of the texts is in its tally.

Sleeping costs no processor time, and a held model waits for a test however busy the machine is.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from r1 import loaded_model
from r1.__main__ import main
from r1.chat import vote_job, worker
from r1.chat.vote_job import Tallied, VoteEvent, VoteJob
from r1.engine.events import Answer, Event, Finished, Prefill, Rewound, Thinking, Thought, Timings, Usage
from r1.engine.request import Request
from r1.engine.scheduler import Scheduler
from r1.evaluate.polling import Polling

_POLL_S = 0.005


def scripted(path: Path) -> Callable[..., Iterator[Event]]:
    """A stand-in for `generate` that replies with the texts in a file, a few characters at a time."""
    thinking, answer = (re.findall(r"⟲[0-9]+|[^⟲]{1,4}", text) for text in json.loads(path.read_text(encoding="utf-8")))

    def generate(scheduler: Scheduler, request: Request) -> Iterator[Event]:
        cancelled = scheduler.context.stop
        yield Prefill(9, 9)
        trace = ""
        for count, text in enumerate(thinking, 1):
            if text.startswith("⟲"):
                trace = trace[: -int(text[1:])]
                yield Rewound(trace, count, int(text[1:]))
            elif not request.answer_now():
                trace += text
                yield Thinking(text, count)
        yield Thought(len(thinking), "user" if request.answer_now() else "natural")
        for count, text in enumerate(answer, 1):
            if cancelled():
                break
            yield Answer(text, count)
        usage = Usage(9, len(thinking), len(answer))
        yield Finished("interrupted" if cancelled() else "stop", usage, Timings(0.1, 90.0, 30.0, 1.0))

    return generate


class Pacer:
    """Wraps `generate`."""

    def __init__(self, generate: Callable[..., Iterator[Event]]) -> None:
        self._generate = generate
        self._pace_s = float(os.environ["R1_TEST_PACE_S"])
        self._holds = list(filter(None, os.environ["R1_TEST_HOLDS"].split("|")))
        self._gate = Path(os.environ["R1_TEST_GATE"])
        self._passed = 0
        self._is_thinking = True

    def __call__(self, scheduler: Scheduler, request: Request) -> Iterator[Event]:
        text = ""
        cancelled = scheduler.context.stop
        for event in self._generate(scheduler, request):
            yield event
            if isinstance(event, Thinking | Answer):
                text += event.text
                self._is_thinking = isinstance(event, Thinking)
                time.sleep(self._pace_s)
                self.hold(text, lambda: cancelled() or (self._is_thinking and request.answer_now()))

    def hold(self, text: str, is_told_to_go_on: Callable[[], bool]) -> None:
        """Waits at each hold that the text has reached, until its gate is open or the user interferes."""
        while self._passed < len(self._holds) and self._holds[self._passed] in text:
            while not ((self._gate / str(self._passed)).exists() or is_told_to_go_on()):
                time.sleep(_POLL_S)
            self._passed += 1


class PacedVoteJob(VoteJob):
    """A vote with a tally before every step but the first, where it may be held."""

    pacer: Pacer

    def hold(self, polling: Polling, emit: Callable[[VoteEvent], None]) -> None:
        def emit_and_wait(event: VoteEvent) -> None:
            emit(event)
            if isinstance(event, Tallied):
                self.pacer.hold(event.wordings[0], lambda: self._stop() or self._times_hurried() > 0)

        super().hold(polling, emit_and_wait)


if __name__ == "__main__":
    reply = os.environ.get("R1_TEST_REPLY")
    loaded_model.generate = PacedVoteJob.pacer = Pacer(scripted(Path(reply)) if reply else loaded_model.generate)
    worker.VoteJob, vote_job._TALLY_EVERY_S = PacedVoteJob, 0.0  # type: ignore[misc]
    main()
