"""`r1_quantize.imatrix`: reads both forms, refuses damaged and hostile files."""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from hashlib import sha256, shake_256
from pathlib import Path
from random import Random
from typing import Any

import gguf
import numpy as np
import pytest
from numpy.typing import NDArray

from r1_quantize.errors import BadFile, UsageError
from r1_quantize.gguf import metadata
from r1_quantize.gguf.reader import Entry
from r1_quantize.imatrix import Imatrix, read_imatrix
from tests.fakes.ggufs import write_gguf

Floats = NDArray[np.float32]
KEYS: dict[str, Any] = {
    "imatrix.datasets": ["calibration.txt", "more.txt"],
    "imatrix.chunk_count": 125,
    "imatrix.chunk_size": 512,
}
COLUMNS = {"blk.0.ffn_down.weight": 64, "blk.0.attn_q.weight": 32, "token_embd.weight": 32, "blk.1.attn_q.weight": 1}


def measured(name: str, columns: int) -> Floats:
    """Plausible sums of squares, always the same for a name."""
    noise = np.frombuffer(shake_256(name.encode()).digest(4 * columns), "<u4")
    return (noise / np.float32(1e5) + np.float32(0.1)).astype("<f4")


SUMS = {name: measured(name, columns) for name, columns in COLUMNS.items()}
COUNTS = {name: 100 + 7 * index for index, name in enumerate(COLUMNS)}


def write_imatrix(path: Path, tensors: Mapping[str, NDArray[Any]], keys: Mapping[str, Any] = KEYS) -> Path:
    """An importance matrix in its GGUF form, with these tensors and keys."""
    return write_gguf(path, "imatrix", keys, tensors, lambda writer: writer.add_type("imatrix"))


def pairs(sums: Mapping[str, Floats] = SUMS, counts: Mapping[str, float] = COUNTS) -> dict[str, NDArray[Any]]:
    """The two tensors of each entry, as llama-imatrix writes them."""
    tensors: dict[str, NDArray[Any]] = {}
    for name, values in sums.items():
        tensors[f"{name}.in_sum2"] = values.reshape(1, -1)
        tensors[f"{name}.counts"] = np.array([[counts[name]]], "<f4")
    return tensors


def legacy_entry(name: bytes, calls: int, values: Floats) -> bytes:
    """One entry of the older form."""
    return struct.pack("<i", len(name)) + name + struct.pack("<ii", calls, len(values)) + values.tobytes()


def legacy(sums: Mapping[str, Floats] = SUMS, counts: Mapping[str, int] = COUNTS, tail: bytes = b"") -> bytes:
    """A file of the older form; `tail` follows the entries."""
    entries = (legacy_entry(name.encode(), counts[name], values) for name, values in sums.items())
    return struct.pack("<i", len(sums)) + b"".join(entries) + tail


def end(chunks: int, dataset: bytes) -> bytes:
    """The optional end of the older form."""
    return struct.pack("<ii", chunks, len(dataset)) + dataset


def averages(sums: Mapping[str, Floats] = SUMS, counts: Mapping[str, float] = COUNTS) -> dict[str, list[float]]:
    """The weights in single precision, as numpy computes them."""
    return {name: (values / np.float32(counts[name])).tolist() for name, values in sums.items()}


def lists(found: Imatrix) -> dict[str, list[float]]:
    """The weights as lists."""
    return {name: weights.tolist() for name, weights in found.weights.items()}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The path of the matrix."""
    return tmp_path / "some.imatrix"


def refused(path: Path, said: str) -> None:
    """Checks that the file is refused in one line that names it."""
    with pytest.raises(BadFile, match=said) as caught:
        read_imatrix(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


class TestGGUF:
    """The form llama-imatrix writes: sums of squares and token counts."""

    def test_weights_are_sums_over_counts(self, path: Path) -> None:
        found = read_imatrix(write_imatrix(path, pairs()))
        assert lists(found) == averages()
        assert (found.path, found.dataset, found.chunks) == (path, "calibration.txt", 125)
        assert found.sha256 == sha256(path.read_bytes()).hexdigest()

    def test_the_order_of_the_tensors_does_not_matter(self, path: Path) -> None:
        tensors = dict(reversed(pairs().items()))
        assert lists(read_imatrix(write_imatrix(path, tensors))) == averages()

    @pytest.mark.parametrize(("count", "rounded"), [(2.4, 2), (2.5, 3), (0.5, 1), (3.0, 3), (1e7, 10_000_000)])
    def test_a_count_is_rounded_to_a_whole_number(self, path: Path, count: float, rounded: int) -> None:
        found = read_imatrix(write_imatrix(path, pairs(counts=dict.fromkeys(SUMS, count))))
        assert lists(found) == averages(counts=dict.fromkeys(SUMS, rounded))

    @pytest.mark.parametrize("count", [0.0, -3.0, 0.4, -0.4, float("nan"), float("inf")])
    def test_columns_without_measurements_count_evenly(self, path: Path, count: float) -> None:
        found = read_imatrix(write_imatrix(path, pairs(counts=dict.fromkeys(SUMS, count))))
        assert lists(found) == {name: [1.0] * columns for name, columns in COLUMNS.items()}

    def test_each_expert_is_averaged_separately(self, path: Path) -> None:
        sums = measured("experts", 24).reshape(3, 8)
        counts = np.array([[10], [0], [3]], "<f4")
        found = read_imatrix(write_imatrix(path, {"x.in_sum2": sums, "x.counts": counts}))
        expected = np.stack([sums[0] / np.float32(10), np.ones(8, "<f4"), sums[2] / np.float32(3)])
        assert lists(found) == {"x": expected.ravel().tolist()}

    @pytest.mark.parametrize(
        ("keys", "dataset", "chunks"),
        [
            ({"imatrix.datasets": ["größe.txt"]}, "größe.txt", 125),
            ({"imatrix.datasets": [""]}, "", 125),
            ({"imatrix.datasets": "calibration.txt"}, None, 125),
            ({"imatrix.datasets": 7}, None, 125),
            ({"imatrix.datasets": [1, 2]}, None, 125),
            ({"imatrix.chunk_count": 0}, "calibration.txt", 0),
            ({"imatrix.chunk_count": "many"}, "calibration.txt", 0),
            ({"imatrix.chunk_count": 1.5}, "calibration.txt", 0),
        ],
    )
    def test_has_the_dataset_and_chunks(
        self, path: Path, keys: dict[str, Any], dataset: str | None, chunks: int
    ) -> None:
        found = read_imatrix(write_imatrix(path, pairs(), KEYS | keys))
        assert (found.dataset, found.chunks) == (dataset, chunks)


class TestLegacy:
    """The older form: averages times the number of calls."""

    def test_weights_are_values_over_calls(self, path: Path) -> None:
        path.write_bytes(legacy(tail=end(125, b"calibration.txt")))
        found = read_imatrix(path)
        assert lists(found) == averages()
        assert (found.path, found.dataset, found.chunks) == (path, "calibration.txt", 125)
        assert found.sha256 == sha256(path.read_bytes()).hexdigest()

    @pytest.mark.parametrize("calls", [0, -1, -(1 << 31)])
    def test_without_calls_values_are_used_unchanged(self, path: Path, calls: int) -> None:
        path.write_bytes(legacy(counts=dict.fromkeys(SUMS, calls)))
        assert lists(read_imatrix(path)) == {name: values.tolist() for name, values in SUMS.items()}

    @pytest.mark.parametrize(
        ("tail", "dataset", "chunks"),
        [
            (b"", None, 0),
            (struct.pack("<i", 7), None, 7),
            (end(7, b""), None, 7),
            (end(7, "größe.txt".encode()), "größe.txt", 7),
            (end(7, b"x") + b"more", "x", 7),
            (end(-7, b"x"), "x", -7),
        ],
    )
    def test_the_end_may_be_missing(self, path: Path, tail: bytes, dataset: str | None, chunks: int) -> None:
        path.write_bytes(legacy(tail=tail))
        found = read_imatrix(path)
        assert (found.dataset, found.chunks) == (dataset, chunks)
        assert lists(found) == averages()

    def test_equals_the_newer_form(self, tmp_path: Path) -> None:
        (tmp_path / "old.dat").write_bytes(legacy(tail=end(125, b"calibration.txt")))
        old, new = read_imatrix(tmp_path / "old.dat"), read_imatrix(write_imatrix(tmp_path / "new.gguf", pairs()))
        assert (lists(old), old.dataset, old.chunks) == (lists(new), new.dataset, new.chunks)


class TestOf:
    """The weights of one tensor."""

    @pytest.fixture
    def found(self, path: Path) -> Imatrix:
        return read_imatrix(write_imatrix(path, pairs()))

    def test_are_those_measured(self, found: Imatrix) -> None:
        for name, columns in COLUMNS.items():
            weights = found.of(name, columns)
            assert weights is not None
            assert weights.tolist() == averages()[name]

    def test_are_none_for_a_tensor_without_an_entry(self, found: Imatrix) -> None:
        assert found.of("output.weight", 32) is None

    @pytest.mark.parametrize("columns", [1, 31, 64])
    def test_of_another_size_are_refused(self, found: Imatrix, path: Path, columns: int) -> None:
        said = f"{path}: 32 weights for blk.0.attn_q.weight, which has {columns} columns; is it for another model"
        with pytest.raises(BadFile, match=said):
            found.of("blk.0.attn_q.weight", columns)

    def test_of_the_token_embedding_are_ignored(self, found: Imatrix) -> None:
        assert found.of("token_embd.weight", 64) is None


class TestEntries:
    """The keys in the quantized file."""

    def made(self, path: Path, dataset: str | None = "calibration.txt", chunks: int = 125) -> list[Entry]:
        """The entries of a matrix; without a dataset, an empty list."""
        path.write_bytes(legacy(tail=end(chunks, (dataset or "").encode())))
        return list(read_imatrix(path).entries())

    def test_are_those_of_llama_quantize_without_the_path(self, path: Path) -> None:
        assert self.made(path) == [
            metadata.string("quantize.imatrix.file", "some.imatrix"),
            metadata.string("quantize.imatrix.dataset", "calibration.txt"),
            metadata.uint32("quantize.imatrix.entries_count", 4),
            metadata.uint32("quantize.imatrix.chunks_count", 125),
        ]

    @pytest.mark.parametrize(
        ("dataset", "chunks", "keys"),
        [
            (None, 125, ["file", "entries_count", "chunks_count"]),
            ("x", 0, ["file", "dataset", "entries_count"]),
            ("x", -7, ["file", "dataset", "entries_count"]),
            (None, 0, ["file", "entries_count"]),
        ],
    )
    def test_leave_out_unknown_facts(self, path: Path, dataset: str | None, chunks: int, keys: list[str]) -> None:
        found = [entry.key.removeprefix("quantize.imatrix.") for entry in self.made(path, dataset, chunks)]
        assert found == keys

    @pytest.mark.parametrize(
        ("text", "kept"),
        [
            ("x" * 127, "x" * 127),
            ("x" * 128, "x" * 127),
            ("x" * 10_000, "x" * 127),
            ("中" * 42, "中" * 42),
            ("中" * 43, "中" * 42),  # 126 bytes, and 127 would be a part of a character
            ("x" + "中" * 42, "x" + "中" * 42),
            ("xx" + "中" * 42, "xx" + "中" * 41),
            ("🚀" * 40, "🚀" * 31),
        ],
    )
    def test_are_cut_where_llama_quantize_cuts_but_never_inside_a_character(
        self, path: Path, text: str, kept: str
    ) -> None:
        found = {entry.key: entry for entry in self.made(path, text)}
        assert found["quantize.imatrix.dataset"] == metadata.string("quantize.imatrix.dataset", kept)

    def test_of_a_long_file_name(self, tmp_path: Path) -> None:
        found = self.made(tmp_path / ("中" * 50 + ".dat"))
        assert found[0] == metadata.string("quantize.imatrix.file", "中" * 42)

    def test_of_a_name_that_is_not_unicode(self, tmp_path: Path) -> None:
        made = Imatrix(tmp_path / "\udcff.dat", "", {}, "\ud800", 0)
        assert [entry.key for entry in made.entries()] == [
            *("quantize.imatrix.file", "quantize.imatrix.dataset", "quantize.imatrix.entries_count")
        ]


class TestHostileBytes:
    """Any bytes give weights, or BadFile that names the file."""

    def test_a_missing_file(self, path: Path) -> None:
        with pytest.raises(UsageError, match=r"^--imatrix .*some\.imatrix: No such file"):
            read_imatrix(path)

    def test_a_folder(self, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match=r"^--imatrix .*: not a regular file"):
            read_imatrix(tmp_path)

    def test_an_absurdly_large_file_is_not_read(self, path: Path) -> None:
        with path.open("wb") as file:
            file.write(legacy())
            file.truncate((64 << 20) + 1)
        refused(path, "67,108,865 bytes is too large for an importance matrix")

    @pytest.mark.parametrize("content", [b"", b"\1", b"GGU", b"GGUF", b"GGUF" + bytes(20), b"{}", b"\0" * 1000])
    def test_something_else(self, path: Path, content: bytes) -> None:
        path.write_bytes(content)
        refused(path, "some.imatrix")

    def test_a_model(self, gguf: Path) -> None:
        refused(gguf, r"not an importance matrix; it lacks imatrix\.datasets")

    @pytest.mark.parametrize("key", KEYS)
    def test_without_a_key(self, path: Path, key: str) -> None:
        write_imatrix(path, pairs(), {name: value for name, value in KEYS.items() if name != key})
        refused(path, f"it lacks {key}")

    @pytest.mark.parametrize("tensors", [{}, {"blk.0.attn_q.weight": np.ones((1, 32), "<f4")}])
    def test_without_entries(self, path: Path, tensors: dict[str, Floats]) -> None:
        write_imatrix(path, tensors)
        refused(path, "the importance matrix has no entries")

    @pytest.mark.parametrize(
        "change",
        [
            lambda tensors: tensors.pop("blk.0.attn_q.weight.counts"),
            lambda tensors: tensors.update({"blk.0.attn_q.weight.counts": np.array([[7]], "<f2")}),
            lambda tensors: tensors.update({"blk.0.attn_q.weight.counts": np.array([[7]], "<i4")}),
            lambda tensors: tensors.update({"blk.0.attn_q.weight.in_sum2": np.ones((1, 32), "<f2")}),
            lambda tensors: tensors.update({"blk.0.attn_q.weight.in_sum2": np.ones((1, 32), "<f8")}),
        ],
    )
    def test_half_an_entry(self, path: Path, change: Callable[[dict[str, NDArray[Any]]], object]) -> None:
        tensors = pairs()
        change(tensors)
        write_imatrix(path, tensors)
        refused(path, "the entry for 'blk.0.attn_q.weight' is not a pair of F32 tensors")

    @pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
    @pytest.mark.parametrize("count", [5, 0])
    def test_weights_that_are_not_finite(self, tmp_path: Path, value: float, count: int) -> None:
        sums = {"a": SUMS["blk.0.attn_q.weight"], "b": np.array([1.0, value, 2.0], "<f4")}
        (tmp_path / "old.dat").write_bytes(legacy(sums, {"a": 1, "b": count}))
        refused(tmp_path / "old.dat", "'b' has a weight that is not between 0 and 1e\\+15")
        if count:
            write_imatrix(tmp_path / "new.gguf", pairs(sums, {"a": 1, "b": count}))
            refused(tmp_path / "new.gguf", "'b' has a weight that is not between 0 and 1e\\+15")

    def test_the_older_form_cut_short_at_any_byte(self, path: Path) -> None:
        sums, counts = {"a": SUMS["blk.0.attn_q.weight"], "größe": SUMS["blk.1.attn_q.weight"]}, {"a": 2, "größe": 3}
        entries, tail = legacy(sums, counts), end(125, b"calibration.txt")
        # what follows the entries is optional: valid without it, with the chunks alone, and with an empty dataset
        whole = {len(entries), *range(len(entries) + 4, len(entries) + 9), len(entries + tail)}
        for length in range(len(entries + tail) + 1):
            path.write_bytes((entries + tail)[:length])
            if length in whole:
                found = read_imatrix(path)
                assert lists(found) == averages(sums, counts)
                assert found.chunks == (0 if length == len(entries) else 125)
            else:
                refused(path, "not an importance matrix")

    @pytest.mark.parametrize("count", [0, -1, -(1 << 31)])
    def test_the_older_form_with_impossible_lengths(self, path: Path, count: int) -> None:
        one, values = struct.pack("<i", 1), SUMS["blk.1.attn_q.weight"].tobytes()
        announced = struct.pack("<i", count)
        path.write_bytes(announced + legacy()[4:])
        refused(path, f"the number of entries is {count}")
        path.write_bytes(one + announced + b"a" + struct.pack("<ii", 1, 1) + values)
        refused(path, f"the number of bytes in a name is {count}")
        path.write_bytes(one + one + b"a" + one + announced + values)
        refused(path, f"the number of values is {count}")
        path.write_bytes(legacy(tail=one + announced + b"some data set"))
        assert read_imatrix(path).dataset is None  # like llama.cpp

    def test_the_older_form_with_absurd_lengths(self, path: Path) -> None:
        one, most = struct.pack("<i", 1), struct.pack("<i", (1 << 31) - 1)
        for content in (
            most + legacy()[4:],
            one + most + b"a" * 100,
            one + one + b"a" + one + most + bytes(100),
            legacy(tail=one + most + b"some data set"),
        ):
            path.write_bytes(content)
            refused(path, "not an importance matrix, or cut short in ")

    def test_the_newer_form_cut_short_anywhere(self, path: Path) -> None:
        whole = write_imatrix(path, pairs()).read_bytes()
        tensors = gguf.GGUFReader(path).tensors
        last = max(int(tensor.data_offset + tensor.n_bytes) for tensor in tensors)
        for length in range(last):
            path.write_bytes(whole[:length])
            with pytest.raises(BadFile):
                read_imatrix(path)

    @pytest.mark.parametrize("form", ["older", "newer"])
    def test_flipped_bits_give_weights_or_bad_file(self, path: Path, form: str) -> None:
        path.write_bytes(legacy(tail=end(125, b"calibration.txt"))) if form == "older" else write_imatrix(path, pairs())
        whole = bytearray(path.read_bytes())
        random = Random(1)
        refused = 0
        for _ in range(2000):
            at, bit = random.randrange(len(whole)), 1 << random.randrange(8)
            whole[at] ^= bit
            path.write_bytes(whole)
            whole[at] ^= bit
            try:
                list(read_imatrix(path).entries())
            except BadFile:
                refused += 1
        assert refused > 0
