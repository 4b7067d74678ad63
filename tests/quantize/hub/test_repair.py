"""`r1_quantize.hub.repair`: a damaged model becomes the one it was, of as few bytes from the hub as that takes."""

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
from r1_quantize.hub.pull import PullOptions, pull
from r1_quantize.hub.repair import repair
from r1_quantize.hub.request import request_for
from r1_quantize.pipeline import Job, quantize
from r1_quantize.store.manifest import Manifest
from r1_quantize.store.store import Store, StoredModel
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
def there(tmp_path: Path) -> Path:
    """The repository's folder on the hub."""
    (tmp_path / "hub" / REPO).mkdir(parents=True)
    return tmp_path / "hub" / REPO


Pulled = Callable[[str], StoredModel]


@pytest.fixture
def pulled(serve: Serve, store: Store) -> tuple[Hub, Pulled]:
    """Starts the hub; what is pulled from it comes back, and is as if nobody had asked for anything yet."""
    started = serve()

    def get(name: str) -> StoredModel:
        for _ in pull(store, request_for(f"hf:{REPO}{name}", store.catalogue, prebuilt=False), PullOptions(threads=1)):
            pass
        (model,) = store.models()
        started.sent.clear()
        return model

    return started, get


def places(path: Path, *names: str) -> list[range]:
    """Where these tensors lie, as gguf-py has it."""
    tensors = {tensor.name: tensor for tensor in reference.GGUFReader(path).tensors}
    return [range(tensors[n].data_offset, tensors[n].data_offset + int(tensors[n].n_bytes)) for n in names]


def damage(path: Path, *where: int) -> None:
    """One wrong byte at each of these places."""
    data = bytearray(path.read_bytes())
    for place in where:
        data[place] ^= 0x10
    path.write_bytes(data)


def mended(store: Store, model: StoredModel, before: bytes) -> list[PipelineEvent]:
    """Repairs it, and looks whether it is what it was; what was said."""
    events = list(repair(store, model, threads=1))
    assert model.path.read_bytes() == before
    assert all(check.ok for check in verify(model.path))
    assert isinstance(events[-1], Finished)
    assert names_in(model.path.parent) == sorted(f"{model.quant}.{suffix}" for suffix in ("gguf", "json", "lock"))
    assert not [path for path in store.root.rglob("*") if path.name.endswith((".safetensors", ".header", ".partial"))]
    return events


class TestCheckpoint:
    """What was made of a checkpoint is made again where it is damaged, of the shards that takes."""

    @pytest.fixture
    def model(self, pulled: tuple[Hub, Pulled], there: Path) -> StoredModel:
        checkpoints.write(there, SHAPE, shards=3)
        return pulled[1](":Q8_0")

    def test_one_tensor_takes_one_shard(self, store: Store, pulled: tuple[Hub, Pulled], model: StoredModel) -> None:
        before = model.path.read_bytes()
        damage(model.path, places(model.path, "blk.1.ffn_up.weight")[0][100])
        mended(store, model, before)
        fetched = {name for name, count in pulled[0].sent.items() if count > 1 << 17}
        assert len(fetched) == 1

    def test_a_header_takes_none(self, store: Store, pulled: tuple[Hub, Pulled], model: StoredModel) -> None:
        before = model.path.read_bytes()
        damage(model.path, 4, 30, before.index(b"general.name"))
        mended(store, model, before)
        assert all(count <= 1 << 17 for name, count in pulled[0].sent.items() if name.endswith(".safetensors"))

    def test_all_of_it(self, store: Store, model: StoredModel) -> None:
        before = model.path.read_bytes()
        model.path.write_bytes(bytes(len(before)))
        mended(store, model, before)

    @pytest.mark.parametrize("change", [lambda data: data[:-300_000], lambda data: data + b"more", lambda data: b""])
    def test_of_the_wrong_length(self, store: Store, model: StoredModel, change: Callable[[bytes], bytes]) -> None:
        before = model.path.read_bytes()
        model.path.write_bytes(change(before))
        (found,) = store.models()
        mended(store, found, before)

    def test_what_is_whole_fetches_no_weights(
        self, store: Store, pulled: tuple[Hub, Pulled], model: StoredModel
    ) -> None:
        mended(store, model, model.path.read_bytes())
        assert all(count <= 1 << 17 for name, count in pulled[0].sent.items() if name.endswith(".safetensors"))

    def test_an_older_manifest_takes_all_of_it(self, store: Store, model: StoredModel) -> None:
        before = model.path.read_bytes()
        damage(model.path, len(before) - 1000)
        assert model.manifest is not None
        manifest = replace(model.manifest, tensor_crc32={})
        model.path.with_suffix(".json").write_text(manifest.to_json())
        (found,) = store.models()
        mended(store, found, before)

    def test_the_commit_is_the_one_it_was_made_of(
        self, store: Store, pulled: tuple[Hub, Pulled], model: StoredModel, tmp_path: Path
    ) -> None:
        before, started = model.path.read_bytes(), pulled[0]
        checkpoints.write(tmp_path / "later" / REPO, replace(SHAPE, layers=1))
        started.snapshots["f" * 40], started.main = tmp_path / "later", "f" * 40
        damage(model.path, len(before) - 1000)
        mended(store, model, before)

    def test_interrupted_it_goes_on(self, store: Store, pulled: tuple[Hub, Pulled], model: StoredModel) -> None:
        before, started = model.path.read_bytes(), pulled[0]
        damage(model.path, *(place[10] for place in places(model.path, "blk.0.attn_q.weight", "blk.3.ffn_up.weight")))
        with closing(repair(store, model, threads=1)) as events:
            for event in events:
                if isinstance(event, Fetched) and sum(started.sent.values()) > 1_000_000:
                    break
        (found,) = store.unfinished()
        assert found.reference == model.reference
        interrupted = store.interrupted_repair(model.reference)
        assert interrupted is not None
        mended(store, interrupted, before)

    def test_interrupted_a_pull_goes_on_with_it(
        self, store: Store, pulled: tuple[Hub, Pulled], model: StoredModel
    ) -> None:
        before = model.path.read_bytes()
        damage(model.path, places(model.path, "blk.0.attn_q.weight")[0][10])
        with closing(repair(store, model, threads=1)) as events:
            for event in events:
                if isinstance(event, Fetched) and sum(pulled[0].sent.values()) > 1_000_000:
                    break
        request = request_for(f"hf:{REPO}:Q8_0", store.catalogue, prebuilt=False)
        for _ in pull(store, request, PullOptions(threads=1)):
            pass
        assert model.path.read_bytes() == before


class TestGGUF:
    """Of what was fetched as it is only the damaged pieces are fetched."""

    @pytest.fixture
    def model(self, pulled: tuple[Hub, Pulled], there: Path, tmp_path: Path, gguf: Path) -> StoredModel:
        (there / "sub").mkdir()
        data = gguf.read_bytes()
        (there / "sub" / "Some-Model-Q8_0.gguf").write_bytes(data)
        return pulled[1]("/Some-Model-Q8_0.gguf")

    def fetched(self, events: list[PipelineEvent]) -> int:
        return sum(event.bytes for event in events if isinstance(event, Fetched))

    @pytest.mark.parametrize("names", [["blk.1.ffn_up.weight"], ["token_embd.weight", "output.weight"]])
    def test_only_damaged_tensors_are_fetched(
        self, store: Store, model: StoredModel, names: list[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(
            "r1_quantize.hub.headers._GGUF", 1 << 16
        )  # the file is smaller than what is looked at first
        before, ranges = model.path.read_bytes(), places(model.path, *names)
        damage(model.path, *(where[5] for where in ranges))
        events = mended(store, model, before)
        assert self.fetched(events) == (1 << 16) + sum(map(len, ranges))

    def test_a_damaged_header_is_fetched_with_what_is_looked_at(self, store: Store, model: StoredModel) -> None:
        before = model.path.read_bytes()
        damage(model.path, 0, 100, 1000)
        mended(store, model, before)

    def test_between_tensors(self, store: Store, pulled: tuple[Hub, Pulled], there: Path, tmp_path: Path) -> None:
        shape = Shape(hidden=32, heads=4, kv_heads=1, head_dim=2)  # whose biases fill no 32 bytes
        job = Job(checkpoints.write(tmp_path / "c", shape), "F32", there / "Ragged-F32.gguf", name="ragged")
        for _ in quantize(job):
            pass
        model = pulled[1]("/Ragged-F32.gguf")
        before = model.path.read_bytes()
        ends = [tensor.data_offset + int(tensor.n_bytes) for tensor in reference.GGUFReader(model.path).tensors]
        padding = [end for end in ends if end % 32]
        assert padding
        damage(model.path, *padding)
        mended(store, model, before)

    @pytest.mark.parametrize("change", [lambda data: data[:-300_000], lambda data: data + b"more", lambda data: b""])
    def test_of_the_wrong_length(self, store: Store, model: StoredModel, change: Callable[[bytes], bytes]) -> None:
        before = model.path.read_bytes()
        model.path.write_bytes(change(before))
        (found,) = store.models()
        mended(store, found, before)

    def test_bytes_that_come_wrong_are_noticed(
        self, store: Store, pulled: tuple[Hub, Pulled], model: StoredModel, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("r1_quantize.hub.headers._GGUF", 1 << 16)
        (where,) = places(model.path, "blk.1.ffn_up.weight")
        damage(model.path, where[5])
        pulled[0].faults = [Fault("*Q8_0.gguf", "flip", times=-1, after=where[7])]
        with pytest.raises(BadFile, match="is still not what it was; check the disk, or remove it and pull it again"):
            list(repair(store, model))
        pulled[0].faults = []

    def test_interrupted_it_can_be_begun_again(self, store: Store, model: StoredModel) -> None:
        before = model.path.read_bytes()
        damage(model.path, 0, *(where[5] for where in places(model.path, "token_embd.weight", "output.weight")))
        for steps in range(1, 6):
            with closing(repair(store, model)) as events:
                for _ in zip(range(steps), events, strict=False):
                    pass
        (found,) = store.models()
        mended(store, found, before)

    def test_in_parts(self, store: Store, pulled: tuple[Hub, Pulled], there: Path, gguf: Path) -> None:
        parts = splits.split(gguf, there, 10)
        model = pulled[1](f"/{parts[0].name}")
        before = model.path.read_bytes()
        damage(model.path, places(model.path, "blk.1.ffn_up.weight")[0][5])
        mended(store, model, before)


class TestRefused:
    """What nobody knows how to get is said to be so, and left as it is."""

    def stored(self, store: Store, manifest: Manifest | None) -> StoredModel:
        path = store.path("some-model", "Q8_0")
        path.parent.mkdir(parents=True)
        path.write_bytes(b"GGUF")
        if manifest:
            path.with_suffix(".json").write_text(manifest.to_json())
        (model,) = store.models()
        return model

    def refused(self, store: Store, model: StoredModel, said: str) -> None:
        before = model.path.read_bytes()
        with pytest.raises(UsageError, match=said):
            list(repair(store, model))
        assert model.path.read_bytes() == before

    def test_without_a_manifest(self, store: Store) -> None:
        self.refused(store, self.stored(store, None), "has no manifest, so nobody knows what it should be")

    @pytest.mark.parametrize("change", [{"revision": None}, {"source": "a folder"}, {"imatrix_sha256": "0" * 64}])
    def test_what_was_made_on_this_machine(self, store: Store, change: dict[str, str]) -> None:
        manifest = replace(MANIFEST, **change)
        self.refused(store, self.stored(store, manifest), "was made of .* on this machine; make it again: r1 quantize")

    def test_a_file_by_its_path(self, store: Store, tmp_path: Path) -> None:
        (tmp_path / "a.gguf").write_bytes(b"GGUF")
        self.refused(store, store.find(str(tmp_path / "a.gguf")), "has no manifest")

    def test_a_commit_that_is_gone(self, store: Store, pulled: tuple[Hub, Pulled], there: Path) -> None:
        (there / "x").write_text("x")
        model = self.stored(store, replace(MANIFEST, revision="e" * 40))
        with pytest.raises(NetworkError, match="the hub no longer has the commit some-model:Q8_0 was made of"):
            list(repair(store, model))
        assert model.path.read_bytes() == b"GGUF"


def test_what_is_repaired_is_what_the_manifest_says(store: Store, pulled: tuple[Hub, Pulled], there: Path) -> None:
    checkpoints.write(there, SHAPE)
    model = pulled[1](":Q8_0")
    assert model.manifest is not None
    assert model.manifest.sha256 == sha256(model.path.read_bytes()).hexdigest()
