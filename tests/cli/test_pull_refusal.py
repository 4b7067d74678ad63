"""`r1 pull` of what this machine could not run, whatever else was closed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from r1.commands import pull as module
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


def taken(name: str, memory: Memory, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[PipelineEvent]:
    """The events that get through on a machine with that memory and no GPU."""
    monkeypatch.setattr(module, "memory", lambda: memory)
    monkeypatch.setattr(module, "devices", lambda: [Device("CPU", "cpu")])
    store = Store(tmp_path, catalog.load())
    request = Request(name, "Q4_K_M", "owner/repo", catalog.load()[name])
    pulling = module._Pulling(console(), store, request, "nothing", anyway=False)
    fetched: list[PipelineEvent] = []

    def events() -> Iterator[PipelineEvent]:
        yield planned(name)
        yield Fetched("model.safetensors", 1)

    for event in pulling._refuse_what_cannot_run(events()):
        fetched.append(event)
    return fetched


class TestRefusal:
    """Nobody downloads 15 GB to learn that it does not run."""

    def test_comes_after_the_plan_and_before_anything_is_fetched(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        with pytest.raises(NotEnoughSpace) as caught:
            taken("qwen-14b", Memory(8 * GB, 6 * GB), monkeypatch, tmp_path)
        said = str(caught.value)
        assert said.startswith("qwen-14b:Q4_K_M with 1,024 tokens of context (q8_0) needs 9.")
        assert "7 GB are free" in said  # of 8, the system keeps one
        assert "with all else closed; nothing was fetched. qwen-7b:" in said
        assert said.endswith("--force fetches it all the same")

    def test_does_not_come_where_closing_something_would_help(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        assert len(taken("qwen-7b", Memory(8 * GB, 1 * GB), monkeypatch, tmp_path)) == 2

    def test_within_a_containers_limit_all_of_it_counts(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        memory = Memory(6 * GB, 1 * GB, "cgroup")
        assert len(taken("qwen-7b", memory, monkeypatch, tmp_path)) == 2
        with pytest.raises(NotEnoughSpace):
            taken("qwen-7b", replace(memory, limit="machine"), monkeypatch, tmp_path)
