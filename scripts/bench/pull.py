"""Measures `r1 pull`'s speed and disk space against downloading first and quantizing afterwards, in the same run.

    python scripts/bench/pull.py [--model qwen-1.5b] [--type Q4_K_M] [--runs 1] [--shard 500] [--rate MB/s]
        [--folder SCRATCH] [--zeros] [--pull-only]

A checkpoint of the model's real shape (see quantize.py), in shards of --shard MB, is served by the tests' hub on
loopback, at full speed or at --rate. `r1 pull` downloads and quantizes it; then huggingface_hub's snapshot_download
downloads it into an empty cache, and `r1 quantize` quantizes it from there. For each method the script prints wall
time, peak resident memory, and peak disk space, sampled every 20 ms. The results are compared. Linux only.

The rate is per connection, so with --rate both methods use one connection at a time, as if it used the complete
bandwidth; without it snapshot_download uses its default of eight.
"""

from __future__ import annotations

import argparse
import hashlib
import multiprocessing
import os
import shutil
import sys
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing.connection import Connection
from pathlib import Path

from quantize import Measured, make_checkpoint, measure  # the script beside this one, which extends sys.path
from r1_quantize import catalog
from tests.fakes.hub import Fault, Hub

PIECE_BYTES = 1 << 18


def serve(root: Path, rate: float | None, line: Connection) -> None:
    """Runs a hub in this process; sends its address, and on request how much it sent."""
    with Hub(root) as hub:
        if rate:
            hub.faults = [Fault("*.safetensors", "drip", times=-1, piece=PIECE_BYTES, seconds=PIECE_BYTES / rate / 1e6)]
        line.send(hub.endpoint)
        while line.recv() == "sent":
            line.send(sum(hub.sent.values()))
            hub.sent.clear()


class Disk(threading.Thread):
    """Samples the disk space of a folder; `peak` is the largest sample, in bytes."""

    def __init__(self, folder: Path) -> None:
        super().__init__(daemon=True)
        self.folder, self.peak, self.over = folder, 0, threading.Event()

    def run(self) -> None:
        while not self.over.wait(0.02):
            self.peak = max(self.peak, sum(map(disk_bytes, self.folder.rglob("*"))))


def disk_bytes(path: Path) -> int:
    """The bytes that a file takes on the disk."""
    try:
        return path.lstat().st_blocks * 512
    except OSError:
        return 0


def measure_steps(folder: Path, *steps: list[str], environ: dict[str, str]) -> tuple[Measured, int]:
    """Runs the steps; returns the sum of their times, the largest memory, and the folder's peak."""
    disk = Disk(folder)
    disk.start()
    done = [measure(step, environ) for step in steps]
    disk.over.set()
    disk.join()
    both = Measured(
        wall=sum(step.wall for step in done),
        processor=sum(step.processor for step in done),
        resident=max(step.resident for step in done),
        read=sum(step.read for step in done),
        written=sum(step.written for step in done),
    )
    return both, disk.peak


def main() -> None:
    """Prints a line for each method, and the ratio of their times."""
    options = _options()
    known = catalog.load()[options.model]
    assert known.repo is not None
    folder = options.folder / "hub" / known.repo
    with ProcessPoolExecutor(1) as pool:  # so that its memory does not count as ours
        shard = int(options.shard * 1e6)
        weights = pool.submit(make_checkpoint, folder, known, zeros=options.zeros, shard=shard).result()
    sizes = sorted((path.stat().st_size for path in folder.glob("*.safetensors")), reverse=True)
    megabytes, two = sum(sizes) / 1e6, sum(sizes[:2]) / 1e6
    print(f"{options.model} → {options.type}: {len(sizes)} shards, {megabytes:.0f} MB, the largest two {two:.0f} MB")
    line, theirs = multiprocessing.Pipe()
    hub = multiprocessing.Process(target=serve, args=(options.folder / "hub", options.rate, theirs), daemon=True)
    hub.start()
    environ = {**os.environ, "HF_ENDPOINT": line.recv(), "HF_HUB_DISABLE_XET": "1"}
    for _ in range(options.runs):
        compare(options, known.repo, weights, line, environ)
    line.send("over")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="A checkpoint of a real shape, pulled and measured.")
    parser.add_argument("--model", default="qwen-1.5b")
    parser.add_argument("--type", default="Q4_K_M")
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--shard", type=float, default=500, help="MB")
    parser.add_argument("--rate", type=float, help="MB per second")
    parser.add_argument("--folder", type=Path, default=Path("/tmp/r1-bench-pull"))
    parser.add_argument("--zeros", action="store_true")
    parser.add_argument("--pull-only", action="store_true")
    return parser.parse_args()


def compare(options: argparse.Namespace, repo: str, weights: int, line: Connection, environ: dict[str, str]) -> None:
    """Pulls the model, then downloads and quantizes it, and prints both."""
    scratch = options.folder / "scratch"
    environ = {**environ, "R1_HOME": str(scratch), "HF_HOME": str(scratch / "hf")}
    clear(scratch)
    command = [sys.executable, "-m", "r1", "pull", f"{options.model}:{options.type}", "-q"]
    pulled, peak = measure_steps(scratch, command, environ=environ)
    report("r1 pull", pulled, peak, weights, line)
    result = scratch / "models" / options.model / f"{options.type}.gguf"
    digest, size = sha256(result), result.stat().st_size
    print(f"{'':24}the result is {size / 1e6:.0f} MB; other files {(peak - size) / 1e6:.0f} MB at peak")
    if options.pull_only:
        return
    clear(scratch)
    workers = 1 if options.rate else 8
    code = f"from huggingface_hub import snapshot_download as get; get({repo!r}, max_workers={workers})"
    quantize = [sys.executable, "-m", "r1", "quantize", options.model, "-t", options.type, "-q"]
    two_steps, peak = measure_steps(scratch, [sys.executable, "-c", code], quantize, environ=environ)
    report("download, then quantize", two_steps, peak, weights, line)
    print(f"{'':24}{pulled.wall / two_steps.wall:.2f} × the wall time of the two steps")
    print("same bytes" if sha256(result) == digest else "DIFFERENT BYTES", flush=True)


def clear(folder: Path) -> None:
    """Makes the folder empty."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()


def report(name: str, measured: Measured, peak: int, weights: int, line: Connection) -> None:
    line.send("sent")
    print(measured.line(name, weights))
    print(f"{'':24}{peak / 1e6:.0f} MB of disk at peak, {line.recv() / 1e6:.0f} MB sent by the hub", flush=True)


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


if __name__ == "__main__":
    started = time.monotonic()
    main()
    print(f"{time.monotonic() - started:.0f} s in total")
