"""Compares our prefill and decode speed with llama.cpp's: `r1 bench` and `llama-bench` in turns, on the same file.

    python scripts/bench/decode.py MODEL.gguf --llama-bench PATH [--runs 4] [--threads N] [--depth 0]

Each measurement runs in its own process, and the side that goes first alternates, so that changes of the machine's
speed affect both. Both use the same threads and numbers of tokens, an F16 cache, and flash attention where llama.cpp
chooses it; llama-bench keeps its batch of 512, ours has `Rows.alone`. LD_LIBRARY_PATH, if set, applies to llama-bench
only: otherwise r1 would load the tool's libraries instead of its own. Random weights are good enough: `make_checkpoint`
in scripts/bench/quantize.py makes them in any shape. On a busy machine the results mean nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

BARS = {"prefill": 0.95, "decode": 0.97}
"""The ratios to reach."""


@dataclass(frozen=True, slots=True)
class Measurement:
    """One measurement, the same for both sides."""

    model: Path
    threads: int
    prompt: int
    gen: int
    depth: int
    repetitions: int

    def ours(self) -> dict[str, float]:
        """`r1 bench`'s tokens per second, by test."""
        command = [sys.executable, "-m", "r1", "bench", "--json", "-m", self.model, "--device", "cpu"]
        command += ["-p", self.prompt, "-n", self.gen, "-r", self.repetitions, "--depths", self.depth]
        environ = {name: value for name, value in os.environ.items() if name != "LD_LIBRARY_PATH"}
        done = _run([*command, "--threads", self.threads], environ)
        return {row["test"]: row["mean_tps"] for row in done["rows"]}

    def theirs(self, tool: Path, more: list[str]) -> dict[str, float]:
        """llama-bench's tokens per second, by test."""
        command = [tool, "-o", "json", "-m", self.model, "-ngl", 0, "-p", self.prompt, "-n", self.gen]
        command += ["-r", self.repetitions, "-d", self.depth, "-t", self.threads, *more]
        done = _run(command, dict(os.environ))
        return {"prefill" if row["n_prompt"] else "decode": row["avg_ts"] for row in done}


def main() -> None:
    """Prints a line per run, and the medians with their spread."""
    options = _options()
    measurement = Measurement(
        model=options.model,
        threads=options.threads,
        prompt=options.prompt,
        gen=options.gen,
        depth=options.depth,
        repetitions=options.repetitions,
    )
    print(f"{options.model.name}, {options.threads} threads, depth {options.depth}, load {_load()}")
    ratios: dict[str, list[float]] = {}
    for number in range(options.runs):
        sides = {"ours": measurement.ours, "theirs": lambda: measurement.theirs(options.llama_bench, options.more)}
        order = ["ours", "theirs"] if number % 2 == 0 else ["theirs", "ours"]
        rates = {side: sides[side]() for side in order}
        for test, ours in rates["ours"].items():
            theirs = rates["theirs"][test]
            ratios.setdefault(test, []).append(ours / theirs)
            print(f"{test:<8} ours {ours:9.2f}  llama-bench {theirs:9.2f} tok/s  ratio {ours / theirs:.3f}", flush=True)
    for test, values in ratios.items():
        spread = f"{min(values):.3f} to {max(values):.3f}"
        print(f"{test:<8} median ratio {statistics.median(values):.3f} ({spread}); goal {BARS[test]:.2f}")
    print(f"load {_load()}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Our prefill and decode against llama-bench's.")
    parser.add_argument("model", type=Path)
    parser.add_argument("--llama-bench", type=Path, required=True, help="the tool; LD_LIBRARY_PATH is passed on")
    parser.add_argument(
        "--runs", type=int, default=4, help="pairs; use an even number, so that each side goes first equally often"
    )
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--prompt", type=int, default=512)
    parser.add_argument("--gen", type=int, default=128)
    parser.add_argument("--depth", type=int, default=0)
    parser.add_argument("--repetitions", type=int, default=2)
    parser.add_argument("more", nargs="*", help="after --: more options for llama-bench, such as -ub 128")
    return parser.parse_args()


def _run(command: list[object], environ: dict[str, str]) -> Any:
    done = subprocess.run([str(part) for part in command], stdout=subprocess.PIPE, env=environ, check=True)
    return json.loads(done.stdout)


def _load() -> str:
    return f"{os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "?"


if __name__ == "__main__":
    main()
