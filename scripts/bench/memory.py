"""What the planner says a model takes, against what it takes: llama.cpp's own buffers, and this process's memory.

    python scripts/bench/memory.py MODEL.gguf… [--contexts 4096 32768] [--kv-types f16 q8_0] [--threads N]
        [--types Q8_0 Q4_K_M …]

Each combination runs in a process of its own: the model is loaded as `r1 run` loads it, a text of random tokens is
prefilled (so that the table of embeddings and all buffers are touched, as a long conversation would), a few tokens are
decoded. Buffers are what llama.cpp logs; resident is VmRSS at the end. With `--types`, MODEL is quantized to each of
them first. Linux only. The last line is the largest error.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from r1.engine.context import Context, ContextParams
from r1.engine.llama import log
from r1.engine.model import Model
from r1.fit.plan import FitOptions, Machine, fit
from r1.fit.shape import shape_of_file
from r1.machine.cores import Threads

_BUFFER = re.compile(r" (\S+) +(model|KV|compute|output) buffer size = +([\d.]+) MiB")
_PROMPT = 2048  # tokens


def main() -> None:
    """Prints a line for each combination."""
    parser = argparse.ArgumentParser(description="The planner against the truth.")
    parser.add_argument("models", type=Path, nargs="+")
    parser.add_argument("--types", nargs="*", default=[])
    parser.add_argument("--contexts", type=int, nargs="+", default=[4096, 16_384, 32_768])
    parser.add_argument("--kv-types", nargs="+", default=["f16", "q8_0"])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.one:
        print(json.dumps(_measure(asked.models[0], asked.contexts[0], asked.kv_types[0], asked.threads)))
        return
    print(f"{'model':<24}{'context':>8} {'cache':<6}{'said':>8}{'buffers':>9}{'error':>8}{'resident':>10}{'error':>8}")
    worst = 0.0
    with tempfile.TemporaryDirectory(dir=asked.models[0].resolve().parent) as folder:
        for model in _models(asked.models, asked.types, Path(folder)):
            for context in asked.contexts:
                for kv_type in asked.kv_types:
                    worst = max(worst, _compare(model, context, kv_type, asked.threads))
    print(f"largest error {worst:.1%}")


def _models(models: list[Path], types: list[str], folder: Path) -> list[Path] | Any:
    if not types:
        return models
    return (_quantized(model, kind, folder) for model in models for kind in types)


def _quantized(model: Path, kind: str, folder: Path) -> Path:
    for old in folder.glob("*.gguf"):
        old.unlink()
    target = folder / f"{model.stem}-{kind}.gguf"
    command = [sys.executable, "-m", "r1", "quantize", str(model), "-t", kind, "-o", str(target), "-q"]
    subprocess.run(command, check=True)
    return target


def _compare(model: Path, context: int, kv_type: str, threads: int) -> float:
    """Prints the line; returns the larger of the two errors."""
    said = fit(shape_of_file(model), Machine(1 << 60), FitOptions(context=context, kv_type=kv_type)).needs.main
    command = [sys.executable, __file__, str(model), "--one", "--contexts", str(context), "--kv-types", kv_type]
    done = subprocess.run([*command, "--threads", str(threads)], capture_output=True, text=True, check=True)
    taken = json.loads(done.stdout.splitlines()[-1])
    # the program itself is in no buffer; what it takes is what is resident and in none
    buffers = taken["buffers"] + taken["program"]
    errors = [said / taken[name] - 1 if name != "buffers" else said / buffers - 1 for name in ("buffers", "resident")]
    print(
        f"{model.stem:<24}{context:>8} {kv_type:<6}{said / 1e6:>7.0f}M{buffers / 1e6:>8.0f}M{errors[0]:>8.1%}"
        f"{taken['resident'] / 1e6:>9.0f}M{errors[1]:>8.1%}",
        flush=True,
    )
    return max(map(abs, errors))


def _measure(path: Path, length: int, kv_type: str, threads: int) -> dict[str, int]:
    """In this process: bytes in llama.cpp's buffers, and resident, at the end."""
    lines: list[str] = []
    write = log.write
    log.write = lambda level, text: (lines.append(text), write(level, text))[1]  # type: ignore[method-assign]
    with Model(path) as model:
        program = _resident("RssAnon") + _resident("RssFile")
        with Context(model, ContextParams(length, Threads.of(threads), kv_type)) as context:
            vocabulary = shape_of_file(path).vocabulary
            random.seed(0)
            tokens = [random.randrange(vocabulary) for _ in range(min(_PROMPT, length - 64))]
            for _ in context.prefill([tokens]):
                pass
            for _ in range(16):
                context.decode([random.randrange(vocabulary)])
            resident = _resident("VmRSS")
    found = [(name, what, float(size) * 2**20) for name, what, size in _BUFFER.findall("".join(lines))]
    mapped = sum(size for name, what, size in found if what == "model" and "Mapped" in name)
    copied = sum(size for name, what, size in found if what == "model" and "Mapped" not in name)
    rest = sum(size for _, what, size in found if what != "model")
    # the mapping holds all weights, those that were copied too
    return {"buffers": int(mapped + rest), "program": int(program - copied), "resident": resident}


def _resident(name: str) -> int:
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(re.findall(rf"{name}:\s+(\d+)", status)[0]) * 1024


if __name__ == "__main__":
    main()
