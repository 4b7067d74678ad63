"""`r1_quantize.checkpoint.safetensors`: one file, from friend or foe."""

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
    """A header of tensors as given."""
    return json.dumps(tensors).encode()


def tensor(begin: int, end: int, *, dtype: object = "BF16", shape: object = None) -> dict[str, Any]:
    """A tensor's entry; a row of 16-bit values unless something else is asked for."""
    return {"dtype": dtype, "shape": [(end - begin) // 2] if shape is None else shape, "data_offsets": [begin, end]}


class TestTensors:
    """A well-formed file gives its tensors, and where their bytes lie."""

    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        path = tmp_path / "model.safetensors"
        stored = {name: checkpoints.stored(name, (4, 8)) for name in ("b", "c", "a")}
        checkpoints.write_safetensors(path, stored)
        return path

    def test_are_in_the_order_of_their_names(self, path: Path) -> None:
        assert list(read(path).tensors) == ["a", "b", "c"]

    def test_lie_where_they_were_stored(self, path: Path) -> None:
        whole = path.read_bytes()
        for name, found in read(path).tensors.items():
            data = whole[found.offset : found.offset + found.nbytes]
            assert (found.name, found.dtype, found.shape, data) == (name, *checkpoints.stored(name, (4, 8)))

    def test_come_with_the_files_path_and_size(self, path: Path) -> None:
        found = read(path)
        assert (found.file.path, found.file.size) == (path, path.stat().st_size)

    def test_know_their_type_in_ggmls_terms(self, tmp_path: Path) -> None:
        path = tmp_path / "model.safetensors"
        entries = header(a=tensor(0, 4), b=tensor(4, 8, dtype="I32", shape=[1]), c=tensor(8, 12, dtype="F16"))
        checkpoints.write_raw_safetensors(path, entries, bytes(12))
        assert [found.type for found in read(path).tensors.values()] == [TensorType.BF16, None, TensorType.F16]

    def test_may_be_of_no_size_or_of_no_dimension(self, tmp_path: Path) -> None:
        path = tmp_path / "model.safetensors"
        entries = header(a=tensor(0, 0, shape=[0, 7]), b=tensor(0, 2, shape=[]), c=tensor(2, 2, shape=[0]))
        checkpoints.write_raw_safetensors(path, entries, bytes(2))
        assert {name: found.shape for name, found in read(path).tensors.items()} == {"a": (0, 7), "b": (), "c": (0,)}


class TestHostileBytes:
    """Whatever the bytes, the outcome is tensors or BadCheckpoint that names the file."""

    def check(self, path: Path, said: str) -> None:
        with pytest.raises(BadCheckpoint, match=said) as caught:
            read(path)
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)

    @pytest.mark.parametrize(
        ("entries", "said"),
        [
            (b"", "header is said to be"),
            (b"{", "header is said to be"),
            (b"{]", "not JSON"),
            (b"\xff\xff", "not JSON"),
            (b"[]", "not a JSON object"),
            (b"[" * 50_000, "not JSON"),
            (b'{"a": ' + b"1" * 5000 + b"}", "not JSON"),
            (b'{"a": {}, "a": {}}', "a key stands twice"),
            (header(a=7), "is described by 7"),
            (header(a={}), "is described by"),
            (header(a=tensor(0, 8) | {"data_offsets": [0]}), "is described by"),
            (header(a=tensor(0, 8) | {"data_offsets": [0, 8.0]}), "is described by"),
            (header(a=tensor(0, 8, dtype="BF17")), "the unknown dtype 'BF17'"),
            (header(a=tensor(0, 8, dtype=["BF16"])), "is described by"),
            (header(a=tensor(0, 8, shape=[-4])), "has the shape"),
            (header(a=tensor(0, 8, shape=[4.0])), "has the shape"),
            (header(a=tensor(0, 8, shape=[True, 4])), "has the shape"),
            (header(a=tensor(0, 8, shape=[5])), "has 8 bytes for BF16"),
            (header(a=tensor(0, 8, shape=[1 << 62, 1 << 62])), "has the shape"),
            (header(a=tensor(0, 8, shape=[1] * 9)), "has the shape"),
            (header(a=tensor(0, 8, shape=[10**4000] * 100)), "has the shape"),
            (header(a=tensor(8, 0, shape=[4])), "lie outside the file"),
            (header(a=tensor(-8, 0)), "lie outside the file"),
            (header(a=tensor(0, 10**4200, shape=[4])), "lie outside the file"),
            (header(a=tensor(0, 6)), "6 bytes are announced|announced"),
            (header(a=tensor(0, 10)), "announced"),
            (header(a=tensor(0, 4), b=tensor(0, 4)), "'b' overlaps another"),
            (header(a=tensor(0, 6), b=tensor(4, 8)), "'b' overlaps another"),
            (header(a=tensor(0, 2), b=tensor(4, 8)), "'b' leaves a gap"),
            (header(a=tensor(2, 8)), "'a' leaves a gap"),
            (header(), "announced"),
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
        self.check(path, f"said to be {length:,} bytes long")

    @pytest.mark.parametrize("content", [b"", b"\2\0\0\0"])
    def test_a_file_of_no_size(self, tmp_path: Path, content: bytes) -> None:
        (tmp_path / "model.safetensors").write_bytes(content)
        self.check(tmp_path / "model.safetensors", "it is only")

    def test_a_file_that_is_not_there(self, tmp_path: Path) -> None:
        self.check(tmp_path / "model.safetensors", "No such file")

    def test_a_folder(self, tmp_path: Path) -> None:
        self.check(tmp_path, "directory")

    def test_a_header_of_monstrous_size_is_not_even_read(self, tmp_path: Path) -> None:
        path = tmp_path / "model.safetensors"
        checkpoints.write_raw_safetensors(path, b"", b"", 1 << 39)
        with path.open("r+b") as file:
            file.truncate(1 << 40)
        self.check(path, "said to be 549,755,813,888 bytes long")

    def test_a_file_cut_short_anywhere(self, fake: Path, tmp_path: Path) -> None:
        whole = (fake / "model.safetensors").read_bytes()
        path = tmp_path / "model.safetensors"
        for length in [*range(0, 4000, 37), *range(4000, len(whole), len(whole) // 20)]:
            path.write_bytes(whole[:length])
            with pytest.raises(BadCheckpoint):
                read(path)

    def test_flipped_bits_never_end_in_anything_else(self, fake: Path, tmp_path: Path) -> None:
        whole = bytearray((fake / "model.safetensors").read_bytes())
        end = 8 + int.from_bytes(whole[:8], "little")
        random, path = Random(1), tmp_path / "model.safetensors"
        refused = 0
        for _ in range(200):
            at, bit = random.randrange(end), 1 << random.randrange(8)
            whole[at] ^= bit
            path.write_bytes(whole)
            whole[at] ^= bit
            try:
                read(path)
            except BadCheckpoint:
                refused += 1
        assert refused > 0
