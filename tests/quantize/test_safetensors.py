"""`r1_quantize.safetensors`: one file, from friend or foe."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from r1_quantize.errors import BadCheckpoint
from r1_quantize.safetensors import SafetensorsFile
from r1_quantize.tensor_type import TensorType
from tests.fakes import checkpoints


def header(**tensors: Any) -> bytes:
    """A header of tensors as given."""
    return json.dumps(tensors).encode()


def tensor(begin: int, end: int, *, dtype: object = "BF16", shape: object = None) -> dict[str, Any]:
    """A tensor's entry; a row of 16-bit values unless something else is asked for."""
    return {"dtype": dtype, "shape": [(end - begin) // 2] if shape is None else shape, "data_offsets": [begin, end]}


class TestTensors:
    """A well-formed file gives its tensors and their bytes."""

    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        path = tmp_path / "model.safetensors"
        stored = {name: checkpoints.stored(name, (4, 8)) for name in ("b", "c", "a")}
        checkpoints.write_safetensors(path, stored)
        return path

    @pytest.fixture
    def file(self, path: Path) -> Iterator[SafetensorsFile]:
        with closing(SafetensorsFile(path)) as opened:
            yield opened

    def test_are_in_the_order_of_their_names(self, file: SafetensorsFile) -> None:
        assert list(file.tensors) == ["a", "b", "c"]

    def test_hold_the_bytes_that_were_stored(self, file: SafetensorsFile) -> None:
        for name, found in file.tensors.items():
            data = bytearray(found.nbytes)
            file.read_into(found.offset, memoryview(data))
            assert (found.dtype, found.shape, data) == checkpoints.stored(name, (4, 8))

    def test_can_be_read_from_many_threads(self, file: SafetensorsFile) -> None:
        def read(name: str) -> bool:
            data = bytearray(64)
            file.read_into(file.tensors[name].offset, memoryview(data))
            return bytes(data) == checkpoints.stored(name, (4, 8))[2]

        with ThreadPoolExecutor(8) as pool:
            assert all(pool.map(read, "abc" * 200))

    def test_a_file_that_becomes_shorter_while_it_is_read(self, path: Path, file: SafetensorsFile) -> None:
        path.write_bytes(path.read_bytes()[:-1])
        with pytest.raises(BadCheckpoint, match="became shorter"):
            file.read_into(file.tensors["a"].offset, memoryview(bytearray(64)))

    def test_know_their_type_in_ggmls_terms(self, tmp_path: Path) -> None:
        path = tmp_path / "model.safetensors"
        entries = header(a=tensor(0, 4), b=tensor(4, 8, dtype="I32", shape=[1]), c=tensor(8, 12, dtype="F16"))
        checkpoints.write_raw_safetensors(path, entries, bytes(12))
        with closing(SafetensorsFile(path)) as file:
            assert [found.type for found in file.tensors.values()] == [TensorType.BF16, None, TensorType.F16]


class TestHostileBytes:
    """Whatever the bytes, the outcome is tensors or BadCheckpoint that names the file."""

    def check(self, path: Path, said: str) -> None:
        with pytest.raises(BadCheckpoint, match=said) as caught:
            SafetensorsFile(path)
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
            (header(a=tensor(0, 8, shape=[1 << 62, 1 << 62])), "has 8 bytes for BF16"),
            (header(a=tensor(8, 0, shape=[4])), "has -8 bytes"),
            (header(a=tensor(-8, 0)), "has 8 bytes for"),
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

    def test_a_file_cut_short_anywhere(self, fake: Path, tmp_path: Path) -> None:
        whole = (fake / "model.safetensors").read_bytes()
        path = tmp_path / "model.safetensors"
        for length in [*range(0, 4000, 37), *range(4000, len(whole), len(whole) // 20)]:
            path.write_bytes(whole[:length])
            with pytest.raises(BadCheckpoint):
                SafetensorsFile(path)
