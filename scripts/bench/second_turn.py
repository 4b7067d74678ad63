"""Measures the time to the first token of a second turn, after a long answer and a few seconds of idle time.

    python scripts/bench/second_turn.py MODEL.gguf [--answer 400] [--runs 3] [--idle 30]

Uses the chat's worker: a question, an answer of `--answer` tokens, idle time in which the KV cache is warmed, a second
question. Two baselines use the same tokens in the same run: the second turn without idle time, where the cache holds
the old thinking and the answer is prefilled again (as other programs do), and a prefill of the answer alone. Random
weights are good enough: `make_checkpoint` in scripts/bench/quantize.py makes them in any shape.
"""

from __future__ import annotations

import argparse
import statistics
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from time import perf_counter

from r1.chat.worker import Failed, Ready, Warmed, Worker, WorkerEvent
from r1.engine.events import Answer, Finished, Thinking
from r1.engine.prompt import Turn
from r1.loaded_model import LoadedModel
from r1.settings import Settings

FIRST = "Tell me about the sea, in many words."
SECOND = "And the sky?"


@dataclass(slots=True)
class Chat:
    """A worker and its events."""

    worker: Worker
    events: SimpleQueue[WorkerEvent]

    def next(self, *kinds: type[WorkerEvent]) -> WorkerEvent:
        """The next event of one of these kinds."""
        while True:
            event = self.events.get(timeout=300)
            if isinstance(event, Failed):
                raise event.error
            if isinstance(event, kinds):
                return event

    def ask(self, prompt: str, turns: list[Turn], settings: Settings) -> tuple[float, str]:
        """Seconds from the question to the first token, and the answer."""
        began = perf_counter()
        self.worker.ask(prompt, turns, settings)
        self.worker.answer_now()  # with random weights the thinking would never end
        first, answer = None, []
        while True:
            event = self.next(Thinking, Answer, Finished)
            if isinstance(event, Finished):
                return first if first is not None else event.timings.ttft_s, "".join(answer)
            first = first if first is not None else perf_counter() - began
            answer += [event.text] if isinstance(event, Answer) else []


def main() -> None:
    """Prints a line per run, and the median ratios."""
    parser = argparse.ArgumentParser(description="Time to the first token of the second turn.")
    parser.add_argument("model", type=Path)
    parser.add_argument("--answer", type=int, default=400, help="tokens of the first answer")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--idle", type=float, default=30.0, help="seconds of idle time at most")
    options = parser.parse_args()
    settings = Settings(seed=1, temp=0.6, ctx=4096, max_tokens=options.answer + 2)
    brief = Settings(seed=1, temp=0.6, ctx=4096, max_tokens=8)
    rows = [run(options.model, settings, brief, options.idle) for _ in range(options.runs)]
    for name, index in (("a prefill of the answer alone", 1), ("a second turn without idle time", 2)):
        ratio = statistics.median(row[0] / row[index] for row in rows)
        print(f"warm, against {name}: {ratio:.3f}")


def run(model: Path, settings: Settings, brief: Settings, idle: float) -> tuple[float, float, float]:
    """Seconds: to the first token when warm, for a prefill of the answer, to the first token without idle time."""
    events: SimpleQueue[WorkerEvent] = SimpleQueue()
    chat = Chat(Worker(events.put), events)
    chat.worker.open(lambda: (model.name, model), settings)
    chat.next(Ready)
    _, answer = chat.ask(FIRST, [], settings)
    turns = [Turn(FIRST, "", answer)]
    cold, _ = chat.ask(SECOND, turns, brief)

    chat.ask(FIRST, [], settings)  # the same answer again, so that the cache has the same content
    began = perf_counter()
    chat.worker.warm(turns, brief)
    warmed = chat.next(Warmed)
    while isinstance(warmed, Warmed) and warmed.done < sum(warmed.turn_tokens) and perf_counter() - began < idle:
        warmed = chat.next(Warmed)
    idle_s = perf_counter() - began
    warm, _ = chat.ask(SECOND, turns, brief)
    chat.worker.close()

    tokens, fresh = prefill_alone(model, brief, answer)
    print(
        f"answer {tokens} tokens; first token of the next turn: warm {warm:.3f} s after {idle_s:.1f} s idle, "
        f"without {cold:.3f} s; prefill of the answer alone {fresh:.3f} s"
    )
    return warm, fresh, cold


def prefill_alone(model: Path, settings: Settings, answer: str) -> tuple[int, float]:
    """The number of tokens of the answer, and the seconds to prefill them into an empty cache."""
    with LoadedModel(model, settings) as loaded:
        tokens = loaded.model.tokenize(answer)
        context = loaded.context
        began = perf_counter()
        for _ in context.warm([tokens]):
            pass
        return len(tokens), perf_counter() - began


if __name__ == "__main__":
    main()
