"""Compares the memory that the planner expects on GPUs and in main memory with llama.cpp's actual use.

    python scripts/bench/gpu_memory.py MODEL.gguf… [--contexts 0 4096 32768] [--kv-types f16 q8_0] [--layers N…]
        [--parallel 1 4 16] [--device NAME] [--rpc HOST:PORT,…] [--tokens N] [--threads N]

Each combination runs in its own process, which loads the model as `r1 run` does; a context of 0 and no `--layers` leave
both to the plan. `--tokens` tokens are prefilled and a few decoded; 0 skips this, for a slow device.

GPU memory is the sum of the buffers in llama.cpp's log for any backend, so the driver's own memory is not in it.
Main memory is llama.cpp's other buffers and the process itself: its resident memory outside of buffers once the model
is loaded, including the GPU's driver. Some devices keep their memory in the process (RssShmem); that is not counted as
main memory. Memory that they pin in main memory may not be counted at all, which shows as an error above zero. Linux
only. The last line is the largest error.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path

from buffers import Buffer, buffers, recorded_log, resident  # the scripts beside this one
from memory import fill

from r1.fit.fitted_model import Listener, Workload
from r1.fit.shape import shape_of_file
from r1.loaded_model import LoadedModel
from r1.settings import Settings
from r1_quantize.errors import R1Error


@dataclass
class Line:
    """Bytes, except for the first four fields, `refusals` and the `problem` that prevented the measurement."""

    context: int = 0
    kv_type: str = ""
    layers: int = 0
    sequences: int = 1
    planned_gpu: int = 0
    gpu: int = 0
    planned_main: int = 0
    main: int = 0
    resident: int = 0
    refusals: int = 0
    problem: str = ""

    @property
    def errors(self) -> tuple[float, float]:
        """The relative errors of the plan: for the GPU, and for main memory."""
        gpu = self.planned_gpu / self.gpu - 1 if self.gpu else 0.0
        return gpu, self.planned_main / self.main - 1 if self.main else 0.0


def main() -> None:
    """Prints a line for each combination."""
    options = _options()
    if options.one:
        print(json.dumps(asdict(_measure(options))))
        return
    print(
        f"{'model':<20}{'context':>8} {'cache':<5}{'layers':>7}{'×':>4}{'GPU plan':>10}{'is':>8}{'error':>8}"
        f"{'main plan':>11}{'is':>8}{'error':>8}{'resident':>10}"
    )
    largest = 0.0
    for combination in product(options.models, options.layers, options.contexts, options.kv_types, options.parallel):
        largest = max(largest, _compare(*combination))
    print(f"largest error {largest:.1%}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Planned memory against llama.cpp's, on GPUs.")
    parser.add_argument("models", type=Path, nargs="+")
    parser.add_argument("--contexts", type=int, nargs="+", default=[4096, 32_768])
    parser.add_argument("--kv-types", nargs="+", default=["f16", "q8_0"])
    parser.add_argument("--layers", type=int, nargs="+", default=[-1])
    parser.add_argument("--parallel", type=int, nargs="+", default=[1])
    parser.add_argument("--device", default="auto")
    parser.add_argument("--rpc")
    parser.add_argument("--tokens", type=int, default=2048)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


def _compare(model: Path, layers: int, context: int, kv_type: str, sequences: int) -> float:
    """Prints the line; returns the larger of the two errors."""
    options = [*sys.argv[1:], "--one", "--layers", str(layers), "--contexts", str(context), "--kv-types", kv_type]
    options += ["--parallel", str(sequences)]
    others = [word for word in options if not word.endswith(".gguf")]
    done = subprocess.run([sys.executable, __file__, str(model), *others], capture_output=True, text=True, check=False)
    combination = f"{model.stem:<20}{context:>8} {kv_type:<5}{layers:>7}{sequences:>4}"
    if done.returncode:
        print(f"{combination}  exit {done.returncode}: {done.stderr[-300:]}")
        return 0.0
    line = Line(**json.loads(done.stdout.splitlines()[-1]))
    if line.problem:
        print(f"{combination}  {line.problem}", flush=True)
        return 0.0
    gpu, main = line.errors
    print(
        f"{model.stem:<20}{line.context:>8} {line.kv_type:<5}{line.layers:>7}{line.sequences:>4}"
        f"{line.planned_gpu / 1e6:>9.0f}M{line.gpu / 1e6:>7.0f}M{gpu:>8.1%}"
        f"{line.planned_main / 1e6:>10.0f}M{line.main / 1e6:>7.0f}M{main:>8.1%}{line.resident / 1e6:>9.0f}M"
        + (f"  refused {line.refusals}×" if line.refusals else ""),
        flush=True,
    )
    return max(abs(gpu), abs(main))


def _measure(options: argparse.Namespace) -> Line:
    """Measures one combination in this process."""
    layers, kv_type = options.layers[0], options.kv_types[0]
    settings = Settings(
        ctx=options.contexts[0] or None,
        kv_type=kv_type if kv_type != "auto" else None,
        gpu_layers=None if layers < 0 else layers,
        device=options.device,
        rpc=options.rpc,
        threads=options.threads,
        parallel=options.parallel[0],
    )
    notes: list[str] = []
    listener = Listener(note=lambda note: notes.append(note.text))
    try:
        with recorded_log() as lines, _loaded(options.models[0], settings, listener) as loaded:
            line = _measure_loaded(loaded, lines, options)
    except R1Error as exc:
        return Line(problem=" ".join(str(exc).split()))
    line.refusals = sum("refused" in note for note in notes)
    return line


def _loaded(path: Path, settings: Settings, listener: Listener) -> LoadedModel:
    return LoadedModel(path, settings, listener=listener, workload=Workload(is_parallel=settings.parallel != 1))


def _measure_loaded(loaded: LoadedModel, lines: Sequence[str], options: argparse.Namespace) -> Line:
    gpus = loaded.model.placement.devices
    weights = [buffer for buffer in buffers(lines) if buffer.kind == "model"]
    copied = sum(buffer.size for buffer in weights if not _is_on(buffer, gpus) and not buffer.is_mapped)
    program = _in_main_memory(sum(buffer.size for buffer in weights if _is_on(buffer, gpus))) - copied
    loaded.configure(loaded.settings)  # creates the context
    plan = loaded.plan
    if loaded.model.placement.devices != gpus or plan.gpu_layers != loaded.model.placement.gpu_layers:
        raise AssertionError(f"{plan.gpu_layers} layers are planned, but the model has {loaded.model.placement}")
    if options.tokens:
        fill(loaded.context, shape_of_file(options.models[0]).vocabulary, options.tokens)
    on_gpu = [buffer for buffer in buffers(lines) if _is_on(buffer, gpus)]
    # the mapping holds all weights that are not on a GPU, including those that were copied for the processor
    others = [b for b in buffers(lines) if not _is_on(b, gpus) and (b.kind != "model" or b.is_mapped)]
    return Line(
        context=plan.context,
        kv_type=plan.kv_type,
        layers=plan.gpu_layers,
        sequences=plan.sequences,
        planned_gpu=plan.needs.gpu,
        gpu=sum(buffer.size for buffer in on_gpu),
        planned_main=plan.needs.main,
        main=program + sum(buffer.size for buffer in others),
        resident=resident("RssAnon") + resident("RssFile"),
    )


def _is_on(buffer: Buffer, gpus: tuple[str, ...]) -> bool:
    """`CUDA0`, `MTL0_Mapped`, `RPC0[10.0.0.2:50052]`; not `CUDA_Host`, which is main memory."""
    return buffer.device.startswith(gpus) if gpus else False


def _in_main_memory(on_gpu: int) -> int:
    """Bytes of this process in main memory, without a device's memory that the process holds."""
    shared = resident("RssShmem")
    return resident("RssAnon") + resident("RssFile") + (shared - on_gpu if shared >= on_gpu else shared)


if __name__ == "__main__":
    main()
