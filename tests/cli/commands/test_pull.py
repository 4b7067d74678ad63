"""`r1 pull` of a model that this machine could not run, even with all other programs closed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from r1.commands import download as module
from r1.engine.devices import Device
from r1.machine.memory import Memory
from r1_quantize import catalog
from r1_quantize.checkpoint.checkpoint_source import outline
from r1_quantize.errors import NotEnoughSpace
from r1_quantize.events import Fetched, FilePlan, PipelineEvent, PullPlan
from r1_quantize.hub.request import Request
from r1_quantize.plan import extents_of
from r1_quantize.recipe import RECIPES
from r1_quantize.store.store import Store
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
            pulled("qwen-7b", replace(memory, limit="machine"), monkeypatch, tmp_path)
