"""`r1.render.plan`: what a pull will take, in words and as numbers."""

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
SHAPE = Shape(  # the 7B's, with its weights laid out evenly; keys and values of 4 heads with 128 values each
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
    """That plan on a machine with so much memory."""
    return Outlook(plan, SHAPE, Machine(free), Machine(memory), memory, licences)


def here(*counts: int) -> PullPlan:
    """The plan when so much of each file is here."""
    return replace(PLAN, files=tuple(replace(file, here=n) for file, n in zip(FILES, counts, strict=True)))


class TestLines:
    """A person sees what it costs before it is fetched."""

    def said(self, outlook: Outlook) -> dict[str, str]:
        """What follows each word that a line begins with; one without a word goes on with the line before."""
        found: dict[str, str] = {}
        for line in outlook.lines()[1:]:
            assert line.startswith("  ")
            label, text = line[2:10].strip(), line[11:]
            found[label] = text
        return found

    def test_say_what_of_what(self) -> None:
        assert outlook().lines()[0] == "qwen-7b:Q4_K_M"
        said = self.said(outlook())
        assert said["from"] == "deepseek-ai/DeepSeek-R1-Distill-Qwen-7B, commit 916b56a44061"
        assert said["disk"] == "4.68 GB in the end, 19.7 GB at most meanwhile; 100 GB free"
        assert said["licence"] == "MIT, from Apache-2.0 (Qwen2.5-Math-7B)"

    @pytest.mark.parametrize(
        ("plan", "said"),
        [
            (here(0, 0), "15 GB, 2 files"),
            (here(8 * GB, 0), "7 GB of 15 GB, 2 files; the rest is here"),
            (here(1 * GB, 500_000_000), "13.5 GB of 15 GB, 2 files; the rest is here"),
            (here(8 * GB, 7 * GB), "nothing; 2 files, 15 GB, are here"),
            (replace(PLAN, files=FILES[:1]), "8 GB, one file"),
            (replace(PLAN, files=here(8 * GB, 0).files[:1]), "nothing; one file, 8 GB, is here"),
        ],
    )
    def test_say_what_is_still_to_come(self, plan: PullPlan, said: str) -> None:
        assert self.said(outlook(plan))["fetch"] == said

    def test_say_what_memory_it_takes_to_run(self) -> None:
        # 4.68 GB of weights, two bytes of 28,672 values for each token, some 100 MB for the program and its buffers
        said = self.said(outlook())
        sizes = re.fullmatch(r"(.*) GB at 4k, (.*) GB at 16k, (.*) GB at 32k tokens", said["memory"])
        assert sizes
        needed = [4.68 + 2 * 28_672 * tokens / 1e9 + 0.1 for tokens in (4096, 16_384, 32_768)]
        assert [float(size) for size in sizes.groups()] == pytest.approx(needed, rel=0.02)
        assert said[""] == "this machine has 64 GB, 32 GB free"

    @pytest.mark.parametrize(
        ("memory", "free", "warning"),
        [(4, 3, ": too little to run it"), (8, 3, ": close other programs to run it"), (8, 6, "")],
    )
    def test_warn_of_too_little_memory(self, memory: int, free: int, warning: str) -> None:
        found = self.said(outlook(memory=memory * GB, free=free * GB))[""]
        assert found == f"this machine has {memory} GB, {free} GB free{warning}"

    def test_a_licence_that_nobody_knows_is_the_repositorys(self) -> None:
        assert self.said(outlook(licences=()))["licence"] == "see the repository"

    def test_fit_on_the_narrowest_usual_terminal(self) -> None:
        largest = replace(PLAN, files=tuple(FilePlan(f"{n}", 999 * GB, 1) for n in range(163)), result=999 * GB)
        lines = outlook(largest, memory=999 * GB, free=1).lines()
        assert max(map(len, lines)) <= 80


class TestFacts:
    """A script gets the same as numbers."""

    def test_are_json_with_the_whole_commit(self) -> None:
        facts = json.loads(json.dumps(outlook(here(8 * GB, 0)).facts()))
        assert (facts["reference"], facts["repo"], facts["revision"]) == (PLAN.reference, PLAN.repo, PLAN.commit)
        assert facts["files"] == [
            {"name": FILES[0].name, "bytes": 8 * GB, "here": 8 * GB},
            {"name": FILES[1].name, "bytes": 7 * GB, "here": 0},
        ]
        assert (facts["bytes_to_fetch"], facts["result_bytes"], facts["shards_at_once"]) == (7 * GB, 4_680_000_000, 2)
        assert (facts["peak_disk_bytes"], facts["free_disk_bytes"]) == (19_680_000_000, 100 * GB)
        assert (facts["machine_memory_bytes"], facts["free_memory_bytes"]) == (64 * GB, 32 * GB)
        assert facts["licences"] == list(LICENCES)

    def test_have_the_memory_by_tokens(self) -> None:
        needed = outlook().facts()["memory_bytes"]
        assert list(needed) == ["4096", "16384", "32768"]
        mask = 2 * 128  # bytes a token of context, for a chunk of 128
        assert needed["32768"] - needed["16384"] == 16_384 * (28_672 * 2 + mask)
