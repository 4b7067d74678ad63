"""Measures `r1 run --jsonl` with several prompts at once against one at a time, on questions for the built-in model.

    python -m scripts.bench.jsonl [--model MODEL] [--parallel 8] [--questions 400] [--max-tokens 600] [--runs 3]

Runs the real command in turns, greedy, and compares the answers. They may differ where two tokens are nearly as likely:
with several sequences the cells of the KV cache are filled in another order, and attention adds them up in that order.
Prints the seconds and the ratio of each run, and then the median.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from time import perf_counter
from typing import Any

from scripts.tiny.questions import held_out


def main() -> None:
    """Prints a line per run, the answers that differ, and the median ratio."""
    parser = argparse.ArgumentParser(description="Several prompts at once against one at a time.")
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--parallel", type=int, default=8)
    parser.add_argument("--questions", type=int, default=400)
    parser.add_argument("--max-tokens", type=int, default=600)
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    stdin = "".join(json.dumps(question.text) + "\n" for question in held_out()[: options.questions]).encode()
    command = [sys.executable, "-m", "r1", "run", "-m", options.model, "--jsonl", "--temp", "0"]
    command += ["--max-tokens", str(options.max_tokens)]
    ratios, answers = [], []
    for _ in range(options.runs):
        one, alone = run([*command, "--parallel", "1"], stdin)
        several, together = run([*command, "--parallel", str(options.parallel)], stdin)
        ratios.append(several / one)
        answers.append((alone, together))
        print(f"one at a time {one:.2f} s, {options.parallel} at once {several:.2f} s: × {several / one:.3f}")
    for alone, together in answers[:1]:
        tokens = sum(each["usage"]["thinking_tokens"] + each["usage"]["answer_tokens"] for each in alone)
        differing = [pair for pair in zip(alone, together, strict=True) if texts(pair[0]) != texts(pair[1])]
        print(f"{len(alone)} answers of {tokens:,} tokens in all; {len(differing)} differ")
        for first, second in differing:
            print(f"line {first['line']}: {texts(first)}\n    {texts(second)}")
    print(f"median: × {statistics.median(ratios):.3f}")


def run(command: list[str], stdin: bytes) -> tuple[float, list[dict[str, Any]]]:
    """The seconds that the command took, and its objects."""
    began = perf_counter()
    done = subprocess.run(command, input=stdin, stdout=subprocess.PIPE, check=False)
    seconds = perf_counter() - began
    if done.returncode not in {0, 3}:
        raise SystemExit(f"{' '.join(command)} ended with {done.returncode}")
    return seconds, [json.loads(line) for line in done.stdout.splitlines()]


def texts(result: dict[str, Any]) -> tuple[str, str]:
    return result["thinking"], result["answer"]


if __name__ == "__main__":
    main()
