"""`r1_quantize.hub.pull`: the order of the steps, and what happens when one of them fails."""

from __future__ import annotations

import shutil
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from r1_quantize import catalog
from r1_quantize.errors import BadFile, NetworkError, UsageError
from r1_quantize.events import (
    Arrived,
    Finished,
    Noted,
    PipelineEvent,
    Planned,
    Present,
    PullPlan,
    StartedOver,
    TensorDone,
)
from r1_quantize.hub import download, pull_makers
from r1_quantize.hub import pull as module
from r1_quantize.hub.pull import pull
from r1_quantize.hub.pull_options import PullOptions
from r1_quantize.hub.request import request_for
from r1_quantize.pipeline import Job, quantize
from r1_quantize.recipe import Override
from r1_quantize.store.model import StoredModel
from r1_quantize.store.store import Store
from tests.fakes import checkpoints
from tests.fakes.checkpoints import Shape
from tests.fakes.hub import COMMIT, Fault, Hub
from tests.fakes.quantizer import write_imatrix
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


class TestOptions:
    """A pull with options for quantizing makes what `r1 quantize` makes with them."""

    def made_here(self, fake: Path, target: Path, **options: Any) -> bytes:
        """The model that is made from the checkpoint on this disk."""
        for _ in quantize(Job(fake, "Q8_0", target, name="some-model", **options)):
            pass
        return target.read_bytes()

    def model(self, store: Store) -> StoredModel:
        return store.find("some-model:Q8_0")

    def test_the_bytes_and_the_record(self, store: Store, served: Hub, fake: Path, tmp_path: Path) -> None:
        imatrix = write_imatrix(tmp_path / "some.imatrix", Shape())
        types = ("ffn_down=F16", "attn_v=BF16")
        options = PullOptions(imatrix=imatrix, tensor_types=types, pretokenizer="smollm", threads=1)
        pulled(store, options)
        overrides = tuple(map(Override.parse, types))
        wanted = self.made_here(fake, tmp_path / "x", imatrix=imatrix, overrides=overrides, pretokenizer="smollm")
        assert self.model(store).path.read_bytes() == wanted
        manifest = self.model(store).manifest
        assert manifest is not None
        assert manifest.imatrix_sha256 == sha256(imatrix.read_bytes()).hexdigest()
        assert (manifest.tensor_types, manifest.pretokenizer) == (list(types), "smollm")

    def test_bad_ones_are_refused_before_the_first_request(self, store: Store, served: Hub) -> None:
        with pytest.raises(UsageError, match="--tensor-type 'x': expected PATTERN=TYPE"):
            pulled(store, PullOptions(tensor_types=("x",)))
        assert not served.requests

    def test_other_ones_than_those_of_an_interrupted_pull_start_over(
        self, store: Store, served: Hub, fake: Path, tmp_path: Path
    ) -> None:
        request = request_for(f"hf:{REPO}:Q8_0", store.catalogue, prebuilt=False)
        events = pull(store, request, PullOptions(threads=1))
        for _ in range(2):
            next(event for event in events if isinstance(event, TensorDone))
        events.close()
        options = PullOptions(tensor_types=("ffn_down=F16",), threads=1)
        steps = pulled(store, options)
        assert [event.reason for event in steps if isinstance(event, StartedOver)] == [
            "the options, the source or r1 itself changed since the earlier run"
        ]
        overrides = (Override.parse("ffn_down=F16"),)
        assert self.model(store).path.read_bytes() == self.made_here(fake, tmp_path / "x", overrides=overrides)

    def test_a_plan_counts_the_files_that_an_earlier_run_has_read_only_for_the_same_options(
        self, store: Store, serve: Serve, tmp_path: Path
    ) -> None:
        checkpoints.write(tmp_path / "hub" / REPO, Shape(), shards=2)
        serve()
        request = request_for(f"hf:{REPO}:Q8_0", store.catalogue, prebuilt=False)
        events = pull(store, request, PullOptions(threads=1))
        first = store.checkpoint_folder(REPO, COMMIT) / "model-00001-of-00002.safetensors"
        next(event for event in events if isinstance(event, TensorDone) and event.index > 1 and not first.exists())
        events.close()

        def here(options: PullOptions) -> list[int]:
            plan = pulled(store, replace(options, dry_run=True))[-1]
            assert isinstance(plan, PullPlan)
            return [file.size - file.here for file in plan.files]

        assert here(PullOptions())[0] == 0
        assert here(PullOptions(tensor_types=("ffn_down=F16",)))[0] > 0

    def test_a_model_here_that_was_made_without_them_stays(self, store: Store, served: Hub) -> None:
        pulled(store)
        before = self.model(store).path.read_bytes()
        with pytest.raises(UsageError, match="already here, but was not made with this --tensor-type; remove it first"):
            pulled(store, PullOptions(tensor_types=("ffn_down=F16",)))
        assert self.model(store).path.read_bytes() == before

    def test_a_model_here_that_was_made_with_them_is_there_already(self, store: Store, served: Hub) -> None:
        options = PullOptions(tensor_types=("ffn_down=F16",), threads=1)
        pulled(store, options)
        assert [type(event) for event in pulled(store, options)] == [Present]
        assert [type(event) for event in pulled(store)] == [Present]

    def test_an_update_makes_the_model_as_before(self, store: Store, served: Hub) -> None:
        pulled(store, PullOptions(tensor_types=("ffn_down=F16",), threads=1))
        assert isinstance(pulled(store, PullOptions(update=True))[-1], Present)
        served.snapshots, served.main = {LATER: served.root}, LATER
        assert isinstance(pulled(store, PullOptions(update=True, threads=1))[-1], Finished)
        manifest = self.model(store).manifest
        assert manifest is not None
        assert (manifest.revision, manifest.tensor_types) == (LATER, ["ffn_down=F16"])

    def test_a_ready_made_gguf_takes_none(self, store: Store, serve: Serve, tmp_path: Path, gguf: Path) -> None:
        (tmp_path / "hub" / REPO).mkdir(parents=True)
        shutil.copy(gguf, tmp_path / "hub" / REPO / "Some-Model-Q8_0.gguf")
        serve()
        with pytest.raises(
            UsageError, match="is a ready-made GGUF, which is downloaded unchanged; leave --tensor-type out"
        ):
            pulled(store, PullOptions(tensor_types=("ffn_down=F16",)))
        assert store.models() == []


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
