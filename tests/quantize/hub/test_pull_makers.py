"""`r1_quantize.hub.pull_makers`: a ready-made GGUF, and the parts of a split one, become a model in the store."""

from __future__ import annotations

import shutil
from hashlib import sha256
from pathlib import Path

import gguf as reference
import pytest

from r1_quantize import catalog
from r1_quantize.errors import BadFile, NotEnoughSpace
from r1_quantize.events import Fetched, PipelineEvent, Rejected
from r1_quantize.hub import hub, staging
from r1_quantize.hub.pull import pull
from r1_quantize.hub.pull_job import PullJob
from r1_quantize.hub.pull_makers import DownloadMaker, QuantizingMaker, maker_for
from r1_quantize.hub.pull_options import PullOptions
from r1_quantize.hub.request import request_for, resolve
from r1_quantize.store.store import Store
from tests.fakes import splits
from tests.fakes.connections import Recorded
from tests.fakes.hub import COMMIT, Hub
from tests.quantize.conftest import Serve

REPO = "some-owner/Some-Model-GGUF"
NAME = "Some-Model-Q8_0.gguf"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "home", catalog.load())


@pytest.fixture
def served(serve: Serve, tmp_path: Path, gguf: Path) -> Hub:
    """A hub with one GGUF."""
    (tmp_path / "hub" / REPO).mkdir(parents=True)
    (tmp_path / "hub" / REPO / NAME).write_bytes(gguf.read_bytes())
    return serve()


class TestMakerFor:
    """The maker depends on what is pulled; creating one writes no model."""

    def job(self, store: Store, reference: str) -> PullJob:
        repository = hub.look_up(REPO)
        request = resolve(request_for(reference, store.catalogue, prebuilt=False), repository)
        return PullJob(store, request, repository, PullOptions(threads=1))

    def maker(self, job: PullJob) -> QuantizingMaker | DownloadMaker:
        folder = staging.prepare(job.store, job.repository)
        return maker_for(job, folder, job.fetch_headers(folder, Recorded().connection))

    def test_a_single_gguf_is_downloaded(self, store: Store, served: Hub, gguf: Path) -> None:
        maker = self.maker(self.job(store, f"hf:{REPO}:Q8_0"))
        assert isinstance(maker, DownloadMaker)
        assert (maker.plan.result, maker.plan.shards_at_once) == (gguf.stat().st_size, 1)
        wanted = {tensor.name: int(tensor.n_bytes) for tensor in reference.GGUFReader(gguf).tensors}
        assert {tensor.name: tensor.nbytes for tensor in maker.plan.tensors} == wanted
        assert store.models() == []

    def test_the_parts_of_a_gguf_are_joined(self, store: Store, serve: Serve, tmp_path: Path, gguf: Path) -> None:
        folder = tmp_path / "hub" / REPO
        folder.mkdir(parents=True)
        parts = splits.split(gguf, folder, 10)
        serve()
        maker = self.maker(self.job(store, f"hf:{REPO}/{parts[0].name}"))
        assert isinstance(maker, QuantizingMaker)
        assert [file.name for file in maker.plan.files] == [part.name for part in parts]
        assert maker.plan.result == gguf.stat().st_size
        assert store.models() == []

    def test_a_checkpoint_is_quantized(
        self, store: Store, serve: Serve, tmp_path: Path, fake: Path, gguf: Path
    ) -> None:
        shutil.copytree(fake, tmp_path / "hub" / REPO)
        serve()
        maker = self.maker(self.job(store, f"hf:{REPO}:Q8_0"))
        assert isinstance(maker, QuantizingMaker)
        weights = (fake / "model.safetensors").stat().st_size
        assert [(file.name, file.size) for file in maker.plan.files] == [("model.safetensors", weights)]
        assert maker.plan.peak == maker.plan.result + maker.plan.to_fetch
        assert store.models() == []

    def test_an_invalid_header(self, store: Store, served: Hub) -> None:
        job = self.job(store, f"hf:{REPO}:Q8_0")
        folder = staging.prepare(job.store, job.repository)
        shards = job.fetch_headers(folder, Recorded().connection)
        shards[0].header.write_bytes(b"GGUF" + bytes(100))
        with pytest.raises(BadFile):
            maker_for(job, folder, shards)

    def test_too_small_a_disk_is_refused_before_anything_is_made(
        self, store: Store, served: Hub, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("r1_quantize.hub.pull_job.free_space", lambda _: 1000)
        maker = self.maker(self.job(store, f"hf:{REPO}:Q8_0"))
        with pytest.raises(NotEnoughSpace):
            next(maker.make())
        assert store.models() == []


class TestLeftovers:
    """A GGUF that was downloaded, but not moved into the store, is used if it is undamaged."""

    def pull(self, store: Store, data: bytes) -> list[PipelineEvent]:
        """Pull with these bytes of the GGUF in the staging folder."""
        folder = store.checkpoint_folder(REPO, COMMIT)
        folder.mkdir(parents=True)
        (folder / NAME).write_bytes(data)
        return list(pull(store, request_for(f"hf:{REPO}:Q8_0", store.catalogue, prebuilt=False), PullOptions()))

    def check(self, store: Store, gguf: Path) -> None:
        (model,) = store.models()
        assert model.path.read_bytes() == gguf.read_bytes()
        assert model.manifest is not None
        assert model.manifest.sha256 == sha256(gguf.read_bytes()).hexdigest()
        assert store.checkpoint_folders(REPO) == []

    def test_undamaged(self, store: Store, served: Hub, gguf: Path) -> None:
        events = self.pull(store, gguf.read_bytes())
        self.check(store, gguf)
        assert not [event for event in events if isinstance(event, Fetched | Rejected)]

    def test_damaged(self, store: Store, served: Hub, gguf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        # The file is smaller than the usual prefix.
        monkeypatch.setattr("r1_quantize.hub.headers._GGUF_PREFIX_BYTES", 1 << 16)
        data = gguf.read_bytes()
        events = self.pull(store, data[:-1000] + bytes([data[-1000] ^ 1]) + data[-999:])
        self.check(store, gguf)
        assert [event.file for event in events if isinstance(event, Rejected)] == [NAME]
