"""`r1.commands.download`: a model that this machine could not run is refused; without the hub a plan is estimated."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from r1.commands import download as module
from r1.engine.devices import Device
from r1.machine.memory import Memory
from r1_quantize import catalog
from r1_quantize.checkpoint.checkpoint_source import outline
from r1_quantize.errors import NetworkError, NotEnoughSpace
from r1_quantize.events import Fetched, FilePlan, PipelineEvent, PullPlan
from r1_quantize.hub.pull_options import PullOptions
from r1_quantize.hub.request import Request
from r1_quantize.plan import extents_of
from r1_quantize.recipe import RECIPES
from r1_quantize.store.store import Store
from tests.cli.commands.pulls import Puller, puller
from tests.fakes.consoles import console

GB = 1_000_000_000


def planned(name: str) -> PullPlan:
    source = outline(catalog.load()[name])
    assert source is not None
    tensors = tuple(extents_of(source, RECIPES["Q4_K_M"]))
    files = (FilePlan("model.safetensors", 15 * GB, 0),)
    size = sum(tensor.nbytes for tensor in tensors)
    return PullPlan(f"{name}:Q4_K_M", "owner/repo", "0" * 40, files, size, 2 * size, 100 * GB, 1, tensors)


def pulled(name: str, memory: Memory, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[PipelineEvent]:
    """The events that are passed on, on a machine with that memory and no GPU."""
    monkeypatch.setattr(module, "memory", lambda: memory)
    monkeypatch.setattr(module, "devices", lambda: [Device("CPU", "cpu")])
    store = Store(tmp_path, catalog.load())
    request = Request(name, "Q4_K_M", "owner/repo", catalog.load()[name])
    download = module.Download(console(), store, request, "nothing", force=False)

    def events() -> Iterator[PipelineEvent]:
        yield planned(name)
        yield Fetched("model.safetensors", 1)

    return list(download.refuse_too_large(events()))


class TestRefusal:
    """A model that cannot run is refused before it is downloaded."""

    def test_comes_after_the_plan_and_before_the_download(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        with pytest.raises(NotEnoughSpace) as caught:
            pulled("qwen-14b", Memory(8 * GB, 6 * GB), monkeypatch, tmp_path)
        said = str(caught.value)
        assert said.startswith("qwen-14b:Q4_K_M with 1,024 tokens of context (q8_0) needs 9.")
        assert "7 GB are free" in said  # of 8, the system keeps one
        assert "with all other programs closed; nothing was downloaded; qwen-7b:" in said
        assert said.endswith("--force downloads it anyway")

    def test_does_not_come_if_closing_programs_would_help(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        assert len(pulled("qwen-7b", Memory(8 * GB, 1 * GB), monkeypatch, tmp_path)) == 2

    def test_in_a_container_all_memory_up_to_its_limit_counts(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        memory = Memory(6 * GB, 1 * GB, "cgroup")
        assert len(pulled("qwen-7b", memory, monkeypatch, tmp_path)) == 2
        with pytest.raises(NotEnoughSpace):
            pulled("qwen-7b", memory._replace(limit="machine"), monkeypatch, tmp_path)


class TestEstimate:
    """A dry run that cannot reach the hub prints what the catalogue knows, marked as that, and still fails."""

    @pytest.fixture
    def offline(self, tmp_path: Path) -> Iterator[Puller]:
        with puller(tmp_path, tmp_path) as made:
            made.variables = {"HF_HUB_OFFLINE": "1"}
            yield made
            assert not made.hub.requests

    def run(self, made: Puller, reference: str, **how: object) -> None:
        with pytest.raises(NetworkError, match="HF_HUB_OFFLINE is set"):
            made.run(reference, PullOptions(dry_run=True), **how)

    def test_in_words(self, offline: Puller) -> None:
        self.run(offline, "qwen-7b")
        first, *rows = offline.stdout.splitlines()
        assert first == "qwen-7b:Q4_K_M, estimated from the catalogue of r1, not from the hub"
        facts = {row[2:10].strip(): row[11:] for row in rows}
        known = catalog.load()["qwen-7b"]
        assert facts["model"] == "DeepSeek R1 Distill Qwen 7B, 7.62 B parameters"
        assert facts["from"] == known.repo
        assert facts["download"] == "about 15.2 GB"  # as the hub lists it
        assert facts["disk"] == "about 4.68 GB when done"  # as llama.cpp makes it: 4,683,073,184 bytes
        assert facts["licence"] == "MIT, based on Apache-2.0 (Qwen2.5-Math-7B)"
        assert max(map(len, rows)) <= 80

    def test_for_scripts(self, offline: Puller) -> None:
        self.run(offline, "qwen-1.5b:Q8_0", report="json")
        (event,) = offline.events
        assert (event["event"], event["from_hub"], event["reference"]) == ("estimate", False, "qwen-1.5b:Q8_0")
        assert event["parameters"] == 1_777_088_000  # of the published checkpoint
        assert event["result_bytes"] == pytest.approx(1_894_532_128, rel=0.01)  # as llama.cpp makes it
        assert list(event["types"]) == ["Q6_K", "Q5_K_M", "Q4_K_M", "IQ4_XS", "Q3_K_M"]
        assert sorted(event["types"].values(), reverse=True) == list(event["types"].values())

    def test_of_a_ready_made_gguf(self, offline: Puller) -> None:
        self.run(offline, "llama-8b", prebuilt=True, report="json")
        (event,) = offline.events
        assert event["repo"] == catalog.load()["llama-8b"].prebuilt
        assert event["bytes_to_fetch"] == event["result_bytes"]

    @pytest.mark.parametrize("reference", ["hf:a/b", "hf:a/b:Q8_0"])
    def test_nothing_is_known_of_other_repositories(self, offline: Puller, reference: str) -> None:
        self.run(offline, reference)
        assert offline.stdout == ""

    def test_a_pull_prints_none(self, offline: Puller) -> None:
        with pytest.raises(NetworkError):
            offline.run("qwen-7b")
        assert offline.stdout == ""
