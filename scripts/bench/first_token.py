"""From the start of the process to the first token on stdout: `r1 run` against llama.cpp's own llama-completion.

    python scripts/bench/first_token.py MODEL.gguf --llama-completion PATH [--runs 7] [--ctx 4096] [--threads N]

Same file, same prompt, same context, in turns; the file is in the system's cache. Both are asked for what comes first,
so `r1` prints the thinking (`--thinking only`). llama-completion is timed with its warm-up run, which is its default,
and without. Its libraries are named by --library-path; in LD_LIBRARY_PATH for both they would become ours, too.
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
    """Prints a line a run, and the median ratios."""
    parser = argparse.ArgumentParser(description="Time from process start to the first token.")
    parser.add_argument("model", type=Path)
    parser.add_argument("--llama-completion", type=Path, required=True)
    parser.add_argument("--library-path", default="")
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--ctx", type=int, default=4096)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    asked = parser.parse_args()
    ours, theirs, cold = _commands(asked)
    environ = {**os.environ, "LD_LIBRARY_PATH": asked.library_path}
    _first(ours, os.environ), _first(theirs, environ)  # both programs and the file come from the cache from now on
    ratios: list[tuple[float, float]] = []
    for _ in range(asked.runs):
        mine, warmed, bare = _first(ours, os.environ), _first(theirs, environ), _first(cold, environ)
        ratios.append((mine / warmed, mine / bare))
        print(f"r1 run {mine:.3f} s; llama-completion {warmed:.3f} s, without its warm-up {bare:.3f} s", flush=True)
    for name, column in (("llama-completion", 0), ("llama-completion without its warm-up", 1)):
        found = sorted(pair[column] for pair in ratios)
        print(f"r1 run takes {statistics.median(found):.2f} × {name} ({found[0]:.2f} to {found[-1]:.2f})")


def _commands(asked: argparse.Namespace) -> tuple[list[str], list[str], list[str]]:
    ours = [sys.executable, "-m", "r1", "run", "-m", str(asked.model), "--no-stdin", "--thinking", "only"]
    ours += ["--ctx", str(asked.ctx), "--threads", str(asked.threads), "--max-tokens", "64", PROMPT]
    theirs = [str(asked.llama_completion), "-m", str(asked.model), "-p", PROMPT, "-n", "64", "-no-cnv"]
    theirs += ["--no-display-prompt", "-c", str(asked.ctx), "-t", str(asked.threads)]
    return ours, theirs, [*theirs, "--no-warmup"]


def _first(command: list[str], environ: Mapping[str, str]) -> float:
    """Seconds until the first byte on stdout; the process is ended then."""
    began = perf_counter()
    quiet = subprocess.DEVNULL
    with subprocess.Popen(command, stdin=quiet, stdout=subprocess.PIPE, stderr=quiet, env=environ) as process:
        assert process.stdout is not None
        said = os.read(process.stdout.fileno(), 1)
        seconds = perf_counter() - began
        process.kill()
    if not said:
        sys.exit(f"{command[0]} said nothing")
    return seconds


if __name__ == "__main__":
    main()
