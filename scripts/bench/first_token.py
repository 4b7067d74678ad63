"""Compares the time from process start to the first token on stdout: `r1 run` and llama.cpp's llama-completion.

    python scripts/bench/first_token.py MODEL.gguf --llama-completion PATH [--runs 7] [--ctx 4096] [--threads N]

Both use the same file, prompt and context, in turns, with the file in the system's cache. Both print the first token of
the reply, so `r1` prints the thinking (`--thinking only`). llama-completion is timed with its warm-up run, which is its
default, and without. --library-path is the folder of its libraries; LD_LIBRARY_PATH would apply to r1 too.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from time import perf_counter

PROMPT = "How many r's are in strawberry?"


def main() -> None:
    """Prints a line per run, and the median ratios."""
    parser = argparse.ArgumentParser(description="Time from process start to the first token.")
    parser.add_argument("model", type=Path)
    parser.add_argument("--llama-completion", type=Path, required=True)
    parser.add_argument("--library-path", default="")
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--ctx", type=int, default=4096)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    options = parser.parse_args()
    ours, theirs, theirs_cold = _commands(options)
    environ = {**os.environ, "LD_LIBRARY_PATH": options.library_path}
    _first_byte(ours, os.environ), _first_byte(theirs, environ)  # brings both programs and the file into the cache
    ratios: list[tuple[float, float]] = []
    for _ in range(options.runs):
        our_s, their_s = _first_byte(ours, os.environ), _first_byte(theirs, environ)
        cold_s = _first_byte(theirs_cold, environ)
        ratios.append((our_s / their_s, our_s / cold_s))
        print(f"r1 run {our_s:.3f} s; llama-completion {their_s:.3f} s, without its warm-up {cold_s:.3f} s", flush=True)
    for name, column in (("llama-completion", 0), ("llama-completion without its warm-up", 1)):
        values = sorted(pair[column] for pair in ratios)
        print(f"r1 run takes {statistics.median(values):.2f} × {name} ({values[0]:.2f} to {values[-1]:.2f})")


def _commands(options: argparse.Namespace) -> tuple[list[str], list[str], list[str]]:
    ours = [sys.executable, "-m", "r1", "run", "-m", str(options.model), "--no-stdin", "--thinking", "only"]
    ours += ["--ctx", str(options.ctx), "--threads", str(options.threads), "--max-tokens", "64", PROMPT]
    theirs = [str(options.llama_completion), "-m", str(options.model), "-p", PROMPT, "-n", "64", "-no-cnv"]
    theirs += ["--no-display-prompt", "-c", str(options.ctx), "-t", str(options.threads)]
    return ours, theirs, [*theirs, "--no-warmup"]


def _first_byte(command: list[str], environ: Mapping[str, str]) -> float:
    """Seconds until the first byte on stdout; then the process is killed."""
    began = perf_counter()
    quiet = subprocess.DEVNULL
    with subprocess.Popen(command, stdin=quiet, stdout=subprocess.PIPE, stderr=quiet, env=environ) as process:
        assert process.stdout is not None
        output = os.read(process.stdout.fileno(), 1)
        seconds = perf_counter() - began
        process.kill()
    if not output:
        sys.exit(f"{command[0]} printed nothing")
    return seconds


if __name__ == "__main__":
    main()
