"""Compares our speed with several sequences at once with llama.cpp's: `r1 bench --parallel` and `llama-batched-bench`.

    python scripts/bench/parallel.py MODEL.gguf --llama-batched-bench PATH [--runs 4] [--threads N] [--sequences 1,8,16]
        [--gpu]

Both run in turns, each measurement in its own process, on the same file; the side that goes first alternates, so that
changes of the machine's speed affect both. Both have the same threads, numbers of tokens and tokens per batch of a
prefill (`--batch`), one cache for all sequences, F16, and flash attention where llama.cpp chooses it. First each
sequence has a prompt of its own, then all share one. LD_LIBRARY_PATH, if set, applies to llama-batched-bench only:
otherwise r1 would load the tool's libraries instead of its own. Random weights are good enough: `make_checkpoint` in
scripts/bench/quantize.py makes them in any shape. On a busy machine the results mean nothing.
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

from r1.engine.kv_types import CPU_ROWS, GPU_ROWS
from r1.engine.parallel_bench import ParallelPlan

ALONE, TOGETHER = 0.97, 0.90
"""The ratios to reach, with one sequence and with more."""

_ALL_LAYERS = 999

Case = tuple[str, int]
"""A test and the number of sequences."""


@dataclass(frozen=True, slots=True)
class Measurement:
    """One measurement, the same for both sides. `batch`: the most tokens of a prefill that are computed at once.

    `on_gpu`: every layer on the GPU, where they fit, instead of none.
    """

    model: Path
    threads: int
    plan: ParallelPlan
    batch: int
    on_gpu: bool

    def ours(self) -> dict[Case, float]:
        """`r1 bench`'s tokens per second."""
        plan = self.plan
        command = [sys.executable, "-m", "r1", "bench", "--json", "-m", self.model, "--kv-type", "f16"]
        command += ["--device", "gpu" if self.on_gpu else "cpu"]
        command += ["--parallel", self._sequences, "-p", plan.prompt, "-n", plan.gen, "-r", plan.repetitions]
        command += ["--threads", self.threads, *(["--shared"] if plan.is_shared else [])]
        environ = {name: value for name, value in os.environ.items() if name != "LD_LIBRARY_PATH"}
        rows = json.loads(_output(command, environ))["rows"]
        return {(row["test"], row["sequences"]): row["mean_tps"] for row in rows}

    def theirs(self, tool: Path, more: list[str]) -> dict[Case, float]:
        """llama-batched-bench's tokens per second: the mean of its rates, which it measures once for each `-npp`."""
        plan = self.plan
        prompts = ",".join([str(plan.prompt)] * plan.repetitions)
        command = [tool, "-m", self.model, "-ngl", _ALL_LAYERS if self.on_gpu else 0, "-c", plan.cells, "-kvu"]
        command += ["-pps"] if plan.is_shared else []
        command += ["-npp", prompts, "-ntg", plan.gen, "-npl", self._sequences, "-t", self.threads]
        command += ["-b", self.batch, "-ub", self.batch, "--output-format", "jsonl", *more]
        lines = _output(command, dict(os.environ)).splitlines()
        rates: dict[Case, list[float]] = {}
        for row in (json.loads(line) for line in lines if line.startswith("{")):
            rates.setdefault(("prefill", row["pl"]), []).append(row["speed_pp"])
            rates.setdefault(("decode", row["pl"]), []).append(row["speed_tg"])
        return {case: statistics.fmean(values) for case, values in rates.items()}

    @property
    def _sequences(self) -> str:
        return ",".join(map(str, self.plan.sequences))


def main() -> None:
    """Prints a line per pair, and the medians with their spread."""
    options = _options()
    print(f"{options.model.name}, {options.threads} threads, load {_load()}")
    for is_shared in (False, True):
        plan = ParallelPlan(
            tuple(sorted(options.sequences)), options.prompt, options.gen, options.repetitions, is_shared=is_shared
        )
        print(f"\n{'one prompt for all' if is_shared else 'a prompt for each'}, {plan.prompt} tokens")
        batch = options.batch or (GPU_ROWS if options.gpu else CPU_ROWS).several
        _compare(Measurement(options.model, options.threads, plan, batch, options.gpu), options)
    print(f"\nload {_load()}")


def _compare(measurement: Measurement, options: argparse.Namespace) -> None:
    ratios: dict[Case, list[float]] = {}
    for number in range(options.runs):
        sides = {
            "ours": measurement.ours,
            "theirs": lambda: measurement.theirs(options.llama_batched_bench, options.more),
        }
        order = ["ours", "theirs"] if number % 2 == 0 else ["theirs", "ours"]
        rates = {side: sides[side]() for side in order}
        for case, ours in rates["ours"].items():
            theirs = rates["theirs"][case]
            ratios.setdefault(case, []).append(ours / theirs)
            print(f"{_name(case)} ours {ours:9.2f}  llama-batched-bench {theirs:9.2f} tok/s  ratio {ours / theirs:.3f}")
        sys.stdout.flush()
    for case, values in ratios.items():
        spread = f"{min(values):.3f} to {max(values):.3f}"
        goal = ALONE if case[1] == 1 else TOGETHER
        print(f"{_name(case)} median ratio {statistics.median(values):.3f} ({spread}); goal {goal:.2f}")


def _name(case: Case) -> str:
    test, sequences = case
    return f"{test:<8}{sequences:>4}"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Several sequences at once, ours against llama-batched-bench's.")
    parser.add_argument("model", type=Path)
    parser.add_argument(
        "--llama-batched-bench", type=Path, required=True, help="the tool; LD_LIBRARY_PATH is passed on"
    )
    parser.add_argument(
        "--runs", type=int, default=4, help="pairs; use an even number, so that each side goes first equally often"
    )
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--sequences", type=_numbers, default=(1, 8, 16), metavar="N,N…")
    parser.add_argument("--prompt", type=int, default=128)
    parser.add_argument("--gen", type=int, default=32)
    parser.add_argument("--repetitions", type=int, default=1)
    parser.add_argument("--batch", type=int, help="llama-batched-bench's; the default is ours")
    parser.add_argument("--gpu", action="store_true", help="all layers on the GPU")
    parser.add_argument("more", nargs="*", help="after --: more options for llama-batched-bench, such as -fa off")
    return parser.parse_args()


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(map(int, text.split(",")))


def _output(command: list[object], environ: dict[str, str]) -> str:
    done = subprocess.run([str(part) for part in command], stdout=subprocess.PIPE, env=environ, check=True, text=True)
    return done.stdout


def _load() -> str:
    return f"{os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "?"


if __name__ == "__main__":
    main()
