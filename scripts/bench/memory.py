"""Compares the memory that the planner expects with llama.cpp's own buffers, and with this process's memory.

    python scripts/bench/memory.py MODEL.gguf… [--contexts 4096 32768] [--kv-types f16 q8_0] [--threads N]
        [--types Q8_0 Q4_K_M …]

Each combination runs in its own process: it loads the model as `r1 run` does, prefills random tokens (so that the table
of embeddings and all buffers are touched, as in a long conversation), and decodes a few. Buffers are read from
llama.cpp's log; resident memory is VmRSS at the end. With `--types`, MODEL is first quantized to each of them. Linux
only. The last line is the largest error.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

from buffers import buffers, recorded_log, resident  # the script beside this one

from r1.engine.context import Context, ContextParams
from r1.engine.model import Model
from r1.fit.plan import FitOptions, Machine, fit
from r1.fit.shape import shape_of_file
from r1.machine.cores import Threads

_PROMPT_TOKENS = 2048


def main() -> None:
    """Prints a line for each combination."""
    options = _options()
    if options.one:
        measured = _measure(options.models[0], options.contexts[0], options.kv_types[0], options.threads)
        print(json.dumps(measured))
        return
    print(
        f"{'model':<24}{'context':>8} {'cache':<6}{'planned':>8}{'buffers':>9}{'error':>8}{'resident':>10}{'error':>8}"
    )
    largest = 0.0
    with tempfile.TemporaryDirectory(dir=options.models[0].resolve().parent) as folder:
        for model in _models(options.models, options.types, Path(folder)):
            for context in options.contexts:
                for kv_type in options.kv_types:
                    largest = max(largest, _compare(model, context, kv_type, options.threads))
    print(f"largest error {largest:.1%}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Planned memory against llama.cpp's buffers and resident memory.")
    parser.add_argument("models", type=Path, nargs="+")
    parser.add_argument("--types", nargs="*", default=[])
    parser.add_argument("--contexts", type=int, nargs="+", default=[4096, 16_384, 32_768])
    parser.add_argument("--kv-types", nargs="+", default=["f16", "q8_0"])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


def _models(models: list[Path], types: list[str], folder: Path) -> Iterable[Path]:
    if not types:
        return models
    return (_quantized(model, quant, folder) for model in models for quant in types)


def _quantized(model: Path, quant: str, folder: Path) -> Path:
    for old in folder.glob("*.gguf"):
        old.unlink()
    target = folder / f"{model.stem}-{quant}.gguf"
    command = [sys.executable, "-m", "r1", "quantize", str(model), "-t", quant, "-o", str(target), "-q"]
    subprocess.run(command, check=True)
    return target


def _compare(model: Path, context: int, kv_type: str, threads: int) -> float:
    """Prints the line; returns the larger of the two errors."""
    planned = fit(shape_of_file(model), Machine(1 << 60), FitOptions(context=context, kv_type=kv_type)).needs.main
    command = [sys.executable, __file__, str(model), "--one", "--contexts", str(context), "--kv-types", kv_type]
    done = subprocess.run([*command, "--threads", str(threads)], capture_output=True, text=True, check=True)
    measured = json.loads(done.stdout.splitlines()[-1])
    # the program itself is in no buffer: it is the resident memory besides them
    allocated = measured["buffers"] + measured["program"]
    errors = planned / allocated - 1, planned / measured["resident"] - 1
    print(
        f"{model.stem:<24}{context:>8} {kv_type:<6}{planned / 1e6:>7.0f}M{allocated / 1e6:>8.0f}M{errors[0]:>8.1%}"
        f"{measured['resident'] / 1e6:>9.0f}M{errors[1]:>8.1%}",
        flush=True,
    )
    return max(map(abs, errors))


def _measure(path: Path, length: int, kv_type: str, threads: int) -> dict[str, int]:
    """Measures in this process: bytes in llama.cpp's buffers, of the program, and resident at the end."""
    with recorded_log() as lines, Model(path) as model:
        program = resident("RssAnon") + resident("RssFile")
        with Context(model, ContextParams(length, Threads.of(threads), kv_type)) as context:
            _fill(context, shape_of_file(path).vocabulary)
            at_end = resident("VmRSS")
    mapped = sum(buffer.size for buffer in buffers(lines) if buffer.kind == "model" and buffer.is_mapped)
    copied = sum(buffer.size for buffer in buffers(lines) if buffer.kind == "model" and not buffer.is_mapped)
    others = sum(buffer.size for buffer in buffers(lines) if buffer.kind != "model")
    # the mapping holds all weights, including those that were copied
    return {"buffers": mapped + others, "program": program - copied, "resident": at_end}


def _fill(context: Context, vocabulary: int) -> None:
    random.seed(0)
    for _ in context.prefill([[random.randrange(vocabulary) for _ in range(min(_PROMPT_TOKENS, context.length - 64))]]):
        pass
    for _ in range(16):
        context.decode([random.randrange(vocabulary)])


if __name__ == "__main__":
    main()
