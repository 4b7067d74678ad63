"""Decode speed on a busy machine: `r1 run` with its default, with fixed numbers of threads, and llama-completion.

    python scripts/bench/busy.py MODEL.gguf [--llama-completion PATH] [--burners 0,1,2,4] [--threads 1,2] [--rounds 3]

For each row, so many processes compute without a pause. One more row has as many as there are processors, for
`--cycle` seconds on and off. The sides run in turns, each in its own process for `--seconds`, and are then interrupted.
They report the speed after the first token. r1's default should reach 0.8 of the best fixed number in every row.

Use a model that does not end its turn when it is decoded greedily, such as the random weights that `make_checkpoint` in
scripts/bench/quantize.py makes. Other work on the machine spoils the figures. --library-path is the folder of
llama-completion's libraries. Needs POSIX signals.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import re
import signal
import statistics
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

GOAL = 0.8
"""Of the best fixed number of threads."""

PROMPT = "Tell me a very long story."
_START_S = 1.0  # for a process to start and load the model
_TOKENS, _CONTEXT = 3900, 4096
_EVAL = re.compile(r"common_perf_print: +eval time =.*?(inf|[\d.]+) tokens per second")


@dataclass(frozen=True, slots=True)
class Row:
    """`burners` processes; with `cycle`, they pause after so many seconds, for as long."""

    burners: int
    cycle: float | None = None

    def __str__(self) -> str:
        return f"{self.burners}, {self.cycle:g} s on and off" if self.cycle else str(self.burners)


def main() -> None:
    """Prints a line per row and round, and the median ratio of each row."""
    options = _options()
    sides = dict(_sides(options))
    print(f"{options.model.name}: tokens per second, {options.seconds:g} s each", flush=True)
    rows = [*map(Row, options.burners), Row(len(os.sched_getaffinity(0)), options.cycle)]
    medians = {row: _measure(row, sides, options) for row in rows}
    for row, ratios in medians.items():
        verdict = "reached" if ratios["best fixed"] >= GOAL else "missed"
        if math.isnan(ratios["best fixed"]):
            verdict = "not measured: no second token came in time; raise --seconds"
        others = ", ".join(f"{ratio:.2f} × {name}" for name, ratio in ratios.items())
        print(f"burners {row}: r1's default has {others}; goal {GOAL} × best fixed, {verdict}")


def _options() -> argparse.Namespace:
    def numbers(text: str) -> list[int]:
        return [int(part) for part in text.split(",")]

    parser = argparse.ArgumentParser(description="Decode speed on a busy machine.")
    parser.add_argument("model", type=Path)
    parser.add_argument("--llama-completion", type=Path)
    parser.add_argument("--library-path", default="")
    parser.add_argument("--burners", type=numbers, default=[0, 1, 2, 4])
    parser.add_argument("--threads", type=numbers, default=list(range(1, len(os.sched_getaffinity(0)) + 1)))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--cycle", type=float, default=5.0, help="seconds; the last row runs for at least two cycles")
    return parser.parse_args()


def _sides(options: argparse.Namespace) -> Iterator[tuple[str, Callable[[float], float]]]:
    """Name → a function that runs one side for so many seconds and returns tokens per second."""
    ours: list[object] = [sys.executable, "-m", "r1", "run", "--json", "--no-stdin", "--device", "cpu", "--temp", 0]
    ours += ["-m", options.model, "--ctx", _CONTEXT, "--max-tokens", _TOKENS, PROMPT]
    yield "r1", lambda seconds: _ours(ours, seconds)
    for threads in options.threads:
        fixed = [*ours, "--threads", threads]
        yield f"{threads} fixed", lambda seconds, fixed=fixed: _ours(fixed, seconds)
    if options.llama_completion:
        theirs: list[object] = [options.llama_completion, "-m", options.model, "-p", PROMPT, "-n", _TOKENS]
        theirs += ["--ignore-eos", "--temp", 0, "-no-cnv", "-c", _CONTEXT, "-ngl", 0, "--no-warmup"]
        environ = {**os.environ, "LD_LIBRARY_PATH": options.library_path}
        yield "llama-completion", lambda seconds: _theirs(theirs, seconds, environ)


def _measure(row: Row, sides: dict[str, Callable[[float], float]], options: argparse.Namespace) -> dict[str, float]:
    """Median ratios of r1's default to the best fixed number, and to llama-completion."""
    seconds = max(options.seconds, 4 * options.cycle) if row.cycle else options.seconds
    rates: dict[str, list[float]] = {name: [] for name in sides}
    names = list(sides)
    for number in range(options.rounds):
        for name in names[number % len(names) :] + names[: number % len(names)]:
            with _burning(row):
                rates[name].append(sides[name](seconds))
        line = "  ".join(f"{name} {values[-1]:7.2f}" for name, values in rates.items())
        print(f"burners {row}: {line}  load {os.getloadavg()[0]:.1f}", flush=True)
    best = max((name for name in names if name.endswith("fixed")), key=lambda name: statistics.median(rates[name]))
    against = {"best fixed": best, **({"llama-completion": "llama-completion"} if "llama-completion" in names else {})}
    return {
        title: statistics.median(
            ours / theirs if theirs else math.nan for ours, theirs in zip(rates["r1"], rates[name], strict=True)
        )
        for title, name in against.items()
    }


@contextmanager
def _burning(row: Row) -> Iterator[None]:
    """Keeps processors busy meanwhile."""
    processes = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(row.burners)]
    is_over = threading.Event()

    def pause_and_resume() -> None:
        signals = [signal.SIGSTOP, signal.SIGCONT]
        while not is_over.wait(row.cycle):
            for process in processes:
                process.send_signal(signals[0])
            signals.reverse()

    cycle = threading.Thread(target=pause_and_resume)
    if row.cycle:
        cycle.start()
    try:
        yield
    finally:
        is_over.set()
        if row.cycle:
            cycle.join()
        for process in processes:
            process.kill()
            process.wait()


def _ours(command: list[object], seconds: float) -> float:
    environ = {name: value for name, value in os.environ.items() if name not in {"LD_LIBRARY_PATH", "R1_THREADS"}}
    reply = json.loads(_run(command, seconds, environ, "stdout"))
    if "error" in reply:
        sys.exit(f"r1: {reply['error']}")
    if reply["finish_reason"] != "interrupted":
        print(f"the reply ended ({reply['finish_reason']}) after {reply['timings']['total_s']:.1f} s", file=sys.stderr)
    return float(reply["timings"]["decode_tps"])


def _theirs(command: list[object], seconds: float, environ: dict[str, str]) -> float:
    output = _run(command, seconds, environ, "stderr")
    found = _EVAL.search(output)
    if found is None:
        sys.exit(f"{command[0]} reports no speed:\n{output[-1000:]}")
    return 0.0 if found[1] == "inf" else float(found[1])  # inf: interrupted before the second token


def _run(command: list[object], seconds: float, environ: dict[str, str], stream: str) -> str:
    """What the program writes to `stream` when it is interrupted after so long."""
    kept = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, stream: subprocess.PIPE}
    with subprocess.Popen(list(map(str, command)), stdin=subprocess.DEVNULL, env=environ, text=True, **kept) as process:
        sleeper = threading.Timer(_START_S + seconds, process.send_signal, [signal.SIGINT])
        sleeper.start()
        output, errors = process.communicate()
        sleeper.cancel()
    return output if stream == "stdout" else errors


if __name__ == "__main__":
    main()
