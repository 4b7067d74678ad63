"""The memory bandwidth that `r1 doctor` measures, against numpy reading the same amount of memory in the same run.

    python scripts/bench/bandwidth.py [--threads N] [--runs 5] [--megabytes 1024]

numpy reads with one thread, so compare with --threads 1, the default. Buffers that fit a cache are faster than memory:
--megabytes should be several times the largest cache.
"""

from __future__ import annotations

import argparse
import statistics
from time import perf_counter

import numpy as np

from r1.doctor.bandwidth import read_bandwidth
from r1.machine.memory import memory


def main() -> None:
    """Prints a line per run, and the median ratio."""
    parser = argparse.ArgumentParser(description="Memory bandwidth as r1 doctor and as numpy measure it.")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--megabytes", type=int, default=1024)
    options = parser.parse_args()
    values = np.ones((options.megabytes << 20) // 8, dtype=np.int64)
    ratios = []
    for _ in range(options.runs):
        ours = read_bandwidth(options.threads, memory().free)
        if ours is None:
            parser.exit(1, "r1 doctor cannot measure it here: too little free memory for buffers beyond the caches\n")
        began = perf_counter()
        values.max()
        theirs = values.nbytes / (perf_counter() - began)
        ratios.append(ours / theirs)
        print(f"r1 doctor {ours / 1e9:.1f} GB/s, numpy {theirs / 1e9:.1f} GB/s", flush=True)
    print(f"r1 doctor measures {statistics.median(ratios):.2f} × numpy ({min(ratios):.2f} to {max(ratios):.2f})")


if __name__ == "__main__":
    main()
