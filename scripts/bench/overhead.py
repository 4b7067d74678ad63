"""Measures Python's share of a turn: the time per token that is spent outside llama.cpp.

    python scripts/bench/overhead.py MODEL.gguf [--tokens 200] [--runs 3]

`llama_decode` and `llama_sampler_sample` are timed while a real turn passes through everything that `r1 run` does
(events, UTF-8, the view, a stdout); the rest of the wall time is ours. The share is printed as measured, and for two
typical speeds: 25 tok/s (a 1.5B on two old cores) and 120 tok/s (a GPU). The timing itself, two clock reads per call,
counts as ours.
"""

from __future__ import annotations

import argparse
import io
import os
import statistics
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any

from r1.console import Console
from r1.engine.llama import llama
from r1.loaded_model import LoadedModel
from r1.render.plain import PlainView, Reply, follow
from r1.settings import load

PROMPT = "Write a long text about the sea, with many words in it."


class Stopwatch:
    """The seconds spent inside one C function, and its number of calls."""

    def __init__(self, name: str) -> None:
        self.seconds = 0.0
        self.calls = 0
        self._native: Callable[..., Any] = getattr(llama(), name)
        setattr(llama(), name, self)

    def __call__(self, *arguments: object) -> Any:
        began = perf_counter()
        result = self._native(*arguments)
        self.seconds += perf_counter() - began
        self.calls += 1
        return result


def main() -> None:
    """Prints a line per run, and the median."""
    parser = argparse.ArgumentParser(description="Python's time per token.")
    parser.add_argument("model", type=Path)
    parser.add_argument("--tokens", type=int, default=200)
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    watches = [Stopwatch(name) for name in ("llama_decode", "llama_sampler_sample")]
    settings = load({"seed": 1, "max_tokens": options.tokens}, os.environ)
    ours = []
    with LoadedModel(options.model, settings) as loaded:
        for _ in range(options.runs):
            wall, native, tokens = turn(loaded, watches)
            ours.append((wall - native) / tokens)
            print(
                f"{tokens} tokens, {tokens / wall:7.1f} tok/s: {ours[-1] * 1e6:5.1f} µs per token outside llama.cpp, "
                f"{(wall - native) / wall:.2%} of the wall time"
            )
    median = statistics.median(ours)
    print(f"median {median * 1e6:.1f} µs per token: {median * 25:.2%} at 25 tok/s, {median * 120:.2%} at 120 tok/s")


def turn(loaded: LoadedModel, watches: list[Stopwatch]) -> tuple[float, float, int]:
    """Wall seconds of decoding, the seconds of it inside llama.cpp, and the number of tokens."""
    view = PlainView(_null_console(), "stderr", show_answer=True)
    events = loaded.ask(PROMPT).events
    calls = watches[1].calls
    for _ in events:  # the prefill and the first token are not measured
        if watches[1].calls > calls:
            break
    began, before, calls = perf_counter(), sum(watch.seconds for watch in watches), watches[1].calls
    reply: Reply = follow(events, view)
    wall = perf_counter() - began
    assert reply.finished.usage.thinking_tokens, "the turn ended at once; use another model"
    return wall, sum(watch.seconds for watch in watches) - before, watches[1].calls - calls


def _null_console() -> Console:
    sink = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True)
    return Console(None, sink, sink, {}, stdin_is_terminal=False, stdout_is_terminal=False, stderr_is_terminal=False)


if __name__ == "__main__":
    main()
