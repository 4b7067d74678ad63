"""`r1_quantize.hub.pull`: the order of the steps, and what happens when one of them fails."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from r1_quantize import catalog
from r1_quantize.errors import BadFile, NetworkError
from r1_quantize.events import Arrived, Finished, Noted, PipelineEvent, Planned, Present, PullPlan
from r1_quantize.hub import download, pull_makers
from r1_quantize.hub import pull as module
from r1_quantize.hub.pull import pull
from r1_quantize.hub.pull_job import PullOptions
from r1_quantize.hub.request import request_for
from r1_quantize.store.store import Store
from tests.fakes.hub import COMMIT, Fault, Hub
from tests.quantize.conftest import Serve

REPO = "some-owner/Some-Model"
LATER = "f" * 40  # another commit
SHARD = "model.safetensors"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "home", catalog.load())


@pytest.fixture
def served(serve: Serve, tmp_path: Path, fake: Path) -> Hub:
    """A hub with a checkpoint."""
    shutil.copytree(fake, tmp_path / "hub" / REPO)
    return serve()


def pulled(store: Store, options: PullOptions = PullOptions(threads=1)) -> list[PipelineEvent]:  # noqa: B008
    return list(pull(store, request_for(f"hf:{REPO}:Q8_0", store.catalogue, prebuilt=False), options))


def notes(events: list[PipelineEvent]) -> list[str]:
    return [event.text for event in events if isinstance(event, Noted)]


class TestSteps:
    """The plan comes first, the conversion follows, and a second pull does nothing."""

    def test_in_order(self, store: Store, served: Hub) -> None:
        kinds = (PullPlan, Planned, Arrived, Finished)
        steps = [type(event) for event in pulled(store) if isinstance(event, kinds)]
        assert steps == [PullPlan, Planned, Arrived, Finished]
        assert [model.reference for model in store.models()] == ["some-model:Q8_0"]
        assert store.checkpoint_folders(REPO) == []

    def test_a_second_pull(self, store: Store, served: Hub) -> None:
        pulled(store)
        before = served.requests.total()
        (event,) = pulled(store)
        assert isinstance(event, Present)
        assert served.requests.total() == before

    def test_a_dry_run_ends_with_the_plan(self, store: Store, served: Hub) -> None:
        events = pulled(store, PullOptions(dry_run=True))
        assert isinstance(events[-1], PullPlan)
        assert not store.root.exists()

    def test_a_model_that_another_process_makes_in_the_meantime(
        self, store: Store, served: Hub, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        request = request_for(f"hf:{REPO}:Q8_0", store.catalogue, prebuilt=False)
        look_up = module.hub.look_up

        def slow_look_up(repo: str) -> object:
            monkeypatch.setattr(module.hub, "look_up", look_up)
            pulled(store)
            return look_up(repo)

        monkeypatch.setattr(module.hub, "look_up", slow_look_up)
        events = list(pull(store, request, PullOptions()))
        assert [type(event) for event in events] == [Present]


class TestHeaders:
    """Invalid headers are downloaded once more, and only once."""

    def fail(self, monkeypatch: pytest.MonkeyPatch, times: int) -> list[int]:
        """Make planning fail this many times; returns a list that grows with each attempt."""
        attempts: list[int] = []

        def maker_for(*arguments: object) -> object:
            attempts.append(len(attempts) + 1)
            if len(attempts) <= times:
                raise BadFile(f"nonsense, attempt {len(attempts)}")
            return pull_makers.maker_for(*arguments)  # type: ignore[arg-type]

        monkeypatch.setattr(module, "maker_for", maker_for)
        return attempts

    def test_once(self, store: Store, served: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
        attempts = self.fail(monkeypatch, times=1)
        events = pulled(store)
        assert attempts == [1, 2]
        assert notes(events) == ["nonsense, attempt 1; downloaded it again, and now it is valid"]
        assert isinstance(events[-1], Finished)
        assert served.requests[f"GET {REPO}/resolve/{COMMIT}/{SHARD}"] == 3  # two headers, and the rest

    def test_twice(self, store: Store, served: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
        attempts = self.fail(monkeypatch, times=2)
        with pytest.raises(BadFile, match="nonsense, attempt 2"):
            pulled(store)
        assert attempts == [1, 2]
        assert store.models() == []


class TestHubFails:
    """A commit that is gone is replaced by the newest; without the hub the Hugging Face cache is used."""

    def test_the_commit_is_gone(self, store: Store, served: Hub) -> None:
        def forget(request: str) -> None:
            if SHARD in request:
                served.snapshots = {LATER: served.root}
                served.main = LATER

        served.before = forget
        events = pulled(store)
        assert any(note.endswith("pulling the newest one instead") for note in notes(events))
        (model,) = store.models()
        assert model.manifest is not None
        assert model.manifest.revision == LATER

    def test_the_cache_has_the_checkpoint(self, store: Store, served: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
        from huggingface_hub import snapshot_download

        snapshot_download(REPO)
        monkeypatch.setattr(download, "_MAX_WAIT_S", 0.01)
        served.faults = [Fault("*", "status", times=-1, status=503)]
        events = pulled(store)
        assert notes(events) == ["the hub answered 503 (3 attempts); using the copy in the Hugging Face cache"]
        assert isinstance(events[-1], Finished)

    def test_the_cache_does_not(self, store: Store, served: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(download, "_MAX_WAIT_S", 0.01)
        served.faults = [Fault("*", "status", times=-1, status=503)]
        with pytest.raises(NetworkError, match=r"the hub answered 503 \(3 attempts\); run it again to resume"):
            pulled(store)
