"""`r1_quantize.hub.headers`: enough of a repository is downloaded to plan with it, and no more."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import gguf as reference
import pytest

from r1_quantize.checkpoint import safetensors
from r1_quantize.errors import BadCheckpoint, BadFile, NetworkError, R1Error
from r1_quantize.events import Fetched
from r1_quantize.gguf import reader
from r1_quantize.hub import headers, hub
from r1_quantize.hub.headers import checkpoint_shards, gguf_parts
from r1_quantize.hub.repository import Repository
from r1_quantize.hub.shards import Shard
from tests.fakes import checkpoints, splits
from tests.fakes.connections import Recorded
from tests.fakes.hub import Fault, Hub
from tests.quantize.conftest import Serve

REPO = "some-owner/some-model"
SAFETENSORS_PREFIX, GGUF_PREFIX = 1 << 17, 1 << 22  # bytes that are downloaded first

Started = tuple[Hub, Repository]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The staging folder."""
    (tmp_path / "here").mkdir()
    return tmp_path / "here"


@pytest.fixture
def origin(tmp_path: Path) -> Path:
    """The repository's folder on the hub."""
    (tmp_path / "hub" / REPO).mkdir(parents=True)
    return tmp_path / "hub" / REPO


@pytest.fixture
def start(serve: Serve, origin: Path) -> Callable[[], Started]:
    """Starts the hub and lists the repository."""

    def run() -> Started:
        started = serve()
        return started, hub.look_up(REPO)

    return run


def header_of(path: Path) -> bytes:
    """The length and the JSON of a safetensors file."""
    data = path.read_bytes()
    return data[: 8 + int.from_bytes(data[:8], "little")]


class TestCheckpoint:
    """Its small files are downloaded, and the header of each shard."""

    @pytest.fixture
    def fetched(self, start: Callable[[], Started], origin: Path, folder: Path) -> tuple[Hub, list[Shard]]:
        """A checkpoint in three shards, with files that are not needed."""
        checkpoints.write(origin, shards=3)
        (origin / "modeling_evil.py").write_text("import os")
        (origin / "pytorch_model.bin").write_bytes(b"a pickle")
        started, repository = start()
        return started, checkpoint_shards(repository, folder, Recorded().connection)

    def test_small_files_are_complete(self, fetched: tuple[Hub, list[Shard]], origin: Path, folder: Path) -> None:
        names = ["config.json", "generation_config.json", "model.safetensors.index.json", "tokenizer.json"]
        assert all((folder / name).read_bytes() == (origin / name).read_bytes() for name in names)

    def test_nothing_else_is_requested(self, fetched: tuple[Hub, list[Shard]]) -> None:
        started, _ = fetched
        assert not [request for request in started.requests if "evil" in request or ".bin" in request]

    def test_each_header_is_that_of_its_shard(self, fetched: tuple[Hub, list[Shard]], origin: Path) -> None:
        _, shards = fetched
        assert [shard.name for shard in shards] == sorted(path.name for path in origin.glob("*.safetensors"))
        for shard in shards:
            assert shard.header.read_bytes() == header_of(origin / shard.name)
            tensors = safetensors.read_file(shard.at(Path("elsewhere"))).tensors
            assert tensors == safetensors.read(origin / shard.name).tensors

    def test_no_more_of_a_shard_is_downloaded(self, fetched: tuple[Hub, list[Shard]], origin: Path) -> None:
        started, shards = fetched
        for shard in shards:
            assert started.sent[shard.name] == min(SAFETENSORS_PREFIX, (origin / shard.name).stat().st_size)

    def test_a_second_call_downloads_nothing(
        self, fetched: tuple[Hub, list[Shard]], start: Callable[[], Started], folder: Path
    ) -> None:
        started, shards = fetched
        repository = hub.look_up(REPO)
        before, recorded = started.requests.total(), Recorded()
        assert checkpoint_shards(repository, folder, recorded.connection) == shards
        assert started.requests.total() == before
        assert recorded.of(Fetched) == []

    def test_a_small_file_changed_on_the_disk_is_downloaded_again(
        self, fetched: tuple[Hub, list[Shard]], origin: Path, folder: Path
    ) -> None:
        (folder / "config.json").write_bytes(b"x" * (origin / "config.json").stat().st_size)
        checkpoint_shards(hub.look_up(REPO), folder, Recorded().connection)
        assert (folder / "config.json").read_bytes() == (origin / "config.json").read_bytes()


class TestHeader:
    """A long header is downloaded completely; an absurdly long one is not."""

    @pytest.mark.parametrize("padding", [0, SAFETENSORS_PREFIX - 300, SAFETENSORS_PREFIX, 1 << 20])
    def test_of_any_length(self, start: Callable[[], Started], origin: Path, folder: Path, padding: int) -> None:
        checkpoints.write(origin)
        tensors = {name: checkpoints.stored(name, shape) for name, shape in checkpoints.Shape().tensors.items()}
        checkpoints.write_safetensors(origin / "model.safetensors", tensors)
        data, header = (origin / "model.safetensors").read_bytes(), header_of(origin / "model.safetensors")
        text = header[8:] + b" " * padding
        (origin / "model.safetensors").write_bytes(len(text).to_bytes(8, "little") + text + data[len(header) :])
        started, repository = start()
        (shard,) = checkpoint_shards(repository, folder, Recorded().connection)
        assert len(safetensors.read_file(shard.at(folder / shard.name)).tensors) == len(tensors)
        assert started.sent["model.safetensors"] == max(SAFETENSORS_PREFIX, 8 + len(text))

    @pytest.mark.parametrize("length", [0, 1 << 24, (1 << 24) + 1, 1 << 40, (1 << 64) - 1])
    def test_of_an_absurd_length(self, start: Callable[[], Started], origin: Path, folder: Path, length: int) -> None:
        checkpoints.write(origin)
        with (origin / "model.safetensors").open("r+b") as file:
            file.write(length.to_bytes(8, "little"))
            file.truncate(100 << 20)
        started, repository = start()
        (shard,) = checkpoint_shards(repository, folder, Recorded().connection)
        with pytest.raises(BadCheckpoint):
            safetensors.read_file(shard.at(folder / shard.name))
        assert started.sent["model.safetensors"] <= 8 + (16 << 20)

    @pytest.mark.parametrize("size", [1, 7, 8, 9])
    def test_missing(self, start: Callable[[], Started], origin: Path, folder: Path, size: int) -> None:
        checkpoints.write(origin)
        (origin / "model.safetensors").write_bytes(b"\1" * size)
        _, repository = start()
        (shard,) = checkpoint_shards(repository, folder, Recorded().connection)
        with pytest.raises(BadCheckpoint) as caught:
            safetensors.read_file(shard.at(folder / shard.name))
        assert "\n" not in str(caught.value)


class TestLocal:
    """Files on this disk are read and not downloaded."""

    @pytest.fixture
    def started(self, start: Callable[[], Started], origin: Path) -> Started:
        checkpoints.write(origin)
        return start()

    def fetch(self, started: Started, folder: Path) -> Shard:
        (shard,) = checkpoint_shards(started[1], folder, Recorded().connection)
        return shard

    def test_in_the_hugging_face_cache(self, started: Started, origin: Path, folder: Path) -> None:
        from huggingface_hub import snapshot_download

        cached = Path(snapshot_download(REPO))
        before = started[0].requests.total()
        shard = self.fetch(started, folder)
        assert shard.cached == cached / "model.safetensors"
        assert shard.header.read_bytes() == header_of(origin / "model.safetensors")
        assert (folder / "config.json").read_bytes() == (origin / "config.json").read_bytes()
        assert not (folder / "config.json").is_symlink()
        assert started[0].requests.total() == before

    def test_a_small_file_damaged_in_the_cache_is_downloaded(
        self, started: Started, origin: Path, folder: Path
    ) -> None:
        from huggingface_hub import snapshot_download

        cached = Path(snapshot_download(REPO)) / "config.json"
        cached.resolve().write_bytes(b"x" * cached.stat().st_size)
        self.fetch(started, folder)
        assert (folder / "config.json").read_bytes() == (origin / "config.json").read_bytes()
        assert set(cached.read_bytes()) == set(b"x")

    def test_left_by_an_earlier_run(self, started: Started, origin: Path, folder: Path) -> None:
        data = (origin / "model.safetensors").read_bytes()
        (folder / "model.safetensors").write_bytes(data)
        shard = self.fetch(started, folder)
        assert shard.header.read_bytes() == header_of(origin / "model.safetensors")
        assert started[0].sent["model.safetensors"] == 0

    def test_a_file_of_another_size_is_removed(self, started: Started, origin: Path, folder: Path) -> None:
        (folder / "model.safetensors").write_bytes(b"x" * 1000)
        shard = self.fetch(started, folder)
        assert shard.header.read_bytes() == header_of(origin / "model.safetensors")
        assert not (folder / "model.safetensors").exists()

    def test_a_partial_file(self, started: Started, origin: Path, folder: Path) -> None:
        data = (origin / "model.safetensors").read_bytes()
        (folder / "model.safetensors.partial").write_bytes(data[:200_000])
        assert self.fetch(started, folder).header.read_bytes() == header_of(origin / "model.safetensors")
        assert started[0].sent["model.safetensors"] == 0
        assert (folder / "model.safetensors.partial").read_bytes() == data[:200_000]


class TestRefused:
    """A repository that is not a checkpoint is refused when only its small files have been downloaded."""

    def refused(
        self, start: Callable[[], Started], folder: Path, message: str, kind: type[R1Error] = BadCheckpoint
    ) -> Hub:
        started, repository = start()
        with pytest.raises(kind, match=message) as caught:
            checkpoint_shards(repository, folder, Recorded().connection)
        assert "\n" not in str(caught.value)
        assert not [name for name in started.sent if name.endswith(".safetensors")]
        return started

    @pytest.mark.parametrize(
        "shard", ["../x.safetensors", "/x.safetensors", "a\\x.safetensors", "x.bin", "C:x.safetensors", 7]
    )
    def test_an_index_that_points_outside_the_folder(
        self, start: Callable[[], Started], origin: Path, folder: Path, shard: object
    ) -> None:
        checkpoints.write(origin, shards=2)
        checkpoints.write_json(origin / "model.safetensors.index.json", {"weight_map": {"lm_head.weight": shard}})
        self.refused(start, folder, "'lm_head.weight' points to")
        assert not [*folder.parent.glob("*.safetensors*")]

    def test_an_index_with_a_missing_shard(self, start: Callable[[], Started], origin: Path, folder: Path) -> None:
        checkpoints.write(origin, shards=2)
        (origin / "model-00002-of-00002.safetensors").unlink()
        self.refused(start, folder, "has no 'model-00002-of-00002.safetensors'")

    @pytest.mark.parametrize("text", ["[]", "{", "{}", '{"weight_map": []}', "\x00", "[" * 100_000])
    def test_an_invalid_index(self, start: Callable[[], Started], origin: Path, folder: Path, text: str) -> None:
        checkpoints.write(origin, shards=2)
        (origin / "model.safetensors.index.json").write_text(text)
        self.refused(start, folder, r"index\.json: ")

    def test_empty_weights(self, start: Callable[[], Started], origin: Path, folder: Path) -> None:
        checkpoints.write(origin)
        (origin / "model.safetensors").write_bytes(b"")
        self.refused(start, folder, r"'model\.safetensors' is empty")

    def test_no_weights(self, start: Callable[[], Started], origin: Path, folder: Path) -> None:
        checkpoints.write(origin)
        (origin / "model.safetensors").rename(origin / "weights.safetensors")
        self.refused(start, folder, r"neither model\.safetensors nor")

    def test_a_small_file_that_always_arrives_damaged(
        self, start: Callable[[], Started], origin: Path, folder: Path
    ) -> None:
        checkpoints.write(origin)
        started, repository = start()
        started.faults = [Fault("*/config.json", "flip", times=-1, after=0)]
        with pytest.raises(NetworkError, match=r"config\.json: it arrived with the digest"):
            checkpoint_shards(repository, folder, Recorded().connection)
        assert not (folder / "config.json").exists()


class TestGGUF:
    """The complete header of a GGUF, or of each of its parts, is downloaded."""

    def test_a_single_file(self, start: Callable[[], Started], origin: Path, folder: Path, gguf: Path) -> None:
        (origin / "sub").mkdir()
        (origin / "sub" / "m.gguf").write_bytes(gguf.read_bytes())
        _, repository = start()
        (part,) = gguf_parts(repository, ["sub/m.gguf"], folder, Recorded().connection)
        assert (part.name, part.header) == ("m.gguf", folder / "m.gguf.header")
        header = reader.read_file(part.at(folder / "m.gguf"))
        wanted = reference.GGUFReader(gguf)
        assert [(tensor.name, tensor.offset) for tensor in header.tensors] == [
            (tensor.name, tensor.data_offset) for tensor in wanted.tensors
        ]

    def test_several_parts(self, start: Callable[[], Started], origin: Path, folder: Path, gguf: Path) -> None:
        parts = splits.split(gguf, origin, 10)
        _, repository = start()
        found = gguf_parts(repository, [path.name for path in parts], folder, Recorded().connection)
        assert [part.name for part in found] == [path.name for path in parts]

    def test_a_vocabulary_longer_than_the_prefix(
        self, start: Callable[[], Started], origin: Path, folder: Path
    ) -> None:
        writer = reference.GGUFWriter(origin / "m.gguf", "qwen2")
        writer.add_token_list([f"{number:040}" for number in range(GGUF_PREFIX // 40)])
        writer.add_tensor("t", reference.np.zeros(32 * 40_000, dtype="float32"))
        splits.finish(writer)
        started, repository = start()
        (part,) = gguf_parts(repository, ["m.gguf"], folder, Recorded().connection)
        assert reader.read_file(part.at(folder / "m.gguf")).tensors[0].nbytes == 4 * 32 * 40_000
        assert GGUF_PREFIX < started.sent["m.gguf"] <= (origin / "m.gguf").stat().st_size

    @pytest.mark.parametrize("content", [b"", b"hello", b"GGUF" + bytes(100), b"<html>" * 1000])
    def test_an_invalid_file(self, start: Callable[[], Started], origin: Path, folder: Path, content: bytes) -> None:
        (origin / "m.gguf").write_bytes(content)
        _, repository = start()
        self.refused(repository, folder)

    def test_an_endless_header_is_not_downloaded_to_its_end(
        self, start: Callable[[], Started], origin: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        key = (3).to_bytes(8, "little") + b"key" + (8).to_bytes(4, "little") + (1 << 40).to_bytes(8, "little")
        (origin / "m.gguf").write_bytes(
            b"GGUF" + b"".join(n.to_bytes(w, "little") for n, w in ((3, 4), (1, 8), (1, 8))) + key
        )
        with (origin / "m.gguf").open("r+b") as file:
            file.truncate(40 << 20)
        monkeypatch.setattr(headers, "_MAX_GGUF_HEADER_BYTES", 1 << 24)
        started, repository = start()
        self.refused(repository, folder)
        assert started.sent["m.gguf"] == 2 << 24  # it is tried twice

    def refused(self, repository: Repository, folder: Path) -> None:
        def fetch() -> None:
            for part in gguf_parts(repository, ["m.gguf"], folder, Recorded().connection):
                reader.read_file(part.at(folder / "m.gguf"))

        with pytest.raises(BadFile) as caught:
            fetch()
        assert "\n" not in str(caught.value)

    def test_a_missing_file(self, start: Callable[[], Started], origin: Path, folder: Path) -> None:
        (origin / "x").write_text("x")
        _, repository = start()
        with pytest.raises(BadCheckpoint, match=r"has no 'm\.gguf'"):
            gguf_parts(repository, ["m.gguf"], folder, Recorded().connection)
