"""Measures time and memory of turning a checkpoint into a GGUF, against llama.cpp's two steps in the same run.

    python scripts/bench/quantize.py [--model qwen-1.5b] [--type Q4_K_M] [--runs 1] [--folder SCRATCH]
        [--llama-cpp PATH/TO/llama.cpp --converter-python PATH/TO/python] [--zeros]

A checkpoint of the model's real shape is made once in SCRATCH, with random weights; `--zeros` makes holes instead, for
models larger than the disk. Then `r1 quantize` runs as a user would run it, and, with the two paths, llama.cpp's
convert_hf_to_gguf.py (which needs torch and transformers, hence another Python) and llama_model_quantize, each in its
own process. For each the script prints wall and processor time, peak resident memory, bytes read and written (rchar and
wchar of /proc/PID/io), and million weights per second. The results are compared. Linux only.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from r1_quantize import catalog  # noqa: E402
from r1_quantize.checkpoint.architecture import ARCHITECTURES, Weight, architecture_of  # noqa: E402
from r1_quantize.recipe import RECIPES  # noqa: E402
from tests.fakes.checkpoints import LLAMA_SPLIT  # noqa: E402
from tests.quantize.canonical import digest  # noqa: E402

DATA = ROOT / "tests" / "data"
SHARD_BYTES = 9 << 30  # as large as the published ones

QUANTIZER = """
import ctypes, sys
from r1_quantize.binding import binding
library = binding()
params = library.llama_model_quantize_default_params()
params.ftype, params.nthread = int(sys.argv[3]), int(sys.argv[4])
sys.exit(library.llama_model_quantize(sys.argv[1].encode(), sys.argv[2].encode(), ctypes.byref(params)))
"""


@dataclass(frozen=True, slots=True)
class Measured:
    """One process, from start to end. Seconds and bytes."""

    wall: float
    processor: float
    resident: int
    read: int
    written: int

    def line(self, name: str, weights: int) -> str:
        mega = 1e-6
        time = f"{self.wall:8.1f} s wall {self.processor:8.1f} s processor"
        moved = f"{self.read * mega:9.0f} MB read {self.written * mega:9.0f} MB written"
        return f"{name:<24}{time} {self.resident * mega:6.0f} MB resident {moved} {weights * mega / self.wall:6.1f} M/s"


def measure(command: list[str], environ: Mapping[str, str] = os.environ) -> Measured:
    """Runs a command, and shows its output only if it fails."""
    began = time.monotonic()
    process = subprocess.Popen(command, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    assert process.stderr is not None
    output = process.stderr.read()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # it has ended, but /proc still has its counters
    wall = time.monotonic() - began
    counters = dict(line.split(": ") for line in Path(f"/proc/{process.pid}/io").read_text().splitlines())
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"{command[:2]} failed: {output.decode()[-2000:]}")
    processor = usage.ru_utime + usage.ru_stime
    return Measured(wall, processor, usage.ru_maxrss * 1024, int(counters["rchar"]), int(counters["wchar"]))


def make_checkpoint(folder: Path, known: catalog.Checkpoint, *, zeros: bool, shard: int = SHARD_BYTES) -> int:
    """Makes the checkpoint, unless it exists, in shards of `shard` bytes. Returns its number of weights."""
    assert known.config is not None
    names = {architecture: name for name, architecture in ARCHITECTURES.items()}
    config = {"max_position_embeddings": known.context_length, "model_type": known.architecture, **known.config}
    config |= {"architectures": [names[known.architecture]], "torch_dtype": "bfloat16", "tie_word_embeddings": False}
    weights = sorted(architecture_of(config).weights, key=lambda weight: weight.source)
    if not (folder / "config.json").exists():
        folder.mkdir(parents=True, exist_ok=True)
        write_tokenizer(folder, llama=known.architecture == "llama")
        write_weights(folder, weights, zeros=zeros, largest=shard)
        (folder / "generation_config.json").write_text('{"temperature": 0.6, "top_p": 0.95}')
        (folder / "config.json").write_text(json.dumps(config))
    return sum(int(np.prod(weight.shape)) for weight in weights)


def write_weights(folder: Path, weights: list[Weight], *, zeros: bool, largest: int) -> None:
    shards: list[list[Weight]] = [[]]
    for weight in weights:
        if shards[-1] and sum(2 * int(np.prod(w.shape)) for w in [*shards[-1], weight]) > largest:
            shards.append([])
        shards[-1].append(weight)
    random, where = np.random.default_rng(0), {}
    for number, shard in enumerate(shards, 1):
        name = f"model-{number:05}-of-{len(shards):05}.safetensors" if len(shards) > 1 else "model.safetensors"
        where |= {weight.source: name for weight in shard}
        write_shard(folder / name, shard, None if zeros else random)
    if len(shards) > 1:
        (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": where}))


def write_shard(path: Path, weights: list[Weight], random: np.random.Generator | None) -> None:
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for weight in weights:
        begin, end = end, end + 2 * int(np.prod(weight.shape))
        header[weight.source] = {"dtype": "BF16", "shape": list(weight.shape), "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        if random is None:
            file.truncate(8 + len(text) + end)
            return
        for weight in weights:
            values = random.standard_normal(int(np.prod(weight.shape)), dtype=np.float32) * np.float32(0.02)
            file.write((values.view("<u4") >> 16).astype("<u2").tobytes())


def write_tokenizer(folder: Path, *, llama: bool) -> None:
    """Writes the Qwen distills' tokenizer; for a Llama its first 128,000 tokens with Llama 3's pre-tokenizer."""
    tokenizer = json.loads(gzip.decompress((DATA / "r1-distill-qwen.tokenizer.json.gz").read_bytes()))
    if llama:
        model = tokenizer["model"]
        model["vocab"] = {text: number for text, number in model["vocab"].items() if number < 128_000}
        pairs = (merge.split(" ") for merge in model["merges"])
        model["merges"] = [pair for pair in pairs if {*pair, "".join(pair)} <= model["vocab"].keys()]
        tokenizer["normalizer"] = None
        tokenizer["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"] = LLAMA_SPLIT
        for number, token in enumerate(tokenizer["added_tokens"]):
            token["id"] = 128_000 + number
    text = json.dumps(tokenizer, ensure_ascii=False, indent=2)
    (folder / "tokenizer.json").write_text(text, encoding="utf-8")
    config = (DATA / "r1-distill-qwen.tokenizer_config.json").read_bytes()
    (folder / "tokenizer_config.json").write_bytes(config)


def main() -> None:
    """Prints a line for each process, and the ratios."""
    options = _options()
    folder, known = options.folder / options.model, catalog.load()[options.model]
    # in another process, because Linux includes this one's memory in the peak of every process it starts
    with ProcessPoolExecutor(1) as pool:
        weights = pool.submit(make_checkpoint, folder, known, zeros=options.zeros).result()
    cores = len(os.sched_getaffinity(0))
    print(f"{options.model}, {weights:,} weights → {options.type}, {cores} cores")
    ours, theirs = options.folder / "ours.gguf", options.folder / "theirs.gguf"
    for _ in range(options.runs):
        command = [sys.executable, "-m", "r1", "quantize", str(folder), "-t", options.type, "-o", str(ours), "-q"]
        command.append("--force")  # every run but the first replaces the file
        measured = measure(command)
        print(measured.line("r1 quantize", weights), flush=True)
        print(f"{'':24}{measured.written / ours.stat().st_size:.5f} × the result's size written")
        if options.llama_cpp:
            two_steps = _measure_llama_cpp(options, folder, theirs, weights, cores)
            print(f"{'':24}{measured.wall / two_steps:.2f} × the wall time of the two steps", flush=True)
    if options.llama_cpp:
        print("same bytes except for the names" if digest(ours) == digest(theirs) else "DIFFERENT BYTES")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="A checkpoint of a real shape, quantized and measured.")
    parser.add_argument("--model", default="qwen-1.5b")
    parser.add_argument("--type", default="Q4_K_M")
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--folder", type=Path, default=Path("/tmp/r1-bench"))
    parser.add_argument("--zeros", action="store_true")
    parser.add_argument("--llama-cpp", type=Path)
    parser.add_argument("--converter-python", type=Path)
    return parser.parse_args()


def _measure_llama_cpp(options: argparse.Namespace, folder: Path, target: Path, weights: int, cores: int) -> float:
    """Runs llama.cpp's two steps, prints a line for each, and returns the sum of their wall times in seconds."""
    converted = options.folder / "converted.gguf"
    script = str(options.llama_cpp / "convert_hf_to_gguf.py")
    flags = ["--outtype", "bf16", "--outfile", str(converted)]
    first = measure([str(options.converter_python), script, str(folder), *flags])
    print(first.line("convert_hf_to_gguf.py", weights), flush=True)
    number = str(RECIPES[options.type].number)
    second = measure([sys.executable, "-c", QUANTIZER, str(converted), str(target), number, str(cores)])
    print(second.line("llama_model_quantize", weights), flush=True)
    return first.wall + second.wall


if __name__ == "__main__":
    main()
