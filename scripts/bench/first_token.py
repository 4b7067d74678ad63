"""Compares the time to the first token: `r1 run` and llama.cpp's llama-completion.

    python scripts/bench/first_token.py MODEL.gguf --llama-completion PATH [--runs 9] [--ctx 4096] [--threads N]

Two ways: from the start of the process until the first byte on stdout, which is a terminal, because a pipe gets
complete lines; and with one token until the process has ended. Both programs use the same file, tokens and context, in
turns, with the file in the system's cache; llama-completion first without its warm-up run. A pair during which other
programs took more than a twelfth of its time is measured again, up to eight times. --library-path is the folder of
llama-completion's libraries; LD_LIBRARY_PATH would apply to r1 too. Linux only.
"""

from __future__ import annotations

import argparse
import os
import pty
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from time import perf_counter
from typing import NamedTuple

PROMPT = "How many r's are in strawberry?"
TEMPLATE = f"<｜User｜>{PROMPT}<｜Assistant｜><think>\n"
MOST_OTHERS = 1 / 12  # of the time, for other programs
MOST_TRIES = 8  # for each pair


class Timed(NamedTuple):
    """Seconds that a run took, and seconds of processor time that others had meanwhile."""

    seconds: float
    others: float

    @property
    def is_quiet(self) -> bool:
        return self.others <= MOST_OTHERS * self.seconds + 0.03  # the system counts in hundredths


Measure = Callable[[Sequence[str], Mapping[str, str]], Timed]


def main() -> None:
    """Prints the median times and ratios."""
    parser = argparse.ArgumentParser(description="Time to the first token.")
    parser.add_argument("model", type=Path)
    parser.add_argument("--llama-completion", type=Path, required=True)
    parser.add_argument("--library-path", default="")
    parser.add_argument("--runs", type=int, default=9)
    parser.add_argument("--ctx", type=int, default=4096)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    options = parser.parse_args()
    compare("until the first token", until_first_byte, options, tokens=64)
    compare("one token, until the end", until_end, options, tokens=1)


def compare(name: str, measure: Measure, options: argparse.Namespace, *, tokens: int) -> None:
    """Measures pairs, and prints their median ratio."""
    environ = {**os.environ, "LD_LIBRARY_PATH": options.library_path}
    own = {**os.environ, "PYTHONDONTWRITEBYTECODE": ""}  # else each run compiles what was edited
    ours, theirs = our_command(options, tokens), their_command(options, tokens)
    for rival, command in (("without warm-up", [*theirs, "--no-warmup"]), ("with warm-up", theirs)):
        measure(ours, own), measure(command, environ)  # brings both programs and the file into the cache
        pairs: list[tuple[Timed, Timed]] = []
        for attempt in range(options.runs * MOST_TRIES):
            order = [(ours, own), (command, environ)]
            timed = [measure(*one) for one in (order if attempt % 2 else reversed(order))]
            if all(one.is_quiet for one in timed):
                pairs.append((timed[0], timed[1]) if attempt % 2 else (timed[1], timed[0]))
            if len(pairs) == options.runs:
                break
        if not pairs:
            print(f"{name}: other programs are too busy")
            continue
        ratios = sorted(our.seconds / their.seconds for our, their in pairs)
        medians = (
            statistics.median(column) for column in zip(*[(a.seconds, b.seconds) for a, b in pairs], strict=True)
        )
        print(
            f"{name}: r1 {next(medians):.3f} s, llama-completion {rival} {next(medians):.3f} s, ratio "
            f"{statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f}; {len(pairs)} pairs)",
            flush=True,
        )


def our_command(options: argparse.Namespace, tokens: int) -> list[str]:
    """`--thinking only` prints the thinking on stdout."""
    command = [sys.executable, "-m", "r1", "run", "-m", str(options.model), "--no-stdin", "--thinking", "only"]
    command += ["--ctx", str(options.ctx), "--threads", str(options.threads), "--seed", "1"]
    return [*command, "--max-tokens", str(tokens), "--reserve", "0", PROMPT]


def their_command(options: argparse.Namespace, tokens: int) -> list[str]:
    command = [str(options.llama_completion), "-m", str(options.model), "-p", TEMPLATE, "-n", str(tokens), "-no-cnv"]
    return [*command, "--no-display-prompt", "-c", str(options.ctx), "-t", str(options.threads), "-s", "1"]


def until_first_byte(command: Sequence[str], environ: Mapping[str, str]) -> Timed:
    """Until the first byte appears on a terminal; then the process is killed."""
    terminal, stdout = pty.openpty()
    before, began = busy(), perf_counter()
    process = start(command, environ, stdout)
    os.close(stdout)
    try:
        output = os.read(terminal, 1)
    except OSError:  # the other side was closed
        output = b""
    seconds = perf_counter() - began
    process.kill()
    others = others_since(before, process)
    os.close(terminal)
    if not output:
        sys.exit(f"{command[0]} printed nothing")
    return Timed(seconds, others)


def until_end(command: Sequence[str], environ: Mapping[str, str]) -> Timed:
    """Until the process has ended."""
    before, began = busy(), perf_counter()
    process = start(command, environ, subprocess.DEVNULL)
    others = others_since(before, process)
    return Timed(perf_counter() - began, others)


def start(command: Sequence[str], environ: Mapping[str, str], stdout: int) -> subprocess.Popen[bytes]:
    quiet = subprocess.DEVNULL
    return subprocess.Popen(command, stdin=quiet, stdout=stdout, stderr=quiet, env=environ)


def others_since(before: float, process: subprocess.Popen[bytes]) -> float:
    """Waits for the process. The seconds of processor time since then that were not its own."""
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return busy() - before - usage.ru_utime - usage.ru_stime


def busy() -> float:
    """Seconds that all processors have been busy since the system was started."""
    user, nice, system, _idle, _waiting, *interrupts = map(int, Path("/proc/stat").read_text().split()[1:9])
    return (user + nice + system + sum(interrupts)) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    main()
