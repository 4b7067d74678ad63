"""Asks `r1 serve` many questions for a long time, and looks for wrong answers and for what it does not give back.

    python -m scripts.soak [--requests 2000] [--clients 32] [--minutes 10] [--seed 1]

The server is a process of its own, with the built-in model and eight sequences. The requests are those of all three
APIs, streamed and whole, in waves and one by one. Most ask for sums, whose replies are compared with those of the model
alone; the others are random, long, several, votes or of a form. A third is cut off at random moments, and 5 % are
hostile. Before the first minute and after each the server is left alone until it is quiet, and a line tells what it
holds then.

The exit status is 1 after a wrong or incomplete answer, an answer to a hostile request that it should not get, a line
about an unexpected error in the server's log, memory that grows, and descriptors, threads, requests, sequences or cells
that are not given back. The times that are printed are those of this machine with all that runs on it.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from r1_quantize import catalog
from r1_quantize.builtin import ensure_tiny
from r1_quantize.store.store import Store
from scripts.soak.questions import make_questions
from scripts.soak.run import Plan, soak

_START_S = 120
_END_S = 60
_QUESTIONS = 60
_SHOWN = 40  # problems

_MALLOC = {"MALLOC_MMAP_THRESHOLD_": "262144", "MALLOC_TRIM_THRESHOLD_": "262144"}
"""glibc gives back at once what is freed: otherwise it keeps the memory of a few large bodies, which hides a leak."""


def main() -> int:
    """Prints a line a minute, the figures, and the problems."""
    options = _options()
    parts = max(round(options.minutes), 2)
    plan = Plan(
        options.requests, options.clients, parts, options.minutes * 60 / parts, options.seed, options.most_memory
    )
    with tempfile.TemporaryDirectory(prefix="r1-soak-") as name:
        home, log = Path(name) / "home", options.log or Path(name) / "log"
        model = ensure_tiny(Store(home, catalog.load())).path
        questions = make_questions(model, _QUESTIONS, options.seed)
        with serving(home, log, options.queue) as (address, process):
            report = asyncio.run(soak(address, psutil.Process(process.pid), questions, plan))
            problems = [*report.problems, *_end(process)]
        problems += faults(log.read_text(encoding="utf-8", errors="replace"))
    print(*report.lines(), sep="\n")
    for problem in problems[:_SHOWN]:
        print(f"- {problem}")
    print(f"{len(problems)} problems" if problems else "no problem")
    return 1 if problems else 0


def faults(log: str) -> list[str]:
    """Lines of the server's log that it should never write."""
    fault = re.compile("Traceback|unexpected error|never awaited")
    return [f"log: {line:.300}" for line in log.splitlines() if fault.search(line)]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m scripts.soak", description=__doc__.partition("\n")[0])
    parser.add_argument("--requests", type=int, default=2000)
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--queue", type=int, default=16, help="of the server; beyond it, requests are turned away")
    parser.add_argument("--most-memory", type=float, default=16, help="MB that it may grow by after the first minute")
    parser.add_argument("--log", type=Path, help="keep the server's log here")
    return parser.parse_args()


@contextmanager
def serving(home: Path, log: Path, queue: int) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """A server on a free port: its address and its process."""
    environ = {**os.environ, **_MALLOC, "R1_HOME": str(home), "R1_THREADS": os.environ.get("R1_THREADS", "1")}
    limits = ["--parallel", "8", "--queue", str(queue)]
    command = [sys.executable, "-m", "r1", "serve", "-m", "tiny", "--port", "0", *limits]
    with log.open("wb") as stderr:
        process = subprocess.Popen(
            command, env=environ, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=stderr
        )
    try:
        yield _address(process, log), process
    finally:
        process.kill()
        process.wait()


def _address(process: subprocess.Popen[bytes], log: Path) -> str:
    """Waits until the server says where it listens."""
    deadline = time.monotonic() + _START_S
    while time.monotonic() < deadline and process.poll() is None:
        if found := re.search(r"http://[\w.]+:\d+(?=\W)", log.read_text(encoding="utf-8", errors="replace")):
            return found[0]
        time.sleep(0.05)
    raise SystemExit(f"the server did not start:\n{log.read_text(encoding='utf-8', errors='replace')}")


def _end(process: subprocess.Popen[bytes]) -> list[str]:
    """Ends the server as a service manager does; what is wrong with how it ends."""
    if process.poll() is not None:
        return [f"the server has ended by itself, with status {process.returncode}"]
    process.terminate()
    try:
        status = process.wait(_END_S)
    except subprocess.TimeoutExpired:
        return [f"the server did not end within {_END_S} s of SIGTERM"]
    return [] if status == 128 + signal.SIGTERM else [f"the server ended with status {status}"]


if __name__ == "__main__":
    sys.exit(main())
