"""Runs `r1` with made-up arguments, environments, files and streams, and looks for a crash, a hang or a bare error.

    python -m scripts.fuzz                      300 cases from a random seed
    python -m scripts.fuzz --seed 7 --cases 5000
    python -m scripts.fuzz --seed 7 --case 123  one case again, with what it printed

A case fails if r1 dies of a signal, prints a traceback or "unexpected error", exits with an undocumented status, fails
without a line that says why, prints a line on stderr that is not r1's own, or does not end. The exit status is 1 if a
case failed. Nothing outside the temporary folder is written, and the only network is a loopback port. POSIX only.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from scripts.fuzz.cases import Case, make_case
from scripts.fuzz.files import Templates
from scripts.fuzz.judge import fault
from scripts.fuzz.process import Outcome, preload, run


def main() -> int:
    """Prints a line per fault, and a summary."""
    options = _options()
    print(f"seed {options.seed}", flush=True)
    preload()
    faults, statuses = 0, Counter[int]()
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="r1-fuzz-") as folder:
        templates = Templates(Path(folder) / "templates")
        numbers = [options.case] if options.case is not None else range(options.cases)
        for number in numbers:
            case = make_case(random.Random(f"{options.seed}:{number}"), templates, Path(folder) / "case")
            outcome = run(case)
            statuses[outcome.status] += 1
            problem = fault(case, outcome)
            if problem:
                faults += 1
                print(f"case {number}: {problem}\n{_described(case, outcome)}", flush=True)
            elif options.case is not None:
                print(_described(case, outcome))
            case.remove()
    took = time.monotonic() - began
    print(
        f"{sum(statuses.values())} cases in {took:.0f} s, {faults} faults; statuses: {dict(sorted(statuses.items()))}"
    )
    return 1 if faults else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m scripts.fuzz", description="Look for inputs that break r1.")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--cases", type=int, default=300)
    parser.add_argument("--case", type=int, help="only this one")
    return parser.parse_args()


def _described(case: Case, outcome: Outcome) -> str:
    lines = [
        f"  r1 {' '.join(map(ascii, case.arguments))}",
        *(f"  {name}={value!a}" for name, value in sorted(case.variables.items())),
        f"  in {case.folder_name}; files: {', '.join(case.mutations) or 'as they should be'}; streams: {case.streams}; "
        f"limits: {case.limits or 'none'}",
        f"  status {outcome.status} after {outcome.seconds:.1f} s",
        f"  stdout {outcome.stdout[:300]!r}",
        f"  stderr {outcome.stderr[-1500:].decode('utf-8', 'replace')}",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
