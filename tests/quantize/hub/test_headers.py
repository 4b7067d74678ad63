"""`r1_quantize.hub.headers`: enough of a repository to know all that will be made of it, and no more."""

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
from tests.fakes.hub import Fault, Hub
from tests.fakes.lines import Recorded
from tests.quantize.conftest import Serve

REPO = "some-owner/some-model"
SHARD, GGUF = 1 << 17, 1 << 22  # bytes that are looked at first

Began = tuple[Hub, Repository]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where files of the repository lie here."""
    (tmp_path / "here").mkdir()
    return tmp_path / "here"


@pytest.fixture
def there(tmp_path: Path) -> Path:
    """The repository's folder on the hub."""
    (tmp_path / "hub" / REPO).mkdir(parents=True)
    return tmp_path / "hub" / REPO


@pytest.fixture
def begin(serve: Serve, there: Path) -> Callable[[], Began]:
    """Starts the hub and asks what it has."""

    def began() -> Began:
        started = serve()
        return started, hub.look_up(REPO)

    return began


def header_of(path: Path) -> bytes:
    """The length and the JSON of a safetensors file."""
    data = path.read_bytes()
    return data[: 8 + int.from_bytes(data[:8], "little")]


class TestCheckpoint:
    """Its small files are here, and of each shard at least the header."""

    @pytest.fixture
    def looked_at(self, begin: Callable[[], Began], there: Path, folder: Path) -> tuple[Hub, list[Shard]]:
        """A checkpoint in three shards, with files that nobody wants."""
        checkpoints.write(there, shards=3)
        (there / "modeling_evil.py").write_text("import os")
        (there / "pytorch_model.bin").write_bytes(b"a pickle")
        started, repository = begin()
        return started, checkpoint_shards(repository, folder, Recorded().line)

    def test_small_files_are_whole(self, looked_at: tuple[Hub, list[Shard]], there: Path, folder: Path) -> None:
        names = ["config.json", "generation_config.json", "model.safetensors.index.json", "tokenizer.json"]
        assert all((folder / name).read_bytes() == (there / name).read_bytes() for name in names)

    def test_nothing_else_is_asked_for(self, looked_at: tuple[Hub, list[Shard]]) -> None:
        started, _ = looked_at
        assert not [request for request in started.requests if "evil" in request or ".bin" in request]

    def test_headers_are_what_shards_begin_with(self, looked_at: tuple[Hub, list[Shard]], there: Path) -> None:
        _, shards = looked_at
        assert [shard.name for shard in shards] == sorted(path.name for path in there.glob("*.safetensors"))
        for shard in shards:
            assert shard.header.read_bytes() == header_of(there / shard.name)
            tensors = safetensors.read_file(shard.at(Path("elsewhere"))).tensors
            assert tensors == safetensors.read(there / shard.name).tensors

    def test_no_more_of_a_shard_is_fetched(self, looked_at: tuple[Hub, list[Shard]], there: Path) -> None:
        started, shards = looked_at
        for shard in shards:
            assert started.sent[shard.name] == min(SHARD, (there / shard.name).stat().st_size)

    def test_a_second_look_fetches_nothing(
        self, looked_at: tuple[Hub, list[Shard]], begin: Callable[[], Began], folder: Path
    ) -> None:
        started, shards = looked_at
        repository = hub.look_up(REPO)
        before, said = started.requests.total(), Recorded()
        assert checkpoint_shards(repository, folder, said.line) == shards
        assert started.requests.total() == before
        assert said.of(Fetched) == []

    def test_a_small_file_that_was_changed_here_comes_again(
        self, looked_at: tuple[Hub, list[Shard]], there: Path, folder: Path
    ) -> None:
        (folder / "config.json").write_bytes(b"x" * (there / "config.json").stat().st_size)
        checkpoint_shards(hub.look_up(REPO), folder, Recorded().line)
        assert (folder / "config.json").read_bytes() == (there / "config.json").read_bytes()


class TestHeader:
    """A long header is here whole; an absurd one is not followed."""

    @pytest.mark.parametrize("padding", [0, SHARD - 300, SHARD, 1 << 20])
    def test_of_any_length(self, begin: Callable[[], Began], there: Path, folder: Path, padding: int) -> None:
        checkpoints.write(there)
        tensors = {name: checkpoints.stored(name, shape) for name, shape in checkpoints.Shape().tensors.items()}
        checkpoints.write_safetensors(there / "model.safetensors", tensors)
        data, header = (there / "model.safetensors").read_bytes(), header_of(there / "model.safetensors")
        text = header[8:] + b" " * padding
        (there / "model.safetensors").write_bytes(len(text).to_bytes(8, "little") + text + data[len(header) :])
        started, repository = begin()
        (shard,) = checkpoint_shards(repository, folder, Recorded().line)
        assert len(safetensors.read_file(shard.at(folder / shard.name)).tensors) == len(tensors)
        assert started.sent["model.safetensors"] == max(SHARD, 8 + len(text))

    @pytest.mark.parametrize("length", [0, 1 << 24, (1 << 24) + 1, 1 << 40, (1 << 64) - 1])
    def test_that_is_said_to_be_absurdly_long(
        self, begin: Callable[[], Began], there: Path, folder: Path, length: int
    ) -> None:
        checkpoints.write(there)
        with (there / "model.safetensors").open("r+b") as file:
            file.write(length.to_bytes(8, "little"))
            file.truncate(100 << 20)
        started, repository = begin()
        (shard,) = checkpoint_shards(repository, folder, Recorded().line)
        with pytest.raises(BadCheckpoint):
            safetensors.read_file(shard.at(folder / shard.name))
        assert started.sent["model.safetensors"] <= 8 + (16 << 20)

    @pytest.mark.parametrize("size", [1, 7, 8, 9])
    def test_of_a_file_that_has_none(self, begin: Callable[[], Began], there: Path, folder: Path, size: int) -> None:
        checkpoints.write(there)
        (there / "model.safetensors").write_bytes(b"\1" * size)
        _, repository = begin()
        (shard,) = checkpoint_shards(repository, folder, Recorded().line)
        with pytest.raises(BadCheckpoint) as caught:
            safetensors.read_file(shard.at(folder / shard.name))
        assert "\n" not in str(caught.value)


class TestHere:
    """What is on this disk already is looked at there."""

    @pytest.fixture
    def began(self, begin: Callable[[], Began], there: Path) -> Began:
        checkpoints.write(there)
        return begin()

    def look(self, began: Began, folder: Path) -> Shard:
        (shard,) = checkpoint_shards(began[1], folder, Recorded().line)
        return shard

    def test_in_the_cache_of_huggingface(self, began: Began, there: Path, folder: Path) -> None:
        from huggingface_hub import snapshot_download

        cached = Path(snapshot_download(REPO))
        before = began[0].requests.total()
        shard = self.look(began, folder)
        assert shard.cached == cached / "model.safetensors"
        assert shard.header.read_bytes() == header_of(there / "model.safetensors")
        assert (folder / "config.json").read_bytes() == (there / "config.json").read_bytes()
        assert not (folder / "config.json").is_symlink()
        assert began[0].requests.total() == before

    def test_a_small_file_that_is_damaged_in_the_cache_is_fetched(
        self, began: Began, there: Path, folder: Path
    ) -> None:
        from huggingface_hub import snapshot_download

        cached = Path(snapshot_download(REPO)) / "config.json"
        cached.resolve().write_bytes(b"x" * cached.stat().st_size)
        self.look(began, folder)
        assert (folder / "config.json").read_bytes() == (there / "config.json").read_bytes()
        assert set(cached.read_bytes()) == set(b"x")

    def test_left_by_an_earlier_run(self, began: Began, there: Path, folder: Path) -> None:
        data = (there / "model.safetensors").read_bytes()
        (folder / "model.safetensors").write_bytes(data)
        shard = self.look(began, folder)
        assert shard.header.read_bytes() == header_of(there / "model.safetensors")
        assert began[0].sent["model.safetensors"] == 0

    def test_of_another_size_it_is_of_no_use(self, began: Began, there: Path, folder: Path) -> None:
        (folder / "model.safetensors").write_bytes(b"x" * 1000)
        shard = self.look(began, folder)
        assert shard.header.read_bytes() == header_of(there / "model.safetensors")
        assert not (folder / "model.safetensors").exists()

    def test_in_part(self, began: Began, there: Path, folder: Path) -> None:
        data = (there / "model.safetensors").read_bytes()
        (folder / "model.safetensors.partial").write_bytes(data[:200_000])
        assert self.look(began, folder).header.read_bytes() == header_of(there / "model.safetensors")
        assert began[0].sent["model.safetensors"] == 0
        assert (folder / "model.safetensors.partial").read_bytes() == data[:200_000]


class TestRefused:
    """What cannot be a checkpoint costs no more than its small files."""

    def refused(self, begin: Callable[[], Began], folder: Path, said: str, kind: type[R1Error] = BadCheckpoint) -> Hub:
        started, repository = begin()
        with pytest.raises(kind, match=said) as caught:
            checkpoint_shards(repository, folder, Recorded().line)
        assert "\n" not in str(caught.value)
        assert not [name for name in started.sent if name.endswith(".safetensors")]
        return started

    @pytest.mark.parametrize(
        "shard", ["../x.safetensors", "/x.safetensors", "a\\x.safetensors", "x.bin", "C:x.safetensors", 7]
    )
    def test_an_index_that_leads_elsewhere(
        self, begin: Callable[[], Began], there: Path, folder: Path, shard: object
    ) -> None:
        checkpoints.write(there, shards=2)
        checkpoints.write_json(there / "model.safetensors.index.json", {"weight_map": {"lm_head.weight": shard}})
        self.refused(begin, folder, "'lm_head.weight' points to")
        assert not [*folder.parent.glob("*.safetensors*")]

    def test_an_index_of_what_is_not_there(self, begin: Callable[[], Began], there: Path, folder: Path) -> None:
        checkpoints.write(there, shards=2)
        (there / "model-00002-of-00002.safetensors").unlink()
        self.refused(begin, folder, "has no 'model-00002-of-00002.safetensors'")

    @pytest.mark.parametrize("text", ["[]", "{", "{}", '{"weight_map": []}', "\x00", "[" * 100_000])
    def test_an_index_that_is_none(self, begin: Callable[[], Began], there: Path, folder: Path, text: str) -> None:
        checkpoints.write(there, shards=2)
        (there / "model.safetensors.index.json").write_text(text)
        self.refused(begin, folder, r"index\.json: ")

    def test_weights_that_are_empty(self, begin: Callable[[], Began], there: Path, folder: Path) -> None:
        checkpoints.write(there)
        (there / "model.safetensors").write_bytes(b"")
        self.refused(begin, folder, r"'model\.safetensors' is empty")

    def test_no_weights_at_all(self, begin: Callable[[], Began], there: Path, folder: Path) -> None:
        checkpoints.write(there)
        (there / "model.safetensors").rename(there / "weights.safetensors")
        self.refused(begin, folder, r"neither model\.safetensors nor")

    def test_a_small_file_that_always_comes_damaged(
        self, begin: Callable[[], Began], there: Path, folder: Path
    ) -> None:
        checkpoints.write(there)
        started, repository = begin()
        started.faults = [Fault("*/config.json", "flip", times=-1, after=0)]
        with pytest.raises(NetworkError, match=r"config\.json: it came with the digest"):
            checkpoint_shards(repository, folder, Recorded().line)
        assert not (folder / "config.json").exists()


class TestGGUF:
    """Of a GGUF, or each of its parts, all keys are here."""

    def test_in_one_file(self, begin: Callable[[], Began], there: Path, folder: Path, gguf: Path) -> None:
        (there / "sub").mkdir()
        (there / "sub" / "m.gguf").write_bytes(gguf.read_bytes())
        _, repository = begin()
        (part,) = gguf_parts(repository, ["sub/m.gguf"], folder, Recorded().line)
        assert (part.name, part.header) == ("m.gguf", folder / "m.gguf.header")
        found = reader.read_file(part.at(folder / "m.gguf"))
        wanted = reference.GGUFReader(gguf)
        assert [(tensor.name, tensor.offset) for tensor in found.tensors] == [
            (tensor.name, tensor.data_offset) for tensor in wanted.tensors
        ]

    def test_in_parts(self, begin: Callable[[], Began], there: Path, folder: Path, gguf: Path) -> None:
        parts = splits.split(gguf, there, 10)
        _, repository = begin()
        found = gguf_parts(repository, [path.name for path in parts], folder, Recorded().line)
        assert [part.name for part in found] == [path.name for path in parts]

    def test_with_a_vocabulary_longer_than_the_first_look(
        self, begin: Callable[[], Began], there: Path, folder: Path
    ) -> None:
        writer = reference.GGUFWriter(there / "m.gguf", "qwen2")
        writer.add_token_list([f"{number:040}" for number in range(GGUF // 40)])
        writer.add_tensor("t", reference.np.zeros(32 * 40_000, dtype="float32"))
        splits.finish(writer)
        started, repository = begin()
        (part,) = gguf_parts(repository, ["m.gguf"], folder, Recorded().line)
        assert reader.read_file(part.at(folder / "m.gguf")).tensors[0].nbytes == 4 * 32 * 40_000
        assert GGUF < started.sent["m.gguf"] <= (there / "m.gguf").stat().st_size

    @pytest.mark.parametrize("content", [b"", b"hello", b"GGUF" + bytes(100), b"<html>" * 1000])
    def test_what_is_none(self, begin: Callable[[], Began], there: Path, folder: Path, content: bytes) -> None:
        (there / "m.gguf").write_bytes(content)
        _, repository = begin()
        self.refused(repository, folder)

    def test_that_announces_keys_without_end_is_not_followed_to_its_end(
        self, begin: Callable[[], Began], there: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        key = (3).to_bytes(8, "little") + b"key" + (8).to_bytes(4, "little") + (1 << 40).to_bytes(8, "little")
        (there / "m.gguf").write_bytes(
            b"GGUF" + b"".join(n.to_bytes(w, "little") for n, w in ((3, 4), (1, 8), (1, 8))) + key
        )
        with (there / "m.gguf").open("r+b") as file:
            file.truncate(40 << 20)
        monkeypatch.setattr(headers, "_MOST", 1 << 24)
        started, repository = begin()
        self.refused(repository, folder)
        assert started.sent["m.gguf"] == 2 << 24  # it is looked at twice

    def refused(self, repository: Repository, folder: Path) -> None:
        def look() -> None:
            for part in gguf_parts(repository, ["m.gguf"], folder, Recorded().line):
                reader.read_file(part.at(folder / "m.gguf"))

        with pytest.raises(BadFile) as caught:
            look()
        assert "\n" not in str(caught.value)

    def test_that_is_not_in_the_repository(self, begin: Callable[[], Began], there: Path, folder: Path) -> None:
        (there / "x").write_text("x")
        _, repository = begin()
        with pytest.raises(BadCheckpoint, match=r"has no 'm\.gguf'"):
            gguf_parts(repository, ["m.gguf"], folder, Recorded().line)
