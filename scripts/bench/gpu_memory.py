"""What the planner says a model takes on GPUs and in main memory, against what it takes.

    python scripts/bench/gpu_memory.py MODEL.gguf… [--contexts 0 4096 32768] [--kv-types f16 q8_0] [--layers N…]
        [--device NAME] [--rpc HOST:PORT,…] [--tokens N] [--threads N]

Each combination runs in a process of its own, which loads the model as `r1 run` does; a context of 0 and no
`--layers` leave both to the plan. `--tokens` are prefilled, and a few decoded (0: none, where the device is slow).
What is on a GPU is what llama.cpp logs of its buffers there, whatever the backend, so the driver's own share is not
in it. What is in main memory is its other buffers, and the process itself: what is resident once the model is loaded
and in no buffer, the GPU's driver included. Some devices keep their memory in the process (RssShmem), which then does
not count there; and what they pin in main memory may be accounted to nobody, which shows as an error above zero.
Linux only. The last line is the largest error.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path

from r1.engine.llama import log
from r1.fit.shape import shape_of_file
from r1.loaded_model import Listener, LoadedModel
from r1.settings import Settings
from r1_quantize.errors import R1Error

_BUFFER = re.compile(r" (\S+) +(model|KV|compute|output) buffer size = +([\d.]+) MiB")
_BEGINS = "llama_model_loader: loaded meta data"  # each model's first line; what was refused before it does not count


@dataclass
class Line:
    """Bytes, but for the first three, `refusals` and what kept it from being measured."""

    context: int = 0
    kv_type: str = ""
    layers: int = 0
    said_gpu: int = 0
    gpu: int = 0
    said_main: int = 0
    main: int = 0
    resident: int = 0
    refusals: int = 0
    problem: str = ""

    @property
    def errors(self) -> tuple[float, float]:
        """The GPU's, and main memory's."""
        return self.said_gpu / self.gpu - 1 if self.gpu else 0.0, self.said_main / self.main - 1 if self.main else 0.0


def main() -> None:
    """Prints a line for each combination."""
    parser = argparse.ArgumentParser(description="The planner against the truth, on GPUs.")
    parser.add_argument("models", type=Path, nargs="+")
    parser.add_argument("--contexts", type=int, nargs="+", default=[4096, 32_768])
    parser.add_argument("--kv-types", nargs="+", default=["f16", "q8_0"])
    parser.add_argument("--layers", type=int, nargs="+", default=[-1])
    parser.add_argument("--device", default="auto")
    parser.add_argument("--rpc")
    parser.add_argument("--tokens", type=int, default=2048)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.one:
        print(json.dumps(asdict(_measure(asked))))
        return
    print(
        f"{'model':<20}{'context':>8} {'cache':<5}{'layers':>7}{'GPU said':>10}{'got':>8}{'error':>8}"
        f"{'main said':>11}{'got':>8}{'error':>8}{'resident':>10}"
    )
    worst = 0.0
    for model, layers, context, kv_type in product(asked.models, asked.layers, asked.contexts, asked.kv_types):
        worst = max(worst, _compare(model, layers, context, kv_type))
    print(f"largest error {worst:.1%}")


def _compare(model: Path, layers: int, context: int, kv_type: str) -> float:
    """Prints the line; returns the larger of the two errors."""
    options = [*sys.argv[1:], "--one", "--layers", str(layers), "--contexts", str(context), "--kv-types", kv_type]
    others = [word for word in options if not word.endswith(".gguf")]
    done = subprocess.run([sys.executable, __file__, str(model), *others], capture_output=True, text=True, check=False)
    if done.returncode:
        print(f"{model.stem:<20}{context:>8} {kv_type:<5}{layers:>7}  exit {done.returncode}: {done.stderr[-300:]}")
        return 0.0
    line = Line(**json.loads(done.stdout.splitlines()[-1]))
    if line.problem:
        print(f"{model.stem:<20}{context:>8} {kv_type:<5}{layers:>7}  {line.problem}", flush=True)
        return 0.0
    gpu, main = line.errors
    print(
        f"{model.stem:<20}{line.context:>8} {line.kv_type:<5}{line.layers:>7}"
        f"{line.said_gpu / 1e6:>9.0f}M{line.gpu / 1e6:>7.0f}M{gpu:>8.1%}"
        f"{line.said_main / 1e6:>10.0f}M{line.main / 1e6:>7.0f}M{main:>8.1%}{line.resident / 1e6:>9.0f}M"
        + (f"  refused {line.refusals}×" if line.refusals else ""),
        flush=True,
    )
    return max(abs(gpu), abs(main))


def _measure(asked: argparse.Namespace) -> Line:
    """In this process."""
    path, layers = asked.models[0], asked.layers[0]
    settings = Settings(
        ctx=asked.contexts[0] or None,
        kv_type=asked.kv_types[0] if asked.kv_types[0] != "auto" else None,
        gpu_layers=None if layers < 0 else layers,
        device=asked.device,
        rpc=asked.rpc,
        threads=asked.threads,
    )
    lines = _listen()
    refused: list[str] = []
    try:
        with LoadedModel(path, settings, listener=Listener(note=lambda note: refused.append(note.text))) as session:
            gpus = session.model.placement.devices
            weights = list(_buffers(lines, "model"))
            copied = sum(size for name, _, size in weights if not _is_on(name, gpus) and "Mapped" not in name)
            program = _in_main(sum(size for name, _, size in weights if _is_on(name, gpus))) - copied
            session.prepare()
            if session.model.placement.devices != gpus or session.plan.gpu_layers != session.model.placement.gpu_layers:
                raise AssertionError(f"the plan says {session.plan.gpu_layers} layers: {session.model.placement}")
            if asked.tokens:
                _use(session, path, asked.tokens)
            found = list(_buffers(lines))
            plan = session.plan
            # the mapping holds all weights that are not on a GPU, those too that were copied for the processor
            beside = [row for row in found if not _is_on(row[0], gpus) and (row[1] != "model" or "Mapped" in row[0])]
            return Line(
                plan.context,
                plan.kv_type,
                plan.gpu_layers,
                plan.needs.gpu,
                sum(size for name, _, size in found if _is_on(name, gpus)),
                plan.needs.main,
                program + sum(size for _, _, size in beside),
                _resident("RssAnon") + _resident("RssFile"),
                sum("refused" in text for text in refused),
            )
    except R1Error as exc:
        return Line(problem=" ".join(str(exc).split()))


def _listen() -> list[str]:
    """What llama.cpp will say."""
    lines: list[str] = []
    write = log.write

    def listen(level: int, text: str) -> None:
        if _BEGINS in text:
            lines.clear()
        lines.append(text)
        write(level, text)

    log.write = listen  # type: ignore[method-assign]
    return lines


def _use(session: LoadedModel, path: Path, tokens: int) -> None:
    vocabulary = shape_of_file(path).vocabulary
    random.seed(0)
    context = session.context
    for _ in context.prefill([[random.randrange(vocabulary) for _ in range(min(tokens, context.length - 64))]]):
        pass
    for _ in range(16):
        context.decode([random.randrange(vocabulary)])


def _buffers(lines: list[str], only: str = "") -> Iterator[tuple[str, str, int]]:
    """Whose, what for, and bytes. A model may have several of one kind, and of the others the last one counts."""
    last: dict[tuple[str, str], int] = {}
    for name, what, size in _BUFFER.findall("".join(lines)):
        before = last.get((name, what), 0) if what == "model" else 0
        last[name, what] = before + int(float(size) * 2**20)
    yield from ((name, what, size) for (name, what), size in last.items() if only in {"", what})


def _is_on(buffer: str, gpus: tuple[str, ...]) -> bool:
    """`CUDA0`, `MTL0_Mapped`, `RPC0[10.0.0.2:50052]`; not `CUDA_Host`, which is main memory."""
    return buffer.startswith(gpus) if gpus else False


def _in_main(on_gpu: int) -> int:
    shared = _resident("RssShmem")
    return _resident("RssAnon") + _resident("RssFile") + (shared - on_gpu if shared >= on_gpu else shared)


def _resident(name: str) -> int:
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(re.findall(rf"{name}:\s+(\d+)", status)[0]) * 1024


if __name__ == "__main__":
    main()
