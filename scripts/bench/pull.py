"""How fast `r1 pull` is, on how little disk, against downloading first and quantizing then, in the same run.

    python scripts/bench/pull.py [--model qwen-1.5b] [--type Q4_K_M] [--runs 1] [--shard 500] [--rate MB/s]
        [--folder SCRATCH] [--zeros] [--pull-only]

A checkpoint of the model's real shape (see quantize.py), in shards of --shard MB, is served by the tests' hub on
loopback, as fast as it can or at --rate. `r1 pull` fetches and quantizes it; then huggingface_hub's snapshot_download
fetches it into an empty cache and `r1 quantize` quantizes it from there. For each: wall time, peak resident memory, and
the most that was taken of the disk, looked at every 20 ms. What both made is compared. Linux only.

The rate is a connection's, so with --rate both ways have one connection at a time, as if that were all that the line
carries; without it snapshot_download has its eight.
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

from quantize import Measured, make_checkpoint, measure  # the one beside this, which puts the repository on the path
from r1_quantize import catalog
from tests.fakes.hub import Fault, Hub

PIECE = 1 << 18


def serve(root: Path, rate: float | None, line: Connection) -> None:
    """A hub in a process of its own; says where it is, and at the end how much it sent."""
    with Hub(root) as hub:
        if rate:
            hub.faults = [Fault("*.safetensors", "drip", times=-1, piece=PIECE, seconds=PIECE / rate / 1e6)]
        line.send(hub.endpoint)
        while line.recv() == "sent":
            line.send(sum(hub.sent.values()))
            hub.sent.clear()


class Disk(threading.Thread):
    """The most that a folder took of the disk."""

    def __init__(self, folder: Path) -> None:
        super().__init__(daemon=True)
        self.folder, self.peak, self.over = folder, 0, threading.Event()

    def run(self) -> None:
        while not self.over.wait(0.02):
            self.peak = max(self.peak, sum(map(blocks, self.folder.rglob("*"))))


def blocks(path: Path) -> int:
    """The bytes that a file takes."""
    try:
        return path.lstat().st_blocks * 512
    except OSError:
        return 0


def watched(folder: Path, *steps: list[str], environ: dict[str, str]) -> tuple[Measured, int]:
    """The steps one after the other; the sum of their times, the larger memory, and the peak of the folder."""
    disk = Disk(folder)
    disk.start()
    done = [measure(step, environ) for step in steps]
    disk.over.set()
    disk.join()
    sums = [sum(getattr(step, name) for step in done) for name in ("wall", "processor", "read", "written")]
    return Measured(sums[0], sums[1], max(step.resident for step in done), int(sums[2]), int(sums[3])), disk.peak


def main() -> None:
    """Prints a line for each way, and the ratio."""
    parser = argparse.ArgumentParser(description="A checkpoint of a real shape, pulled and measured.")
    parser.add_argument("--model", default="qwen-1.5b")
    parser.add_argument("--type", default="Q4_K_M")
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--shard", type=float, default=500, help="MB")
    parser.add_argument("--rate", type=float, help="MB a second")
    parser.add_argument("--folder", type=Path, default=Path("/tmp/r1-bench-pull"))
    parser.add_argument("--zeros", action="store_true")
    parser.add_argument("--pull-only", action="store_true")
    asked = parser.parse_args()
    known = catalog.load()[asked.model]
    assert known.repo is not None
    folder = asked.folder / "hub" / known.repo
    with ProcessPoolExecutor(1) as pool:  # whose memory is not counted as ours
        shard = int(asked.shard * 1e6)
        weights = pool.submit(make_checkpoint, folder, known, zeros=asked.zeros, shard=shard).result()
    sizes = sorted((path.stat().st_size for path in folder.glob("*.safetensors")), reverse=True)
    megabytes, two = sum(sizes) / 1e6, sum(sizes[:2]) / 1e6
    print(f"{asked.model} → {asked.type}: {len(sizes)} shards, {megabytes:.0f} MB, two are {two:.0f} MB")
    line, theirs = multiprocessing.Pipe()
    hub = multiprocessing.Process(target=serve, args=(asked.folder / "hub", asked.rate, theirs), daemon=True)
    hub.start()
    environ = {**os.environ, "HF_ENDPOINT": line.recv(), "HF_HUB_DISABLE_XET": "1"}
    for _ in range(asked.runs):
        scratch = asked.folder / "scratch"
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir()
        home = {**environ, "R1_HOME": str(scratch), "HF_HOME": str(scratch / "hf")}
        pull = [sys.executable, "-m", "r1", "pull", f"{asked.model}:{asked.type}", "-q"]
        mine, peak = watched(scratch, pull, environ=home)
        report("r1 pull", mine, peak, weights, line)
        made = scratch / "models" / asked.model / f"{asked.type}.gguf"
        digest, size = sha256(made), made.stat().st_size
        print(f"{'':24}the result is {size / 1e6:.0f} MB; beside it {(peak - size) / 1e6:.0f} MB at most")
        if asked.pull_only:
            continue
        shutil.rmtree(scratch)
        scratch.mkdir()
        workers = 1 if asked.rate else 8
        code = f"from huggingface_hub import snapshot_download as get; get({known.repo!r}, max_workers={workers})"
        quantize = [sys.executable, "-m", "r1", "quantize", asked.model, "-t", asked.type, "-q"]
        both, peak = watched(scratch, [sys.executable, "-c", code], quantize, environ=home)
        report("download, then quantize", both, peak, weights, line)
        print(f"{'':24}{mine.wall / both.wall:.2f} × the wall time of the two steps")
        print("same bytes" if sha256(made) == digest else "OTHER BYTES", flush=True)
    line.send("over")


def report(name: str, measured: Measured, peak: int, weights: int, line: Connection) -> None:
    line.send("sent")
    print(measured.line(name, weights))
    print(f"{'':24}{peak / 1e6:.0f} MB of the disk at most, {line.recv() / 1e6:.0f} MB sent by the hub", flush=True)


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


if __name__ == "__main__":
    started = time.monotonic()
    main()
    print(f"{time.monotonic() - started:.0f} s in all")
