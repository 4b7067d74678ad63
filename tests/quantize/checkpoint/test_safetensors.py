"""`r1_quantize.checkpoint.safetensors`: reads valid headers, refuses damaged and hostile ones."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random
from typing import Any

import pytest

from r1_quantize.checkpoint.safetensors import read
from r1_quantize.errors import BadCheckpoint
from r1_quantize.gguf.tensor_type import TensorType
from tests.fakes import checkpoints


def header(**tensors: Any) -> bytes:
    """A header with the given tensors."""
    return json.dumps(tensors).encode()


def tensor(begin: int, end: int, *, dtype: object = "BF16", shape: object = None) -> dict[str, Any]:
    """A tensor's entry in the header; by default a row of 16-bit values."""
    return {"dtype": dtype, "shape": [(end - begin) // 2] if shape is None else shape, "data_offsets": [begin, end]}


class TestTensors:
    """A valid file gives its tensors and the places of their bytes."""

    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        path = tmp_path / "model.safetensors"
        stored = {name: checkpoints.stored(name, (4, 8)) for name in ("b", "c", "a")}
        checkpoints.write_safetensors(path, stored)
        return path

    def test_are_sorted_by_name(self, path: Path) -> None:
        assert list(read(path).tensors) == ["a", "b", "c"]

    def test_have_the_offsets_of_their_bytes(self, path: Path) -> None:
        content = path.read_bytes()
        for name, found in read(path).tensors.items():
            data = content[found.offset : found.offset + found.nbytes]
            assert (found.name, found.dtype, found.shape, data) == (name, *checkpoints.stored(name, (4, 8)))

    def test_have_the_files_path_and_size(self, path: Path) -> None:
        found = read(path)
        assert (found.file.path, found.file.size) == (path, path.stat().st_size)

    def test_have_a_ggml_type(self, tmp_path: Path) -> None:
        path = tmp_path / "model.safetensors"
        entries = header(a=tensor(0, 4), b=tensor(4, 8, dtype="I32", shape=[1]), c=tensor(8, 12, dtype="F16"))
        checkpoints.write_raw_safetensors(path, entries, bytes(12))
        assert [found.type for found in read(path).tensors.values()] == [TensorType.BF16, None, TensorType.F16]

    def test_may_have_no_values_or_no_dimensions(self, tmp_path: Path) -> None:
        path = tmp_path / "model.safetensors"
        entries = header(a=tensor(0, 0, shape=[0, 7]), b=tensor(0, 2, shape=[]), c=tensor(2, 2, shape=[0]))
        checkpoints.write_raw_safetensors(path, entries, bytes(2))
        assert {name: found.shape for name, found in read(path).tensors.items()} == {"a": (0, 7), "b": (), "c": (0,)}


class TestHostileBytes:
    """Any bytes give tensors, or BadCheckpoint that names the file."""

    def check(self, path: Path, said: str) -> None:
        with pytest.raises(BadCheckpoint, match=said) as caught:
            read(path)
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)

    @pytest.mark.parametrize(
        ("entries", "said"),
        [
            (b"", "a header of 0 bytes"),
            (b"{", "a header of 1 bytes"),
            (b"{]", "not JSON"),
            (b"\xff\xff", "not JSON"),
            (b"[]", "not a JSON object"),
            (b"[" * 50_000, "not JSON"),
            (b'{"a": ' + b"1" * 5000 + b"}", "not JSON"),
            (b'{"a": {}, "a": {}}', "duplicate key"),
            (header(a=7), "bad description of tensor 'a': 7"),
            (header(a={}), "bad description of tensor"),
            (header(a=tensor(0, 8) | {"data_offsets": [0]}), "bad description of tensor"),
            (header(a=tensor(0, 8) | {"data_offsets": [0, 8.0]}), "bad description of tensor"),
            (header(a=tensor(0, 8, dtype="BF17")), "the unknown dtype 'BF17'"),
            (header(a=tensor(0, 8, dtype=["BF16"])), "bad description of tensor"),
            (header(a=tensor(0, 8, shape=[-4])), "has the shape"),
            (header(a=tensor(0, 8, shape=[4.0])), "has the shape"),
            (header(a=tensor(0, 8, shape=[True, 4])), "has the shape"),
            (header(a=tensor(0, 8, shape=[5])), "has 8 bytes for BF16"),
            (header(a=tensor(0, 8, shape=[1 << 62, 1 << 62])), "has the shape"),
            (header(a=tensor(0, 8, shape=[1] * 9)), "has the shape"),
            (header(a=tensor(0, 8, shape=[10**4000] * 100)), "has the shape"),
            (header(a=tensor(8, 0, shape=[4])), "lies outside the file"),
            (header(a=tensor(-8, 0)), "lies outside the file"),
            (header(a=tensor(0, 10**4200, shape=[4])), "lies outside the file"),
            (header(a=tensor(0, 6)), r"\d+ bytes long, but the header describes \d+"),
            (header(a=tensor(0, 10)), "the header describes"),
            (header(a=tensor(0, 4), b=tensor(0, 4)), "'b' overlaps another"),
            (header(a=tensor(0, 6), b=tensor(4, 8)), "'b' overlaps another"),
            (header(a=tensor(0, 2), b=tensor(4, 8)), "'b' leaves a gap"),
            (header(a=tensor(2, 8)), "'a' leaves a gap"),
            (header(), "the header describes"),
        ],
    )
    def test_a_header_that_lies(self, tmp_path: Path, entries: bytes, said: str) -> None:
        path = tmp_path / "model.safetensors"
        checkpoints.write_raw_safetensors(path, entries, bytes(8))
        self.check(path, said)

    @pytest.mark.parametrize("length", [0, 1, 1 << 20, 1 << 40, (1 << 64) - 1])
    def test_a_length_that_lies(self, tmp_path: Path, length: int) -> None:
        path = tmp_path / "model.safetensors"
        checkpoints.write_raw_safetensors(path, header(a=tensor(0, 8)), bytes(8), length)
        self.check(path, f"a header of {length:,} bytes")

    @pytest.mark.parametrize(("content", "said"), [(b"", "an empty file"), (b"\2\0\0\0", "only 4 bytes long")])
    def test_a_file_too_short_for_a_header(self, tmp_path: Path, content: bytes, said: str) -> None:
        (tmp_path / "model.safetensors").write_bytes(content)
        self.check(tmp_path / "model.safetensors", said)

    def test_a_missing_file(self, tmp_path: Path) -> None:
        self.check(tmp_path / "model.safetensors", "No such file")

    def test_a_folder(self, tmp_path: Path) -> None:
        self.check(tmp_path, "directory")

    def test_an_absurdly_long_header_is_not_read(self, tmp_path: Path) -> None:
        path = tmp_path / "model.safetensors"
        checkpoints.write_raw_safetensors(path, b"", b"", 1 << 39)
        with path.open("r+b") as file:
            file.truncate(1 << 40)
        self.check(path, "a header of 549,755,813,888 bytes")

    def test_a_file_cut_short_anywhere(self, fake: Path, tmp_path: Path) -> None:
        content = (fake / "model.safetensors").read_bytes()
        path = tmp_path / "model.safetensors"
        for length in [*range(0, 4000, 37), *range(4000, len(content), len(content) // 20)]:
            path.write_bytes(content[:length])
            with pytest.raises(BadCheckpoint):
                read(path)

    def test_flipped_bits_give_tensors_or_bad_checkpoint(self, fake: Path, tmp_path: Path) -> None:
        content = bytearray((fake / "model.safetensors").read_bytes())
        end = 8 + int.from_bytes(content[:8], "little")
        random, path = Random(1), tmp_path / "model.safetensors"
        refused = 0
        for _ in range(200):
            at, bit = random.randrange(end), 1 << random.randrange(8)
            content[at] ^= bit
            path.write_bytes(content)
            content[at] ^= bit
            try:
                read(path)
            except BadCheckpoint:
                refused += 1
        assert refused > 0
