"""An evaluation that is killed (SIGKILL) at random moments, and goes on each time: the samples and the figures must be
those of one that was never disturbed.

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
from pathlib import Path
from typing import Any

FIGURES = ("pass_at_1", "cons", "samples", "complete", "thinking_end", "finish_reason", "undecided", "usage", "tokens")
"""The keys of the report that must be the same; the rest is about time."""


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


def kill_at_random(args: argparse.Namespace, output: Path, seconds: float, rng: random.Random) -> int:
    """Starts it `args.kills` times, and kills each at a moment within its share of the time that is left.

    Returns how many were killed; the others had ended.
    """
    killed = 0
    for number in range(args.kills):
        process = start(args, output)
        time.sleep(rng.uniform(0, 2 * seconds / args.kills + 0.3))
        killed += process.poll() is None
        process.kill()
        process.communicate()
        lines = output.read_bytes().count(b"\n") - 1 if output.exists() else 0
        print(f"kill {number + 1:2}: {max(lines, 0):4} whole samples", flush=True)
    return killed


def run(args: argparse.Namespace, folder: Path) -> bool:
    """Prints what was found; returns whether all is as it should be."""
    began = time.monotonic()
    undisturbed = finish(args, folder / "undisturbed.jsonl")
    seconds = time.monotonic() - began
    output = folder / "killed.jsonl"
    killed = kill_at_random(args, output, seconds, random.Random(args.seed))
    report = finish(args, output)
    drawn = Counter((each["line"], each["sample"]) for each in samples(output))
    answers = {(each["line"], each["sample"]): each["answer"] for each in samples(output)}
    before = {(each["line"], each["sample"]): each["answer"] for each in samples(folder / "undisturbed.jsonl")}
    found = {
        "killed": killed,
        "samples": len(drawn),
        "twice": sum(count > 1 for count in drawn.values()),
        "lost": len(before.keys() - drawn.keys()),
        "other answers": sum(answers.get(key) != answer for key, answer in before.items()),
        "other figures": [name for name in FIGURES if report[name] != undisturbed[name]],
    }
    for name, value in found.items():
        print(f"{name}: {value}")
    return not any(found[name] for name in ("twice", "lost", "other answers", "other figures"))


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
