"""`r1_quantize.hub.repair`: a damaged model is restored, with as few bytes from the hub as possible."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import gguf as reference
import pytest

from r1_quantize import catalog
from r1_quantize.errors import BadFile, NetworkError, UsageError
from r1_quantize.events import Fetched, Finished, PipelineEvent
from r1_quantize.hub.pull import pull
from r1_quantize.hub.pull_options import PullOptions
from r1_quantize.hub.repair import repair
from r1_quantize.hub.request import request_for
from r1_quantize.pipeline import Job, quantize
from r1_quantize.store.manifest import Manifest
from r1_quantize.store.model import StoredModel
from r1_quantize.store.store import Store
from r1_quantize.verify import verify
from tests.fakes import checkpoints, splits
from tests.fakes.checkpoints import Shape
from tests.fakes.hub import Fault, Hub
from tests.quantize.conftest import Serve, names_in

REPO = "some-owner/Some-Model"
SHAPE = Shape(hidden=256, inner=1024, layers=4)
MANIFEST = Manifest(
    name="some-model",
    quant="Q8_0",
    source=REPO,
    revision="0" * 40,
    source_sha256={"config.json": "0" * 64},
    sha256="0" * 64,
    size=1000,
    recipe={},
    tools={},
    created="2026-11-23T20:53:33+00:00",
)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """An empty store."""
    return Store(tmp_path / "home", catalog.load())


@pytest.fixture
def origin(tmp_path: Path) -> Path:
    """The repository's folder on the hub."""
    (tmp_path / "hub" / REPO).mkdir(parents=True)
    return tmp_path / "hub" / REPO


Pulled = Callable[[str], StoredModel]


@pytest.fixture
def pulled(serve: Serve, store: Store) -> tuple[Hub, Pulled]:
    """Starts the hub, and a function that pulls a model from it and resets its counters."""
    started = serve()

    def get(name: str) -> StoredModel:
        for _ in pull(store, request_for(f"hf:{REPO}{name}", store.catalogue, prebuilt=False), PullOptions(threads=1)):
            pass
        (model,) = store.models()
        started.sent.clear()
        return model

    return started, get


def tensor_ranges(path: Path, *names: str) -> list[range]:
    """The ranges of these tensors, according to gguf-py."""
    tensors = {tensor.name: tensor for tensor in reference.GGUFReader(path).tensors}
    return [range(tensors[n].data_offset, tensors[n].data_offset + int(tensors[n].n_bytes)) for n in names]


def damage(path: Path, *offsets: int) -> None:
    """Change the byte at each of these offsets."""
    data = bytearray(path.read_bytes())
    for offset in offsets:
        data[offset] ^= 0x10
    path.write_bytes(data)


def repaired(store: Store, model: StoredModel, before: bytes) -> list[PipelineEvent]:
    """Repair the model and check that it has its former bytes; returns the events."""
    events = list(repair(store, model, threads=1))
    assert model.path.read_bytes() == before
    assert all(check.ok for check in verify(model.path))
    assert isinstance(events[-1], Finished)
    assert names_in(model.path.parent) == sorted(f"{model.quant}.{suffix}" for suffix in ("gguf", "json", "lock"))
    assert not [path for path in store.root.rglob("*") if path.name.endswith((".safetensors", ".header", ".partial"))]
    return events


class TestCheckpoint:
    """A model made from a checkpoint is made again where it is damaged, from the shards needed."""

    @pytest.fixture
    def model(self, pulled: tuple[Hub, Pulled], origin: Path) -> StoredModel:
        checkpoints.write(origin, SHAPE, shards=3)
        return pulled[1](":Q8_0")

    def test_a_damaged_tensor_needs_one_shard(
        self, store: Store, pulled: tuple[Hub, Pulled], model: StoredModel
    ) -> None:
        before = model.path.read_bytes()
        damage(model.path, tensor_ranges(model.path, "blk.1.ffn_up.weight")[0][100])
        repaired(store, model, before)
        fetched = {name for name, count in pulled[0].sent.items() if count > 1 << 17}
        assert len(fetched) == 1

    def test_a_damaged_header_needs_none(self, store: Store, pulled: tuple[Hub, Pulled], model: StoredModel) -> None:
        before = model.path.read_bytes()
        damage(model.path, 4, 30, before.index(b"general.name"))
        repaired(store, model, before)
        assert all(count <= 1 << 17 for name, count in pulled[0].sent.items() if name.endswith(".safetensors"))

    def test_a_model_of_zeros(self, store: Store, model: StoredModel) -> None:
        before = model.path.read_bytes()
        model.path.write_bytes(bytes(len(before)))
        repaired(store, model, before)

    @pytest.mark.parametrize("change", [lambda data: data[:-300_000], lambda data: data + b"more", lambda data: b""])
    def test_a_wrong_length(self, store: Store, model: StoredModel, change: Callable[[bytes], bytes]) -> None:
        before = model.path.read_bytes()
        model.path.write_bytes(change(before))
        (found,) = store.models()
        repaired(store, found, before)

    def test_an_undamaged_model_needs_no_weights(
        self, store: Store, pulled: tuple[Hub, Pulled], model: StoredModel
    ) -> None:
        repaired(store, model, model.path.read_bytes())
        assert all(count <= 1 << 17 for name, count in pulled[0].sent.items() if name.endswith(".safetensors"))

    def test_a_manifest_without_checksums_needs_all_shards(self, store: Store, model: StoredModel) -> None:
        before = model.path.read_bytes()
        damage(model.path, len(before) - 1000)
        assert model.manifest is not None
        manifest = replace(model.manifest, tensor_crc32={})
        model.path.with_suffix(".json").write_text(manifest.to_json())
        (found,) = store.models()
        repaired(store, found, before)

    def test_the_commit_is_the_one_it_was_made_from(
        self, store: Store, pulled: tuple[Hub, Pulled], model: StoredModel, tmp_path: Path
    ) -> None:
        before, started = model.path.read_bytes(), pulled[0]
        checkpoints.write(tmp_path / "later" / REPO, replace(SHAPE, layers=1))
        started.snapshots["f" * 40], started.main = tmp_path / "later", "f" * 40
        damage(model.path, len(before) - 1000)
        repaired(store, model, before)

    def test_an_interrupted_repair_resumes(self, store: Store, pulled: tuple[Hub, Pulled], model: StoredModel) -> None:
        before, started = model.path.read_bytes(), pulled[0]
        damage(
            model.path,
            *(where[10] for where in tensor_ranges(model.path, "blk.0.attn_q.weight", "blk.3.ffn_up.weight")),
        )
        with closing(repair(store, model, threads=1)) as events:
            for event in events:
                if isinstance(event, Fetched) and sum(started.sent.values()) > 1_000_000:
                    break
        (found,) = store.unfinished()
        assert found.reference == model.reference
        interrupted = store.interrupted_repair(model.reference)
        assert interrupted is not None
        repaired(store, interrupted, before)

    def test_a_pull_resumes_an_interrupted_repair(
        self, store: Store, pulled: tuple[Hub, Pulled], model: StoredModel
    ) -> None:
        before = model.path.read_bytes()
        damage(model.path, tensor_ranges(model.path, "blk.0.attn_q.weight")[0][10])
        with closing(repair(store, model, threads=1)) as events:
            for event in events:
                if isinstance(event, Fetched) and sum(pulled[0].sent.values()) > 1_000_000:
                    break
        request = request_for(f"hf:{REPO}:Q8_0", store.catalogue, prebuilt=False)
        for _ in pull(store, request, PullOptions(threads=1)):
            pass
        assert model.path.read_bytes() == before


class TestGGUF:
    """For a GGUF that was downloaded unchanged, only the damaged ranges are downloaded again."""

    @pytest.fixture
    def model(self, pulled: tuple[Hub, Pulled], origin: Path, tmp_path: Path, gguf: Path) -> StoredModel:
        (origin / "sub").mkdir()
        data = gguf.read_bytes()
        (origin / "sub" / "Some-Model-Q8_0.gguf").write_bytes(data)
        return pulled[1]("/Some-Model-Q8_0.gguf")

    def fetched(self, events: list[PipelineEvent]) -> int:
        return sum(event.bytes for event in events if isinstance(event, Fetched))

    @pytest.mark.parametrize("names", [["blk.1.ffn_up.weight"], ["token_embd.weight", "output.weight"]])
    def test_only_damaged_tensors_are_downloaded(
        self, store: Store, model: StoredModel, names: list[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(
            "r1_quantize.hub.headers._GGUF_PREFIX_BYTES", 1 << 16
        )  # the file is smaller than the usual prefix
        before, ranges = model.path.read_bytes(), tensor_ranges(model.path, *names)
        damage(model.path, *(where[5] for where in ranges))
        events = repaired(store, model, before)
        assert self.fetched(events) == (1 << 16) + sum(map(len, ranges))

    def test_a_damaged_header_is_replaced(self, store: Store, model: StoredModel) -> None:
        before = model.path.read_bytes()
        damage(model.path, 0, 100, 1000)
        repaired(store, model, before)

    def test_damaged_padding(self, store: Store, pulled: tuple[Hub, Pulled], origin: Path, tmp_path: Path) -> None:
        shape = Shape(hidden=32, heads=4, kv_heads=1, head_dim=2)  # its biases are shorter than 32 bytes
        job = Job(checkpoints.write(tmp_path / "c", shape), "F32", origin / "Ragged-F32.gguf", name="ragged")
        for _ in quantize(job):
            pass
        model = pulled[1]("/Ragged-F32.gguf")
        before = model.path.read_bytes()
        ends = [tensor.data_offset + int(tensor.n_bytes) for tensor in reference.GGUFReader(model.path).tensors]
        padding = [end for end in ends if end % 32]
        assert padding
        damage(model.path, *padding)
        repaired(store, model, before)

    @pytest.mark.parametrize("change", [lambda data: data[:-300_000], lambda data: data + b"more", lambda data: b""])
    def test_a_wrong_length(self, store: Store, model: StoredModel, change: Callable[[bytes], bytes]) -> None:
        before = model.path.read_bytes()
        model.path.write_bytes(change(before))
        (found,) = store.models()
        repaired(store, found, before)

    def test_bytes_that_arrive_damaged_are_noticed(
        self, store: Store, pulled: tuple[Hub, Pulled], model: StoredModel, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("r1_quantize.hub.headers._GGUF_PREFIX_BYTES", 1 << 16)
        (where,) = tensor_ranges(model.path, "blk.1.ffn_up.weight")
        damage(model.path, where[5])
        pulled[0].faults = [Fault("*Q8_0.gguf", "flip", times=-1, after=where[7])]
        with pytest.raises(BadFile, match="is still damaged; check the disk, or remove it and pull it again"):
            list(repair(store, model))
        pulled[0].faults = []

    def test_an_interrupted_repair_can_start_again(self, store: Store, model: StoredModel) -> None:
        before = model.path.read_bytes()
        damage(model.path, 0, *(where[5] for where in tensor_ranges(model.path, "token_embd.weight", "output.weight")))
        for steps in range(1, 6):
            with closing(repair(store, model)) as events:
                for _ in zip(range(steps), events, strict=False):
                    pass
        (found,) = store.models()
        repaired(store, found, before)

    def test_a_split_gguf(self, store: Store, pulled: tuple[Hub, Pulled], origin: Path, gguf: Path) -> None:
        parts = splits.split(gguf, origin, 10)
        model = pulled[1](f"/{parts[0].name}")
        before = model.path.read_bytes()
        damage(model.path, tensor_ranges(model.path, "blk.1.ffn_up.weight")[0][5])
        repaired(store, model, before)


class TestRefused:
    """A model of unknown origin is refused and not changed."""

    def stored(self, store: Store, manifest: Manifest | None) -> StoredModel:
        path = store.path("some-model", "Q8_0")
        path.parent.mkdir(parents=True)
        path.write_bytes(b"GGUF")
        if manifest:
            path.with_suffix(".json").write_text(manifest.to_json())
        (model,) = store.models()
        return model

    def refused(self, store: Store, model: StoredModel, message: str) -> None:
        before = model.path.read_bytes()
        with pytest.raises(UsageError, match=message):
            list(repair(store, model))
        assert model.path.read_bytes() == before

    def test_without_a_manifest(self, store: Store) -> None:
        self.refused(store, self.stored(store, None), "has no manifest, so it cannot be repaired")

    @pytest.mark.parametrize("change", [{"revision": None}, {"source": "a folder"}])
    def test_a_model_made_on_this_machine(self, store: Store, change: dict[str, str]) -> None:
        manifest = replace(MANIFEST, **change)
        self.refused(
            store, self.stored(store, manifest), "was made from .* on this machine; make it again with r1 quantize"
        )

    def test_a_model_made_with_an_importance_matrix(self, store: Store) -> None:
        """The advice gets it again, whether `r1 pull` or `r1 quantize` made it."""
        manifest = replace(MANIFEST, imatrix_sha256="0" * 64)
        advice = "run r1 rm some-model:Q8_0, then r1 pull hf:some-owner/Some-Model:Q8_0 --imatrix FILE"
        self.refused(store, self.stored(store, manifest), f"with an importance matrix, .*; {advice}")
        found = request_for("hf:some-owner/Some-Model:Q8_0", store.catalogue, prebuilt=False)
        assert found.reference == "some-model:Q8_0"

    def test_a_file_given_by_its_path(self, store: Store, tmp_path: Path) -> None:
        (tmp_path / "a.gguf").write_bytes(b"GGUF")
        self.refused(store, store.find(str(tmp_path / "a.gguf")), "has no manifest")

    def test_a_commit_that_is_gone(self, store: Store, pulled: tuple[Hub, Pulled], origin: Path) -> None:
        (origin / "x").write_text("x")
        model = self.stored(store, replace(MANIFEST, revision="e" * 40))
        with pytest.raises(NetworkError, match="the hub no longer has the commit some-model:Q8_0 was made from"):
            list(repair(store, model))
        assert model.path.read_bytes() == b"GGUF"


def test_the_manifest_has_the_digest_of_the_model(store: Store, pulled: tuple[Hub, Pulled], origin: Path) -> None:
    checkpoints.write(origin, SHAPE)
    model = pulled[1](":Q8_0")
    assert model.manifest is not None
    assert model.manifest.sha256 == sha256(model.path.read_bytes()).hexdigest()
