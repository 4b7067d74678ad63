"""`r1.render.plan`: what a pull will do, in words and as numbers."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import replace

import pytest

from r1.fit.plan import Machine
from r1.fit.shape import Shape
from r1.render.plan import Outlook
from r1_quantize.events import FilePlan, PullPlan

GB = 1_000_000_000
FILES = (
    FilePlan("model-00001-of-00002.safetensors", 8 * GB, 0),
    FilePlan("model-00002-of-00002.safetensors", 7 * GB, 0),
)
PLAN = PullPlan(
    reference="qwen-7b:Q4_K_M",
    repo="deepseek-ai/DeepSeek-R1-Distill-Qwen-7B",
    commit="916b56a44061fd5cd7d6a8fb632557ed4f724f60",
    files=FILES,
    result=4_680_000_000,
    peak=19_680_000_000,
    free=100 * GB,
    shards_at_once=2,
    tensors=(),
)
SHAPE = Shape(  # the 7B's, its weights spread evenly over the layers; 4 KV heads of 128 values each
    layers=(140_000_000,) * 28,
    input=310_000_000,
    output=450_000_000,
    largest=56_000_000,
    embedding=3584,
    feed_forward=18_944,
    keys=512,
    values=512,
    vocabulary=152_064,
    trained=131_072,
)
LICENCES = ("MIT", "Apache-2.0 (Qwen2.5-Math-7B)")


def outlook(
    plan: PullPlan = PLAN, memory: int = 64 * GB, free: int = 32 * GB, licences: Sequence[str] = LICENCES
) -> Outlook:
    """The plan on a machine with `memory` bytes, `free` of them free."""
    return Outlook(plan=plan, shape=SHAPE, now=Machine(free), alone=Machine(memory), memory=memory, licences=licences)


def on_disk(*counts: int) -> PullPlan:
    """The plan when `counts` bytes of each file are on disk already."""
    return replace(PLAN, files=tuple(replace(file, here=n) for file, n in zip(FILES, counts, strict=True)))


class TestLines:
    """People see what a pull takes before it downloads anything."""

    def facts(self, outlook: Outlook) -> dict[str, str]:
        """Label → text; the empty label continues the line before."""
        facts: dict[str, str] = {}
        for line in outlook.lines()[1:]:
            assert line.startswith("  ")
            label, text = line[2:10].strip(), line[11:]
            facts[label] = text
        return facts

    def test_name_the_source_and_the_result(self) -> None:
        assert outlook().lines()[0] == "qwen-7b:Q4_K_M"
        facts = self.facts(outlook())
        assert facts["from"] == "deepseek-ai/DeepSeek-R1-Distill-Qwen-7B, commit 916b56a44061"
        assert facts["disk"] == "4.68 GB when done, 19.7 GB at peak; 100 GB free"
        assert facts["licence"] == "MIT, based on Apache-2.0 (Qwen2.5-Math-7B)"

    @pytest.mark.parametrize(
        ("plan", "text"),
        [
            (on_disk(0, 0), "15 GB, 2 files"),
            (on_disk(8 * GB, 0), "7 GB of 15 GB, 2 files; the rest is on disk"),
            (on_disk(1 * GB, 500_000_000), "13.5 GB of 15 GB, 2 files; the rest is on disk"),
            (on_disk(8 * GB, 7 * GB), "nothing; 2 files, 15 GB, already on disk"),
            (replace(PLAN, files=FILES[:1]), "8 GB, one file"),
            (replace(PLAN, files=on_disk(8 * GB, 0).files[:1]), "nothing; one file, 8 GB, already on disk"),
        ],
    )
    def test_say_how_much_is_still_to_be_downloaded(self, plan: PullPlan, text: str) -> None:
        assert self.facts(outlook(plan))["download"] == text

    def test_say_how_much_memory_it_needs(self) -> None:
        # 4.68 GB of weights, 28,672 values of two bytes per token, about 290 MB for the program and its buffers
        facts = self.facts(outlook())
        sizes = re.fullmatch(r"(.*) GB at 4k, (.*) GB at 16k, (.*) GB at 32k tokens of context", facts["memory"])
        assert sizes
        needed = [4.68 + 2 * 28_672 * tokens / 1e9 + 0.29 for tokens in (4096, 16_384, 32_768)]
        assert [float(size) for size in sizes.groups()] == pytest.approx(needed, rel=0.02)
        assert facts[""] == "this machine has 64 GB, 32 GB free"

    @pytest.mark.parametrize(
        ("memory", "free", "warning"),
        [(4, 3, ": too little to run it"), (8, 3, ": close other programs to run it"), (8, 6, "")],
    )
    def test_warn_of_too_little_memory(self, memory: int, free: int, warning: str) -> None:
        text = self.facts(outlook(memory=memory * GB, free=free * GB))[""]
        assert text == f"this machine has {memory} GB, {free} GB free{warning}"

    def test_an_unknown_licence_refers_to_the_repository(self) -> None:
        assert self.facts(outlook(licences=()))["licence"] == "see the repository"

    def test_fit_on_the_narrowest_usual_terminal(self) -> None:
        largest = replace(PLAN, files=tuple(FilePlan(f"{n}", 999 * GB, 1) for n in range(163)), result=999 * GB)
        lines = outlook(largest, memory=999 * GB, free=1).lines()
        assert max(map(len, lines)) <= 80

    def test_say_what_is_unusual_and_that_r1_cannot_run_it(self) -> None:
        note = "tokenizer.json has the pre-tokenizer Metaspace, which some versions of transformers write by mistake"
        plan = replace(PLAN, notes=(note,), missing_tokens=("<think>", "</think>"))
        lines = outlook(plan).lines()
        start = next(number for number, line in enumerate(lines) if line.startswith("  note"))
        assert " ".join(line[11:] for line in lines[start:]) == (
            f"{note} r1 cannot run it: it is no DeepSeek-R1 distill, as its vocabulary lacks <think>, </think>"
        )
        assert [line[2:10].strip() for line in lines[start:]] == ["note", "", "warning", ""]
        assert max(map(len, lines)) <= 80


class TestFacts:
    """Scripts get the same as numbers."""

    def test_are_json_with_the_full_commit(self) -> None:
        facts = json.loads(json.dumps(outlook(on_disk(8 * GB, 0)).facts()))
        assert (facts["reference"], facts["repo"], facts["revision"]) == (PLAN.reference, PLAN.repo, PLAN.commit)
        assert facts["files"] == [
            {"name": FILES[0].name, "bytes": 8 * GB, "here": 8 * GB},
            {"name": FILES[1].name, "bytes": 7 * GB, "here": 0},
        ]
        assert (facts["bytes_to_fetch"], facts["result_bytes"], facts["shards_at_once"]) == (7 * GB, 4_680_000_000, 2)
        assert (facts["peak_disk_bytes"], facts["free_disk_bytes"]) == (19_680_000_000, 100 * GB)
        assert (facts["machine_memory_bytes"], facts["free_memory_bytes"]) == (64 * GB, 32 * GB)
        assert facts["licences"] == list(LICENCES)

    def test_have_the_memory_by_context_length(self) -> None:
        needed = outlook().facts()["memory_bytes"]
        assert list(needed) == ["4096", "16384", "32768"]
        mask = 2 * 512  # bytes a token of context, for a batch of 512
        assert needed["32768"] - needed["16384"] == 16_384 * (28_672 * 2 + mask)
