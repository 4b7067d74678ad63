"""Events of a made-up pull and conversion, and a clock to time them."""

from __future__ import annotations

from pathlib import Path

from r1_quantize.events import (
    Advanced,
    Checked,
    FilePlan,
    Finished,
    PipelineEvent,
    Planned,
    PullPlan,
    TensorDone,
)
from r1_quantize.source import Extent

TENSORS = tuple(Extent(name, (2, 4), 32) for name in "abc")
PLANNED = Planned(Path("x"), "Q4_K_M", TENSORS, bytes_in=3_000_000_000, bytes_out=1_000_000_000)
FINISHED = Finished(Path("x.gguf"), 1_000_000_000, 1.0)
CONVERSION: tuple[PipelineEvent, ...] = (
    Advanced("a", 1_000_000_000, 300_000_000),
    TensorDone(1, "a", "Q4_K", 1_000_000_000, 300_000_000),
    Advanced("b", 2_000_000_000, 700_000_000),
    TensorDone(2, "b", "Q4_K", 2_000_000_000, 700_000_000),
    Checked(0),
    Checked(600_000_000),
    Checked(400_000_000),
)
FILES = (FilePlan("a.safetensors", 4_000_000_000, 0), FilePlan("b.safetensors", 2_000_000_000, 0))
PULL = PullPlan(
    reference="model:Q4_K_M",
    repo="owner/model",
    commit="0" * 40,
    files=FILES,
    result=1_000_000_000,
    peak=7_000_000_000,
    free=9_000_000_000,
    shards_at_once=2,
    tensors=TENSORS,
)


class Clock:
    """Replaces the module `time`; its time passes only when a test changes `now`."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now
