"""`r1_quantize.gguf_source`: a GGUF to quantize again."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from shutil import copyfile
from typing import Any

import gguf as reference
import numpy as np
import pytest
from numpy.typing import NDArray

from r1_quantize.errors import BadGGUF
from r1_quantize.files import SourceFile
from r1_quantize.gguf.reader import TruncatedGGUF
from r1_quantize.gguf.tensor_type import TensorType
from r1_quantize.gguf_source import gguf_source, gguf_source_of
from r1_quantize.recipe import Traits
from tests.fakes import checkpoints, splits
from tests.fakes.checkpoints import Shape
from tests.fakes.ggufs import write_gguf
from tests.quantize.conftest import Make

ARCHITECTURES = {"qwen2": reference.MODEL_ARCH.QWEN2, "llama": reference.MODEL_ARCH.LLAMA}
Add = Callable[[reference.GGUFWriter], object]


def names(shape: Shape) -> list[str]:
    """The tensor names of a model, from gguf-py."""
    known = reference.get_tensor_name_map(ARCHITECTURES["llama" if shape.llama else "qwen2"], shape.layers)
    found = [known.get_name(source, try_suffixes=(".weight", ".bias")) for source in shape.tensors]
    return [name for name in found if name]


def counts(architecture: str, layers: object = 2, heads: object = 4, kv_heads: object = 2) -> dict[str, object]:
    """The required keys; None leaves one out."""
    return {
        f"{architecture}.block_count": layers,
        f"{architecture}.attention.head_count": heads,
        f"{architecture}.attention.head_count_kv": kv_heads,
    }


def write(
    path: Path,
    tensors: Iterable[str],
    keys: Mapping[str, object],
    *,
    architecture: str = "qwen2",
    add: Add = lambda writer: None,
    shaped: Mapping[str, NDArray[Any]] | None = None,
) -> Path:
    """A GGUF written by gguf-py; all tensors hold a few numbers, except those in `shaped`."""
    values = {name: (shaped or {}).get(name, np.ones((2, 8), "<f4")) for name in tensors}
    return write_gguf(path, architecture, keys, values, add)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The path of the file."""
    return tmp_path / "some.gguf"


class TestSource:
    """Keeps all metadata and the places of the tensors."""

    @pytest.mark.parametrize("quant", ["F32", "Q4_K_M"])
    @pytest.mark.parametrize("shape", [Shape(), Shape(llama=True, biased=True), Shape(tied=True, layers=1)])
    def test_tensors_are_those_gguf_py_finds(self, tmp_path: Path, make: Make, shape: Shape, quant: str) -> None:
        made = make(checkpoints.write(tmp_path / "checkpoint", shape), quant)
        assert [
            (t.name, t.shape, t.type, t.default_type, t.file, t.offset, t.nbytes, t.values, t.data, t.rotary_heads)
            for t in gguf_source(made).tensors
        ] == [
            (
                *(t.name, tuple(t.shape.tolist())[::-1], t.tensor_type, t.tensor_type, made),
                *(t.data_offset, t.n_bytes, t.n_elements, b"", 0),
            )
            for t in reference.GGUFReader(made).tensors
        ]

    def test_entries_are_those_of_the_file(self, gguf: Path) -> None:
        first = reference.GGUFReader(gguf).tensors[0].field.offset
        found = gguf_source(gguf).entries
        assert b"".join(entry.data for entry in found) == gguf.read_bytes()[24:first]

    def test_is_one_file(self, gguf: Path) -> None:
        found = gguf_source(gguf)
        assert (found.path, [(file.path, file.size) for file in found.files]) == (gguf, [(gguf, gguf.stat().st_size)])
        assert found.is_gguf

    def test_messages_name_file_and_tensor(self, gguf: Path) -> None:
        assert [tensor.label for tensor in gguf_source(gguf).tensors][:1] == [f"{gguf}: output.weight"]

    def test_a_vector_keeps_its_type(self, gguf: Path) -> None:
        norm = next(tensor for tensor in gguf_source(gguf).tensors if tensor.name == "output_norm.weight")
        assert (norm.shape, norm.type, norm.default_type) == ((256,), TensorType.F32, TensorType.F32)

    @pytest.mark.parametrize(
        ("key", "add"),
        [
            ("general.alignment", lambda writer: writer.add_custom_alignment(64)),
            ("split.no", lambda writer: writer.add_uint16("split.no", 0)),
            ("split.count", lambda writer: writer.add_uint16("split.count", 1)),
            ("split.tensors.count", lambda writer: writer.add_int32("split.tensors.count", 26)),
        ],
    )
    def test_keys_that_do_not_hold_for_the_result_are_dropped(self, path: Path, key: str, add: Add) -> None:
        kept = {"general.name": "some", **counts("qwen2"), "split.other": 7, "general.file_type": 1}
        write(path, names(Shape()), kept, add=add)
        assert key in reference.GGUFReader(path).fields
        assert [entry.key for entry in gguf_source(path).entries] == ["general.architecture", *kept]

    def test_the_default_alignment_is_kept_if_stated(self, path: Path) -> None:
        write(path, names(Shape()), counts("qwen2"), add=lambda writer: writer.add_custom_alignment(32))
        assert "general.alignment" in [entry.key for entry in gguf_source(path).entries]

    @pytest.mark.parametrize("count", [0, 1])
    def test_a_joined_or_never_split_file_is_complete(self, path: Path, count: int) -> None:
        write(path, names(Shape()), counts("qwen2"), add=lambda writer: writer.add_uint16("split.count", count))
        assert len(gguf_source(path).tensors) == len(names(Shape()))

    def test_another_alignment_moves_the_tensors(self, path: Path) -> None:
        write(path, names(Shape()), counts("qwen2"), add=lambda writer: writer.add_custom_alignment(256))
        offsets = [int(tensor.data_offset) for tensor in reference.GGUFReader(path).tensors]
        assert [tensor.offset for tensor in gguf_source(path).tensors] == offsets
        assert np.diff(offsets).tolist() == [256] * (len(offsets) - 1)


class TestTraits:
    """The facts for the recipes come from the keys and the tensors."""

    @pytest.mark.parametrize(
        ("shape", "expected"),
        [
            (Shape(), Traits(2, 2, is_70b=False, tied=False)),
            (Shape(tied=True), Traits(2, 2, is_70b=False, tied=True)),
            (Shape(layers=3, kv_heads=1, llama=True), Traits(3, 4, is_70b=False, tied=False)),
            (Shape(layers=80, hidden=32, inner=32, heads=2, kv_heads=1), Traits(80, 2, is_70b=True, tied=False)),
            (Shape(layers=80, hidden=32, inner=32, heads=2, llama=True), Traits(80, 1, is_70b=False, tied=False)),
        ],
    )
    def test_of_converted_checkpoints(self, tmp_path: Path, make: Make, shape: Shape, expected: Traits) -> None:
        assert gguf_source(make(checkpoints.write(tmp_path / "checkpoint", shape), "F32")).traits == expected

    def test_without_a_kv_head_count_it_equals_the_head_count(self, path: Path) -> None:
        write(path, names(Shape()), counts("qwen2", kv_heads=None))
        assert gguf_source(path).traits == Traits(2, 1, is_70b=False, tied=False)


class TestRefused:
    """Anything else is refused in one line that names the file."""

    def check(self, path: Path, said: str) -> None:
        with pytest.raises(BadGGUF, match=said) as caught:
            gguf_source(path)
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)

    @pytest.mark.parametrize("count", [2, 3, 65535])
    def test_one_part_that_is_not_named_like_one(self, path: Path, count: int) -> None:
        write(path, names(Shape()), counts("qwen2"), add=lambda writer: writer.add_uint16("split.count", count))
        self.check(
            path, rf"one of {count} parts, but not named like one.* named NAME-00001-of-{count:05}\.gguf and so on"
        )

    @pytest.mark.parametrize("layers", [513, 1 << 31])
    def test_more_layers_than_llama_cpp_runs(self, path: Path, layers: int) -> None:
        write(path, ["blk.0.attn_q.weight"], counts("qwen2", layers=layers))
        self.check(path, rf"block_count is {layers:,}, more than llama.cpp runs")

    @pytest.mark.parametrize("count", [-1, "two", [2], True])
    def test_an_impossible_number_of_parts(self, path: Path, count: object) -> None:
        write(path, names(Shape()), counts("qwen2") | {"split.count": count})
        self.check(path, "split.count is ")

    @pytest.mark.parametrize("architecture", ["gemma", "qwen2moe", "Qwen2ForCausalLM", "", "x\ny", "x" * 10_000])
    def test_an_unknown_architecture(self, path: Path, architecture: str) -> None:
        write(path, names(Shape()), counts(architecture), architecture=architecture)
        self.check(path, "unknown architecture .*; r1 knows qwen2, llama")

    @pytest.mark.parametrize(
        ("kind", "said"),
        [
            ("imatrix", "an importance matrix, not a model; pass it with --imatrix"),
            ("adapter", "a LoRA adapter, not a model; merge it into its base model first"),
            ("mmproj", "reads images"),
        ],
    )
    def test_a_file_that_is_no_model(self, path: Path, kind: str, said: str) -> None:
        write(path, ["blk.0.attn_q.weight"], {"general.type": kind})
        self.check(path, said)

    def test_no_architecture(self, gguf: Path, path: Path) -> None:
        path.write_bytes(gguf.read_bytes().replace(b"general.architecture", b"general.architectur_"))
        self.check(path, "unknown architecture None")

    def test_a_mixture_of_experts(self, path: Path) -> None:
        experts = {"blk.0.ffn_gate_exps.weight": np.ones((2, 4, 8), "<f4")}
        write(path, [*names(Shape()), *experts], counts("qwen2"), shaped=experts)
        self.check(path, "'blk.0.ffn_gate_exps.weight' has 3 dimensions; mixtures of experts are not supported")

    @pytest.mark.parametrize("shape", [Shape(layers=2), Shape(layers=2, llama=True)])
    def test_any_tensor_missing(self, path: Path, shape: Shape) -> None:
        architecture = "llama" if shape.llama else "qwen2"
        complete = names(shape)
        for name in complete:
            if name != "output.weight":
                others = [other for other in complete if other != name]
                write(path, others, counts(architecture), architecture=architecture)
                self.check(path, f"the tensor {name} is missing")

    def test_more_layers_than_tensors(self, path: Path) -> None:
        write(path, names(Shape(layers=2)), counts("qwen2", layers=3))
        self.check(path, "the tensor blk.2.attn_norm.weight is missing")

    @pytest.mark.parametrize(("heads", "kv_heads"), [(4, 3), (2, 4), (1, (1 << 32) - 1)])
    def test_heads_that_do_not_divide(self, path: Path, heads: int, kv_heads: int) -> None:
        write(path, names(Shape()), counts("qwen2", heads=heads, kv_heads=kv_heads))
        self.check(path, f"{heads} query heads do not divide into {kv_heads} groups")

    @pytest.mark.parametrize("value", [0, -4, 4.0, "4", True, [4, 4], ["4"]])
    @pytest.mark.parametrize("key", counts("qwen2"))
    def test_a_count_that_is_not_a_number(self, path: Path, key: str, value: object) -> None:
        write(path, names(Shape()), counts("qwen2") | {key: value})
        self.check(path, f"{key} is .*, expected a number above 0")

    @pytest.mark.parametrize("key", ["qwen2.block_count", "qwen2.attention.head_count"])
    def test_a_missing_count(self, path: Path, key: str) -> None:
        write(path, names(Shape()), counts("qwen2") | {key: None})
        self.check(path, f"{key} is None, expected a number above 0")

    @pytest.mark.parametrize("content", [b"", b"GGUF", b"\0" * 100])
    def test_a_file_that_is_not_a_gguf(self, path: Path, content: bytes) -> None:
        path.write_bytes(content)
        self.check(path, "not a GGUF")

    def test_a_missing_file(self, path: Path) -> None:
        self.check(path, "No such file")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An empty folder for the parts."""
    (tmp_path / "parts").mkdir()
    return tmp_path / "parts"


class TestParts:
    """A split GGUF equals the complete one, except for the places of its tensors."""

    @pytest.mark.parametrize("keys_alone", [False, True])
    @pytest.mark.parametrize("tensors", [1, 5, 25])
    def test_any_part_stands_for_all(self, gguf: Path, folder: Path, tensors: int, keys_alone: bool) -> None:
        parts = splits.split(gguf, folder, tensors, keys_alone=keys_alone)
        complete = gguf_source(gguf)
        for part in {parts[0], parts[1], parts[-1]}:
            found = gguf_source(part)
            assert (found.path, found.is_gguf, found.digests) == (parts[0], True, {})
            assert [(file.path, file.size) for file in found.files] == [(p, p.stat().st_size) for p in parts]
            assert (found.entries, found.traits) == (complete.entries, complete.traits)
            assert [(t.name, t.shape, t.type) for t in found.tensors] == [
                (t.name, t.shape, t.type) for t in complete.tensors
            ]

    def test_tensors_are_where_gguf_py_finds_them(self, gguf: Path, folder: Path) -> None:
        parts = splits.split(gguf, folder, 7)
        assert [(t.name, t.file, t.offset, t.label) for t in gguf_source(parts[0]).tensors] == [
            (t.name, part, t.data_offset, f"{part}: {t.name}")
            for part in parts
            for t in reference.GGUFReader(part).tensors
        ]

    def test_tensors_are_in_the_order_of_the_parts(self, gguf: Path, folder: Path) -> None:
        parts = splits.split(gguf, folder, 5, order=lambda tensors: tensors[::-1])
        complete = [tensor.name for tensor in gguf_source(gguf).tensors]
        assert [tensor.name for tensor in gguf_source(parts[0]).tensors] == complete[::-1]

    def test_parts_may_be_links_to_files_of_other_names(self, gguf: Path, folder: Path, tmp_path: Path) -> None:
        parts = splits.split(gguf, folder)
        (tmp_path / "links").mkdir()
        for number, part in enumerate(parts):
            (tmp_path / "links" / part.name).symlink_to(part.rename(folder / f"blob{number}"))
        assert len(gguf_source(tmp_path / "links" / parts[1].name).files) == len(parts)

    def test_a_single_part_is_complete_under_any_name(self, gguf: Path, folder: Path) -> None:
        only = folder / "some-00001-of-00001.gguf"
        copyfile(gguf, only)
        assert [file.path for file in gguf_source(only).files] == [only]

    def test_headers_are_enough(self, gguf: Path, folder: Path) -> None:
        parts = splits.split(gguf, folder)
        expected = gguf_source(parts[0])
        files = []
        for part in parts:
            header, size = part.with_suffix(".header"), part.stat().st_size
            header.write_bytes(part.read_bytes()[: reference.GGUFReader(part).data_offset])
            part.unlink()
            files.append(SourceFile(part, size, sha256="ab" * 32, header=header))
        found = gguf_source_of(files)
        assert found.files == tuple(files)
        assert (found.path, found.entries, found.tensors) == (expected.path, expected.entries, expected.tensors)

    def test_an_incomplete_header_is_reported(self, gguf: Path, folder: Path) -> None:
        parts = splits.split(gguf, folder)
        header = folder / "header"
        header.write_bytes(parts[1].read_bytes()[:100])
        last = SourceFile(parts[1], parts[1].stat().st_size, header=header)
        with pytest.raises(TruncatedGGUF, match=parts[1].name):
            gguf_source_of([SourceFile.on_disk(parts[0]), last])


class TestPartsRefused:
    """Missing parts, and parts of different models, are refused in one line that names a file."""

    def check(self, path: Path, said: str) -> None:
        with pytest.raises(BadGGUF, match=said) as caught:
            gguf_source(path)
        assert str(path.parent) in str(caught.value)
        assert "\n" not in str(caught.value)

    def change(self, part: Path, key: str, value: int) -> None:
        """Changes a 16- or 32-bit number in place."""
        field = reference.GGUFReader(part).fields[key]
        content, at = bytearray(part.read_bytes()), field.offset + sum(p.nbytes for p in field.parts[:-1])
        size = field.parts[-1].nbytes
        content[at : at + size] = value.to_bytes(size, "little")
        part.write_bytes(content)

    def test_one_missing(self, gguf: Path, folder: Path) -> None:
        parts = splits.split(gguf, folder)
        for part in parts:
            away = part.rename(folder / "away")
            self.check(parts[0], f"{part.name} is missing; put all {len(parts)} parts in one folder")
            away.rename(part)

    def test_several_missing(self, gguf: Path, folder: Path) -> None:
        parts = splits.split(gguf, folder)
        for part in parts[2:]:
            part.unlink()
        self.check(parts[1], f"{parts[2].name} and {len(parts) - 3} more are missing")

    def test_a_dangling_link(self, gguf: Path, folder: Path) -> None:
        parts = splits.split(gguf, folder)
        parts[3].unlink()
        parts[3].symlink_to(folder / "nowhere")
        self.check(parts[0], f"{parts[3].name} is missing")

    def test_two_parts_swapped(self, gguf: Path, folder: Path) -> None:
        parts = splits.split(gguf, folder)
        parts[1].rename(folder / "away")
        parts[2].rename(parts[1])
        (folder / "away").rename(parts[2])
        self.check(parts[0], rf"{parts[1].name}: split\.no is 2, expected 1 with {len(parts)} parts; one of them")

    def test_one_part_twice(self, gguf: Path, folder: Path) -> None:
        parts = splits.split(gguf, folder)
        copyfile(parts[1], parts[2])
        self.check(parts[0], rf"{parts[2].name}: split\.no is 1")

    def test_a_complete_model_named_like_a_part(self, gguf: Path, folder: Path) -> None:
        for number in (1, 2):
            copyfile(gguf, folder / f"some-0000{number}-of-00002.gguf")
        self.check(folder / "some-00001-of-00002.gguf", r"split\.no is None, expected 0 with 2 parts")

    @pytest.mark.parametrize("key", ["split.no", "split.count", "split.tensors.count"])
    @pytest.mark.parametrize("which", [0, 2, -1])
    def test_a_number_that_contradicts_the_others(self, gguf: Path, folder: Path, which: int, key: str) -> None:
        parts = splits.split(gguf, folder)
        self.change(parts[which], key, 77)
        self.check(parts[0], rf"{parts[which].name}: {key} is 77, expected \d+ with {len(parts)} parts; one of")

    def test_fewer_parts_in_the_names_than_in_the_keys(self, gguf: Path, folder: Path) -> None:
        for number, part in enumerate(splits.split(gguf, folder)[:2], start=1):
            part.rename(folder / f"some-0000{number}-of-00002.gguf")
        self.check(folder / "some-00001-of-00002.gguf", r"split\.count is \d+, expected 2 with 2 parts")

    def test_a_tensor_in_two_parts(self, gguf: Path, folder: Path) -> None:
        parts = splits.split(gguf, folder)
        name = reference.GGUFReader(parts[1]).tensors[0].name
        other = next(t.name for t in reference.GGUFReader(parts[3]).tensors if len(t.name) == len(name))
        parts[3].write_bytes(parts[3].read_bytes().replace(other.encode(), name.encode()))
        self.check(parts[0], f"{parts[3].name}: the tensor '{name}' is also in {parts[1].name}")

    def test_a_part_of_a_deeper_model(self, make: Make, gguf: Path, folder: Path, tmp_path: Path) -> None:
        (tmp_path / "others").mkdir()
        other = make(checkpoints.write(tmp_path / "checkpoint", Shape(layers=3)), "Q8_0")
        others = splits.split(other, tmp_path / "others", 10)
        parts = splits.split(gguf, folder, 9)
        assert len(parts) < len(others) + 1
        self.change(others[1], "split.count", len(parts))
        others[1].rename(parts[1])
        self.check(parts[0], r"split\.tensors\.count is \d+, expected \d+ with \d parts; one of them is damaged")

    def test_a_part_of_a_wider_model(self, make: Make, gguf: Path, folder: Path, tmp_path: Path) -> None:
        (tmp_path / "others").mkdir()
        other = make(checkpoints.write(tmp_path / "checkpoint", Shape(inner=1024)), "Q8_0")
        parts, others = splits.split(gguf, folder, 9), splits.split(other, tmp_path / "others", 9)
        others[-1].rename(parts[-1])
        self.check(parts[0], "but .* in another layer; these are parts of different models")

    def test_one_cut_short(self, gguf: Path, folder: Path) -> None:
        parts = splits.split(gguf, folder)
        parts[2].write_bytes(parts[2].read_bytes()[:-64])
        self.check(parts[0], f"{parts[2].name}: cut short")

    def test_one_that_is_not_a_gguf(self, gguf: Path, folder: Path) -> None:
        parts = splits.split(gguf, folder)
        parts[1].write_bytes(b"<!DOCTYPE html>" * 9)
        self.check(parts[0], f"{parts[1].name}: not a GGUF")

    def test_a_folder_named_like_a_part(self, gguf: Path, folder: Path) -> None:
        parts = splits.split(gguf, folder)
        parts[1].unlink()
        parts[1].mkdir()
        self.check(parts[0], f"{parts[1].name}: ")

    def test_an_alignment_that_only_the_first_part_states(self, gguf: Path, folder: Path) -> None:
        parts = splits.split(gguf, folder, change=lambda writer: writer.add_custom_alignment(256))
        self.check(parts[0], f"{parts[1].name}: alignment 32, but the first part has 256; r1 cannot read it")

    def test_a_name_too_long_for_the_disk(self, folder: Path) -> None:
        self.check(folder / f"{'x' * 300}-00001-of-00002.gguf", "File name too long|is missing")

    def test_too_many_parts(self, gguf: Path, folder: Path) -> None:
        path = folder / "some-00001-of-99999.gguf"
        copyfile(gguf, path)
        self.check(path, "the name says 99,999 parts; r1 reads at most 1,000")
