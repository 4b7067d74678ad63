"""Compares the memory that the planner expects with llama.cpp's own buffers, and with this process's memory.

    python scripts/bench/memory.py MODEL.gguf… [--contexts 4096 32768] [--kv-types f16 q8_0] [--parallel 1 4 16]
        [--tokens N] [--threads N] [--types Q8_0 Q4_K_M …]

Each combination runs in its own process: it loads the model as `r1 run` does, prefills `--tokens` random tokens, an
equal part in each sequence (so that the table of embeddings and all buffers are touched, as in long conversations), and
samples a few. Buffers are read from llama.cpp's log; resident memory is VmRSS at the end, and also has what is noted
about each token. With `--types`, MODEL is first quantized to each of them. Linux only. The last line is the largest
error.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from itertools import product
from pathlib import Path

from buffers import buffers, recorded_log, resident  # the script beside this one

from r1.engine.candidates import kept, logits_at
from r1.engine.context import Context, ContextParams, Part
from r1.engine.model import Model
from r1.engine.sampler import Sampler
from r1.engine.sampling import SamplingParams
from r1.engine.sampling_pool import Draw, SamplingPool
from r1.fit.plan import FitOptions, Machine, MemoryPlan, fit
from r1.fit.sequences import Wanted, share
from r1.fit.shape import shape_of_file
from r1.machine.cores import Threads

_DECODED = 16  # tokens of each sequence
_UNLIMITED = Machine(1 << 60)


def main() -> None:
    """Prints a line for each combination."""
    options = _options()
    if options.one:
        model = options.models[0]
        plan = _plan(model, options.contexts[0], options.kv_types[0], options.parallel[0])
        print(json.dumps(_measure(model, plan, options.tokens, options.threads)))
        return
    columns = f"{'buffers':>9}{'error':>8}{'resident':>10}{'error':>8}"
    print(f"{'model':<24}{'context':>8}{'×':>4}{'cells':>8} {'cache':<6}{'planned':>8}{columns}")
    largest = 0.0
    with tempfile.TemporaryDirectory(dir=options.models[0].resolve().parent) as folder:
        for model in _models(options.models, options.types, Path(folder)):
            for context, kv_type, sequences in product(options.contexts, options.kv_types, options.parallel):
                plan = _plan(model, context, kv_type, sequences)
                largest = max(largest, _compare(model, plan, options.tokens, options.threads))
    print(f"largest error {largest:.1%}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Planned memory against llama.cpp's buffers and resident memory.")
    parser.add_argument("models", type=Path, nargs="+")
    parser.add_argument("--types", nargs="*", default=[])
    parser.add_argument("--contexts", type=int, nargs="+", default=[4096, 16_384, 32_768])
    parser.add_argument("--kv-types", nargs="+", default=["f16", "q8_0"])
    parser.add_argument("--parallel", type=int, nargs="+", default=[1])
    parser.add_argument("--tokens", type=int, default=2048)
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


def _plan(model: Path, context: int, kv_type: str, sequences: int) -> MemoryPlan:
    shape = shape_of_file(model)
    options = FitOptions(context=context, kv_type=kv_type)
    return share(fit(shape, _UNLIMITED, options), shape, _UNLIMITED, options, Wanted(sequences))


def _compare(model: Path, plan: MemoryPlan, tokens: int, threads: int) -> float:
    """Prints the line; returns the larger of the two errors."""
    options = {"contexts": plan.context, "kv-types": plan.kv_type, "parallel": plan.sequences}
    options |= {"tokens": tokens, "threads": threads}
    words = (word for name, value in options.items() for word in (f"--{name}", str(value)))
    command = [sys.executable, __file__, str(model), "--one", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    measured: dict[str, int] = json.loads(done.stdout.splitlines()[-1])
    planned = plan.needs.main
    # the program itself is in no buffer: it is the resident memory besides them
    allocated = measured["buffers"] + measured["program"]
    errors = planned / allocated - 1, planned / measured["resident"] - 1
    print(
        f"{model.stem:<24}{plan.context:>8}{plan.sequences:>4}{plan.cells:>8} {plan.kv_type:<6}{planned / 1e6:>7.0f}M"
        f"{allocated / 1e6:>8.0f}M{errors[0]:>8.1%}{measured['resident'] / 1e6:>9.0f}M{errors[1]:>8.1%}",
        flush=True,
    )
    return max(map(abs, errors))


def _measure(path: Path, plan: MemoryPlan, tokens: int, threads: int) -> dict[str, int]:
    """Measures in this process: bytes in llama.cpp's buffers, of the program, and resident at the end."""
    params = ContextParams(plan.context, Threads.of(threads), plan.kv_type, plan.sequences, plan.cells)
    with recorded_log() as lines, Model(path) as model:
        program = resident("RssAnon") + resident("RssFile")
        with Context(model, params) as context:
            fill(context, shape_of_file(path).vocabulary, tokens)
            at_end = resident("VmRSS")
    mapped = sum(buffer.size for buffer in buffers(lines) if buffer.kind == "model" and buffer.is_mapped)
    copied = sum(buffer.size for buffer in buffers(lines) if buffer.kind == "model" and not buffer.is_mapped)
    others = sum(buffer.size for buffer in buffers(lines) if buffer.kind != "model")
    # the mapping holds all weights, including those that were copied
    return {"buffers": mapped + others, "program": program - copied, "resident": at_end}


def fill(context: Context, vocabulary: int, tokens: int) -> None:
    """Fills all sequences and samples from them, each with a sampler of its own and its last logits kept."""
    random.seed(0)
    each = min(tokens, context.cells) // len(context.sequences) - _DECODED
    samplers = [Sampler(SamplingParams(seed=number)) for number, _ in enumerate(context.sequences)]
    for sequence in context.sequences:
        prompt = [random.randrange(vocabulary) for _ in range(min(each, context.length - _DECODED))]
        for _ in context.prefill(sequence, [prompt]):
            pass
        sequence.last_logits = len(sequence), kept(logits_at(context, -1))
    pool = SamplingPool(context)
    for _ in range(_DECODED):
        parts = [Part(sequence, [random.randrange(vocabulary)]) for sequence in context.sequences]
        pool.sample([Draw(sampler, place) for sampler, place in zip(samplers, context.decode(parts), strict=True)])


if __name__ == "__main__":
    main()
