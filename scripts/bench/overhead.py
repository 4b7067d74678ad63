"""Measures Python's share of a turn: the time per token that is spent outside llama.cpp.

    python scripts/bench/overhead.py MODEL.gguf [--tokens 200] [--runs 3] [--parallel 16]

`llama_decode` and sampling are timed while a real turn passes through everything that `r1 run` does (events, UTF-8, the
view, a stdout); the rest of the wall time is ours. The share is printed as measured, and for two typical speeds: 25
tok/s (a 1.5B on two old cores) and 120 tok/s (a GPU). The timing itself, two clock reads per call, counts as ours.

With `--parallel N`, N samples of one prompt are generated at once, as for `r1 run --jsonl`, up to their events. Only
steps in which all N generate are counted. Sampling is counted apart: llama.cpp does it, too, but once for each reply.
With random weights it takes many times as long as with trained ones, where few tokens are likely, unless R1_TOP_P=0.001
keeps few.
"""

from __future__ import annotations

import argparse
import io
import os
import statistics
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

from r1.console import Console
from r1.engine.events import Finished, Prefill
from r1.engine.llama import llama
from r1.engine.sampling_pool import SamplingPool
from r1.fit.fitted_model import Workload
from r1.loaded_model import LoadedModel
from r1.render.plain import PlainView, follow
from r1.render.reply_text import Reply
from r1.settings import load

PROMPT = "Write a long text about the sea, with many words in it."


class Stopwatch:
    """The seconds spent inside one function, and the number of results: one a call, or those of a list."""

    def __init__(self, owner: object, name: str) -> None:
        self.seconds = 0.0
        self.results = 0
        timed = getattr(owner, name)

        def call(*arguments: object) -> Any:
            began = perf_counter()
            result = timed(*arguments)
            self.seconds += perf_counter() - began
            self.results += len(result) if isinstance(result, list) else 1
            return result

        setattr(owner, name, call)


class Watches:
    """Where the time goes inside llama.cpp. `is_parallel`: threads may sample, and are timed as a whole."""

    def __init__(self, *, is_parallel: bool) -> None:
        self.decode = Stopwatch(llama(), "llama_decode")
        owner = (SamplingPool, "sample") if is_parallel else (llama(), "llama_sampler_sample")
        self.sample = Stopwatch(*owner)

    @property
    def seconds(self) -> tuple[float, float]:
        """Of decoding and of sampling."""
        return self.decode.seconds, self.sample.seconds


def main() -> None:
    """Prints a line per run, and the median."""
    parser = argparse.ArgumentParser(description="Python's time per token.")
    parser.add_argument("model", type=Path)
    parser.add_argument("--tokens", type=int, default=200)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--parallel", type=int, default=1)
    options = parser.parse_args()
    watches = Watches(is_parallel=options.parallel > 1)
    flags = {"seed": 1, "max_tokens": options.tokens, "parallel": options.parallel}
    ours = []
    workload = Workload(is_parallel=options.parallel > 1)
    with LoadedModel(options.model, load(flags, os.environ), workload=workload) as loaded:
        for _ in range(options.runs):
            measured = turn(loaded, watches) if options.parallel == 1 else samples(loaded, watches, options.parallel)
            ours.append(measured.ours / measured.tokens)
            print(measured)
    median = statistics.median(ours)
    print(f"median {median * 1e6:.1f} µs per token: {median * 25:.2%} at 25 tok/s, {median * 120:.2%} at 120 tok/s")


@dataclass(frozen=True, slots=True)
class Measured:
    """Seconds, and the number of tokens generated in them."""

    tokens: int
    wall: float
    decode: float
    sample: float

    @property
    def ours(self) -> float:
        return self.wall - self.decode - self.sample

    def __str__(self) -> str:
        per_token = f"{self.ours / self.tokens * 1e6:5.1f} µs per token outside llama.cpp"
        shares = f"{self.ours / self.wall:.2%} of the wall time, sampling {self.sample / self.wall:.2%}"
        return f"{self.tokens} tokens, {self.tokens / self.wall:7.1f} tok/s: {per_token}, {shares}"


class Interval:
    """From its creation to `end`."""

    def __init__(self, watches: Watches) -> None:
        self._watches = watches
        self._began, self._native, self._results = perf_counter(), watches.seconds, watches.sample.results

    def end(self) -> Measured:
        wall = perf_counter() - self._began
        decode, sample = (now - before for now, before in zip(self._watches.seconds, self._native, strict=True))
        return Measured(self._watches.sample.results - self._results, wall, decode, sample)


def turn(loaded: LoadedModel, watches: Watches) -> Measured:
    """One reply, from its second token on."""
    view = PlainView(_null_console(), "stderr", show_answer=True)
    events = loaded.ask(PROMPT).events
    results = watches.sample.results
    for _ in events:  # the prefill and the first token are not measured
        if watches.sample.results > results:
            break
    interval = Interval(watches)
    reply: Reply = follow(events, view)
    measured = interval.end()
    assert reply.finished.usage.thinking_tokens, "the turn ended at once; use another model"
    return measured


def samples(loaded: LoadedModel, watches: Watches, count: int) -> Measured:
    """`count` replies to one prompt, as long as all of them are generated."""
    requests = [loaded.request(PROMPT) for _ in range(count)]
    for request in requests:
        loaded.submit(request)
    generating: set[int] = set()
    while len(generating) < count:
        for request, event in loaded.step():
            assert not isinstance(event, Finished), "a reply ended too soon; use more --tokens, or another model"
            if not isinstance(event, Prefill):
                generating.add(id(request))
    interval = Interval(watches)
    has_ended = False
    while not has_ended:
        has_ended = any(isinstance(event, Finished) for _, event in loaded.step())
    measured = interval.end()
    for request in requests:
        request.cancel()
    while loaded.step():
        pass
    return measured


def _null_console() -> Console:
    sink = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True)
    return Console(None, sink, sink, {}, stdin_is_terminal=False, stdout_is_terminal=False, stderr_is_terminal=False)


if __name__ == "__main__":
    main()
