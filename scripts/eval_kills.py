"""An evaluation that is killed (SIGKILL) at random moments, and goes on each time: the samples and the figures must be
those of one that was never disturbed. It fails, too, if fewer than half of the kills came while samples were drawn.

    python -m scripts.eval_kills [--kills 20] [--limit 100] [-k 2] [--seed 1]

It asks the built-in model the built-in problems at temperature 0, in a folder of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FIGURES = ("pass_at_1", "cons", "samples", "complete", "thinking_end", "finish_reason", "undecided", "usage", "tokens")
"""The keys of the report that must be the same; the rest is about time."""


@dataclass(frozen=True, slots=True)
class Kills:
    """`running`: it had not ended yet. `drawing`: and it had drawn samples since its start."""

    running: int
    drawing: int


def command(args: argparse.Namespace, output: Path) -> list[str]:
    asked = ["--builtin", "tiny", "--limit", str(args.limit), "-k", str(args.k), "--temp", "0"]
    return [sys.executable, "-m", "r1", "eval", "-m", "tiny", *asked, "--json", "--output", str(output)]


def start(args: argparse.Namespace, output: Path) -> subprocess.Popen[bytes]:
    environ = {**os.environ, "R1_THREADS": "1"}
    return subprocess.Popen(command(args, output), env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def finish(args: argparse.Namespace, output: Path) -> dict[str, Any]:
    """Lets it run to its end; returns the report."""
    out, errors = start(args, output).communicate()
    if errors:
        print(errors.decode(), end="", file=sys.stderr)
    report = json.loads(out)
    assert isinstance(report, dict)
    return report


def samples(output: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in output.read_bytes().splitlines()[1:]]


def key(sample: dict[str, Any]) -> tuple[int, int]:
    return sample["line"], sample["sample"]


def lines(output: Path) -> int:
    """Whole samples, below the first line."""
    return max(output.read_bytes().count(b"\n") - 1, 0) if output.exists() else 0


def wait_for_sample(process: subprocess.Popen[bytes], output: Path) -> None:
    """Returns when there is a new sample, or the process has ended."""
    before = lines(output)
    while process.poll() is None and lines(output) == before:
        time.sleep(0.001)


def kill_at_random(args: argparse.Namespace, output: Path, seconds: float) -> Kills:
    """Starts it `args.kills` times, and kills each at a random moment.

    The start takes longer than a kill's share of the samples, so most moments are counted from the first new sample,
    and every fourth from the start. `seconds` is what all samples take.
    """
    rng = random.Random(args.seed)
    running = drawing = 0
    for number in range(args.kills):
        before = lines(output)
        process = start(args, output)
        if number % 4:
            wait_for_sample(process, output)
        time.sleep(rng.uniform(0, seconds / args.kills))
        is_running = process.poll() is None
        process.kill()
        process.communicate()
        new = lines(output) - before
        running += is_running
        drawing += is_running and new > 0
        print(f"kill {number + 1:2}: {lines(output):4} whole samples, {new:3} new", flush=True)
    return Kills(running, drawing)


def differences(undisturbed: Path, killed: Path) -> dict[str, int]:
    """What the samples of two evaluations do not have in common."""
    drawn = Counter(map(key, samples(killed)))
    answers = {key(each): each["answer"] for each in samples(killed)}
    before = {key(each): each["answer"] for each in samples(undisturbed)}
    return {
        "twice": sum(count > 1 for count in drawn.values()),
        "lost": len(before.keys() - drawn.keys()),
        "other answers": sum(answers.get(each) != answer for each, answer in before.items()),
    }


def run(args: argparse.Namespace, folder: Path) -> bool:
    """Prints what was found; returns whether all is as it should be."""
    whole, output = folder / "undisturbed.jsonl", folder / "killed.jsonl"
    began = time.monotonic()
    undisturbed = finish(args, whole)
    seconds = time.monotonic() - began
    print(f"undisturbed: {seconds:.1f} s", flush=True)
    kills = kill_at_random(args, output, seconds)
    report = finish(args, output)
    wrong = {
        **differences(whole, output),
        "other figures": [name for name in FIGURES if report[name] != undisturbed[name]],
    }
    print(f"killed while it ran: {kills.running}, of them after a new sample: {kills.drawing}")
    for name, value in {"samples": lines(output), **wrong}.items():
        print(f"{name}: {value}")
    if 2 * kills.drawing < args.kills:
        print("fewer than half of the kills came while samples were drawn, which shows little; raise --limit")
        return False
    return not any(wrong.values())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--limit", type=int, default=100)
    parser.add_argument("-k", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        sys.exit(0 if run(args, Path(folder)) else 1)


if __name__ == "__main__":
    main()
