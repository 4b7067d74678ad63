"""`r1_quantize.checkpoint.checkpoint`: the files of a checkpoint folder."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from r1_quantize.checkpoint.checkpoint import CheckpointFolder, read_json
from r1_quantize.checkpoint.checkpoint_source import checkpoint_source
from r1_quantize.errors import BadCheckpoint
from tests.fakes import checkpoints
from tests.fakes.checkpoints import Shape

INDEX = "model.safetensors.index.json"


def refused(folder: Path, said: str) -> None:
    """Checks that the folder is refused in one line that names it."""
    with pytest.raises(BadCheckpoint, match=said) as caught:
        CheckpointFolder(folder)
    assert str(folder) in str(caught.value)
    assert "\n" not in str(caught.value)


class TestTensors:
    """Tensors are sorted by shard, then name."""

    def test_of_one_file(self, fake: Path) -> None:
        assert list(CheckpointFolder(fake).tensors) == sorted(checkpoints.Shape().tensors)

    def test_of_shards(self, tmp_path: Path) -> None:
        path = checkpoints.write(tmp_path / "sharded", shards=3)
        index = json.loads((path / INDEX).read_text())["weight_map"]
        assert list(CheckpointFolder(path).tensors) == sorted(index, key=lambda name: (index[name], name))

    def test_of_shards_without_an_index(self, tmp_path: Path) -> None:
        path = checkpoints.write(tmp_path / "sharded", shards=3)
        indexed = CheckpointFolder(path).tensors
        (path / INDEX).unlink()
        assert list(CheckpointFolder(path).tensors.items()) == list(indexed.items())

    def test_of_shards_that_are_links_like_in_the_hubs_cache(self, tmp_path: Path) -> None:
        path = checkpoints.write(tmp_path / "snapshot")
        blobs = tmp_path / "blobs"
        blobs.mkdir()
        for file in list(path.iterdir()):
            file.rename(blobs / file.name)
            file.symlink_to(os.path.relpath(blobs / file.name, path))
        assert "lm_head.weight" in CheckpointFolder(path).tensors

    def test_have_the_offsets_in_their_shard(self, tmp_path: Path) -> None:
        path = checkpoints.write(tmp_path / "sharded", shards=3)
        index = json.loads((path / INDEX).read_text())["weight_map"]
        for name, tensor in CheckpointFolder(path).tensors.items():
            shard, stored = tensor.shard, tensor.stored
            assert shard == path / index[name]
            data = shard.read_bytes()[stored.offset : stored.offset + stored.nbytes]
            assert (stored.dtype, stored.shape, data) == checkpoints.stored(name, checkpoints.Shape().tensors[name])


class TestFiles:
    """Has the shards in order, and a digest of every other file that was read."""

    def test_the_shards_in_order(self, tmp_path: Path) -> None:
        path = checkpoints.write(tmp_path / "sharded", shards=3)
        shards = sorted(path.glob("*.safetensors"))
        assert [(shard.file.path, shard.file.size) for shard in CheckpointFolder(path).shards] == [
            (shard, shard.stat().st_size) for shard in shards
        ]

    def test_a_digest_of_every_other_file_that_was_read(self, tmp_path: Path) -> None:
        path = checkpoints.write(tmp_path / "sharded", shards=2)
        (path / "chat_template.jinja").write_text("{{ ‘messages’ }}", encoding="utf-8")
        folder = CheckpointFolder(path)
        assert sorted(folder.digests) == ["config.json", INDEX]
        folder.json("tokenizer.json")
        folder.optional_text("chat_template.jinja")
        assert folder.digests == {
            name: hashlib.sha256((path / name).read_bytes()).hexdigest()
            for name in ("config.json", INDEX, "tokenizer.json", "chat_template.jinja")
        }

    def test_no_digest_of_a_missing_file(self, fake: Path) -> None:
        folder = CheckpointFolder(fake)
        assert folder.optional_json("none.json") is None
        assert folder.optional_text("none.jinja") is None
        assert list(folder.digests) == ["config.json"]

    def test_no_digest_of_a_file_read_with_read_json(self, fake: Path, tmp_path: Path) -> None:
        assert read_json(fake / "config.json") == checkpoints.Shape().config
        assert read_json(tmp_path / "config.json") is None

    @pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "generation_config.json"])
    def test_a_byte_order_mark_is_not_part_of_the_text(self, fake: Path, tmp_path: Path, name: str) -> None:
        folder = Path(shutil.copytree(fake, tmp_path / "c"))
        (folder / name).write_bytes(b"\xef\xbb\xbf" + (fake / name).read_bytes())
        assert CheckpointFolder(folder).json(name) == json.loads((fake / name).read_text(encoding="utf-8"))

    def test_a_missing_required_file_is_named(self, fake: Path) -> None:
        with pytest.raises(BadCheckpoint, match=r"none\.json is missing"):
            CheckpointFolder(fake).json("none.json")


class TestDamage:
    """An incomplete folder is refused with the missing or damaged file."""

    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        return checkpoints.write(tmp_path / "sharded", shards=3)

    def test_no_folder(self, tmp_path: Path) -> None:
        refused(tmp_path / "none", "not a checkpoint folder")

    def test_no_config(self, path: Path) -> None:
        (path / "config.json").unlink()
        refused(path, "config.json is missing")

    def test_no_weights(self, path: Path) -> None:
        for file in path.glob("model*"):
            file.unlink()
        refused(path, "neither model.safetensors nor model.safetensors.index.json")

    def test_pickles_are_not_weights(self, path: Path) -> None:
        for file in path.glob("model*"):
            file.unlink()
        (path / "pytorch_model.bin").write_bytes(b"\x80\x04.")
        refused(path, "neither model.safetensors nor")

    def test_a_missing_shard(self, path: Path) -> None:
        (path / "model-00002-of-00003.safetensors").unlink()
        refused(path, "the shard model-00002-of-00003.safetensors is missing")

    def test_a_tensor_missing_in_its_shard(self, path: Path) -> None:
        index = json.loads((path / INDEX).read_text())
        index["weight_map"]["model.extra.weight"] = "model-00001-of-00003.safetensors"
        checkpoints.write_json(path / INDEX, index)
        refused(path, "model-00001-of-00003.safetensors: the tensor model.extra.weight is missing")

    def test_a_tensor_in_two_shards(self, path: Path) -> None:
        (path / "model-00002-of-00003.safetensors").write_bytes(
            (path / "model-00001-of-00003.safetensors").read_bytes()
        )
        refused(path, "belongs to another shard")

    @pytest.mark.parametrize(
        "shard",
        ["../x.safetensors", "/etc/passwd", "a/b.safetensors", "a\\b.safetensors", "C:x.safetensors", "x.bin", "", 7],
    )
    def test_an_index_that_points_elsewhere(self, path: Path, tmp_path: Path, shard: Any) -> None:
        checkpoints.write_safetensors(tmp_path / "x.safetensors", {"a": checkpoints.stored("a", (8,))})
        checkpoints.write_json(path / INDEX, {"weight_map": {"a": shard}})
        refused(path, "'a' points to")

    @pytest.mark.parametrize("index", [{}, {"weight_map": {}}, {"weight_map": ["a"]}, {"weight_map": None}])
    def test_an_index_without_a_map(self, path: Path, index: Any) -> None:
        checkpoints.write_json(path / INDEX, index)
        refused(path, "no weight_map")

    @pytest.mark.parametrize("name", ["config.json", INDEX])
    @pytest.mark.parametrize(
        ("content", "said"),
        [
            (b"", "an empty file; download it again"),
            (b"null", "not a JSON object"),
            (b"{", "not JSON"),
            (b"[]", "not a JSON object"),
            (b"\xff\xfe", "not UTF-8 at byte 0"),
            (b'{"a":' * 100_000, "not JSON"),
            (b'{"a": ' + b"9" * 5000 + b"}", "not JSON"),
        ],
    )
    def test_broken_json(self, path: Path, name: str, content: bytes, said: str) -> None:
        (path / name).write_bytes(content)
        refused(path, f"{name}: {said}")

    def test_absurdly_large_json_is_not_read(self, path: Path) -> None:
        with (path / "config.json").open("wb") as file:
            file.truncate(1 << 40)
        refused(path, "1,099,511,627,776 bytes is too large")

    @pytest.mark.parametrize("missing", [1, 2, 3])
    def test_a_missing_shard_is_named_even_without_an_index(self, tmp_path: Path, missing: int) -> None:
        folder = checkpoints.write(tmp_path / "c", shards=3)
        (folder / INDEX).unlink()
        name = f"model-{missing:05}-of-00003.safetensors"
        (folder / name).unlink()
        refused(folder, f"the shard {name} is missing; download it to this folder")

    def test_shards_of_two_models(self, tmp_path: Path) -> None:
        one = checkpoints.write(tmp_path / "one", Shape(hidden=32, inner=32, heads=1, kv_heads=1), shards=2)
        other = checkpoints.write(tmp_path / "other", Shape(hidden=64, inner=32, heads=1, kv_heads=1), shards=2)
        shutil.copy(other / "model-00002-of-00002.safetensors", one)
        with pytest.raises(BadCheckpoint, match=r"but config\.json requires .*; they are not of one model"):
            checkpoint_source(CheckpointFolder(one), "x")

    @pytest.mark.parametrize(
        ("instead", "said"),
        [("tokenizer.model", "a vocabulary of another kind"), ("vocab.json", "of vocab.json and merges.txt")],
    )
    def test_another_kind_of_tokenizer_is_named(self, tmp_path: Path, instead: str, said: str) -> None:
        folder = checkpoints.write(tmp_path / "c")
        (folder / "tokenizer.json").rename(folder / instead)
        with pytest.raises(BadCheckpoint, match=f"tokenizer.json is missing; .*{said}"):
            checkpoint_source(CheckpointFolder(folder), "x")
