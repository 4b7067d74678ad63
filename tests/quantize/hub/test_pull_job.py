"""`r1_quantize.hub.pull_job`: when there is nothing to pull, who may write, and how much disk a plan needs."""

from __future__ import annotations

import threading
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from r1_quantize import catalog
from r1_quantize.errors import Busy, UsageError
from r1_quantize.events import FilePlan, Planned, WaitingForLock
from r1_quantize.hub import pull_job, staging
from r1_quantize.hub.pull_job import PullJob, present
from r1_quantize.hub.pull_options import PullOptions
from r1_quantize.hub.repository import RemoteFile, Repository
from r1_quantize.hub.request import request_for
from r1_quantize.hub.shards import Shard, ShardProvider
from r1_quantize.store.manifest import Manifest
from r1_quantize.store.store import Store
from tests.quantize.store.test_manifest import MANIFEST

COMMIT, NEWER = str(MANIFEST.revision), "e" * 40
SIZES = {"a.safetensors": 3_000_000, "b.safetensors": 2_000_000, "c.safetensors": 1_000_000}
PLANNED = Planned(Path("folder"), "Q4_K_M", (), 0, bytes_out=10_000_000, job="a")
TIMEOUT_S = 60.0


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path, catalog.load())


@pytest.fixture
def job(store: Store) -> PullJob:
    """A pull of qwen-7b:Q4_K_M from a repository with three shards."""
    request = request_for("qwen-7b", store.catalogue, prebuilt=False)
    files = {name: RemoteFile(name, size, "0" * 64, None) for name, size in SIZES.items()}
    return PullJob(store, request, Repository(request.repo, COMMIT, files), PullOptions())


def put_model(store: Store, *, source: str = MANIFEST.source, size: int = 1000) -> None:
    """A model in the store whose manifest records 1,000 bytes."""
    path = store.path("qwen-7b", "Q4_K_M")
    path.parent.mkdir(parents=True)
    path.write_bytes(bytes(size))
    path.with_suffix(".json").write_text(replace(MANIFEST, source=source, size=1000).to_json())


class TestPresent:
    """A complete model in the store needs no pull, unless an update or a repair is wanted."""

    def test_an_empty_store(self, job: PullJob) -> None:
        assert job.present() is None

    def test_a_complete_model(self, store: Store, job: PullJob) -> None:
        put_model(store)
        found = job.present()
        assert found is not None
        assert (found.reference, found.size, found.current) == ("qwen-7b:Q4_K_M", 1000, False)

    def test_a_truncated_model(self, store: Store, job: PullJob) -> None:
        put_model(store, size=999)
        assert job.present() is None

    def test_a_model_from_another_repository_is_not_replaced(self, store: Store, job: PullJob) -> None:
        put_model(store, source="some-body/Else")
        with pytest.raises(UsageError, match="qwen-7b:Q4_K_M is already here, from some-body/Else; choose another"):
            job.present()

    def test_a_model_made_from_a_folder_is_not_taken_for_the_one_on_the_hub(self, store: Store, job: PullJob) -> None:
        put_model(store, source="my-folder")
        path = store.manifest_path("qwen-7b", "Q4_K_M")
        manifest = Manifest.read(path)
        assert manifest is not None
        path.write_text(replace(manifest, revision=None).to_json(), encoding="utf-8")
        with pytest.raises(UsageError, match="is already here, from my-folder; choose another name with --name NAME"):
            job.present()

    @pytest.mark.parametrize("prebuilt", [False, True])
    def test_the_catalogues_two_repositories_are_equally_good(self, store: Store, prebuilt: bool) -> None:
        request = request_for("qwen-7b", store.catalogue, prebuilt=prebuilt)
        put_model(store)
        assert present(store, request, PullOptions()) is not None

    def test_an_update_compares_the_commit(self, store: Store, job: PullJob) -> None:
        put_model(store)
        update = replace(job, options=PullOptions(update=True))
        found = update.present()
        assert found is not None
        assert found.current
        assert replace(update, repository=replace(job.repository, commit=NEWER)).present() is None

    def test_a_model_to_repair(self, store: Store, job: PullJob) -> None:
        put_model(store)
        assert replace(job, damaged=MANIFEST).present() is None


class TestLock:
    """The model and its repository are locked; another holder is reported and waited for."""

    def test_a_free_lock_is_taken_silently(self, store: Store, job: PullJob) -> None:
        with ExitStack() as stack:
            assert list(job.lock(stack)) == []
            with pytest.raises(Busy), store.lock("qwen-7b", "Q4_K_M"):
                pass
            with pytest.raises(Busy), store.lock_checkpoint(job.request.repo):
                pass
        with store.lock("qwen-7b", "Q4_K_M"), store.lock_checkpoint(job.request.repo):
            pass

    def test_a_held_lock_is_reported_and_waited_for(self, store: Store, job: PullJob) -> None:
        with ExitStack() as stack, ExitStack() as other:
            other.enter_context(store.lock("qwen-7b", "Q4_K_M"))
            events = job.lock(stack)
            waiting = next(events)
            assert isinstance(waiting, WaitingForLock)
            assert waiting.holder.startswith("qwen-7b:Q4_K_M is being made by another r1 (process ")
            assert ";" not in waiting.holder
            timer = threading.Timer(0.1, other.close)
            timer.start()
            assert list(events) == []
            timer.join(TIMEOUT_S)


class TestStagingFolder:
    """A pull has a folder in the store; a dry run leaves none."""

    def test_of_a_pull(self, store: Store, job: PullJob) -> None:
        with ExitStack() as stack:
            folder = job.staging_folder(stack)
        assert folder == store.checkpoint_folder(job.request.repo, COMMIT)
        assert staging.read_record(folder) == job.repository

    def test_of_a_dry_run(self, store: Store, job: PullJob) -> None:
        with ExitStack() as stack:
            folder = replace(job, options=PullOptions(dry_run=True)).staging_folder(stack)
            assert folder.is_dir()
            assert not folder.is_relative_to(store.root)
        assert not folder.exists()

    def test_of_a_dry_run_after_an_interrupted_pull(self, store: Store, job: PullJob) -> None:
        folder = staging.prepare(store, job.repository)
        with ExitStack() as stack:
            assert replace(job, options=PullOptions(dry_run=True)).staging_folder(stack) == folder
        assert folder.exists()


class TestPlan:
    """The peak of the disk use is the result and as many shards as are on the disk at once."""

    @pytest.fixture(autouse=True)
    def _free(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(pull_job, "free_space", lambda _: 100_000_000)

    def provider(self, job: PullJob, tmp_path: Path, *names: str, keep: bool = False) -> ShardProvider:
        shards = [Shard(job.repository.files[name], tmp_path / f"{name}.header") for name in names]
        return ShardProvider(job.repository, tmp_path, shards, keep=keep)

    def test_of_quantizing(self, job: PullJob, tmp_path: Path) -> None:
        plan = job.plan_quantizing(self.provider(job, tmp_path, *SIZES), PLANNED)
        assert (plan.reference, plan.repo, plan.commit) == ("qwen-7b:Q4_K_M", MANIFEST.source, COMMIT)
        assert (plan.result, plan.peak, plan.shards_at_once) == (10_000_000, 15_000_000, 2)
        assert (plan.free, plan.to_fetch) == (100_000_000, 6_000_000)

    def test_of_quantizing_with_a_kept_checkpoint(self, job: PullJob, tmp_path: Path) -> None:
        plan = job.plan_quantizing(self.provider(job, tmp_path, *SIZES, keep=True), PLANNED)
        assert (plan.peak, plan.shards_at_once) == (16_000_000, 3)

    def test_of_a_repair(self, job: PullJob, tmp_path: Path) -> None:
        plan = job.plan_repair(self.provider(job, tmp_path, *SIZES), PLANNED)
        assert (plan.peak, plan.shards_at_once, plan.to_fetch) == (3_000_000, 1, 0)

    def test_of_a_download(self, job: PullJob, tmp_path: Path) -> None:
        (tmp_path / "a.safetensors").write_bytes(bytes(SIZES["a.safetensors"]))
        plan = job.plan_download(self.provider(job, tmp_path, "b.safetensors"), ())
        assert plan.files == (FilePlan("b.safetensors", 2_000_000, 0),)
        assert (plan.result, plan.peak) == (2_000_000, 2_000_000)
        resumed = job.plan_download(self.provider(job, tmp_path, "a.safetensors"), ())
        assert (resumed.result, resumed.peak) == (3_000_000, 0)
