"""COPY joins and copies a GGUF without changing a tensor; and a split GGUF is quantized like a complete one."""

from __future__ import annotations

import os
from contextlib import closing
from hashlib import sha256, shake_256
from pathlib import Path

import gguf as reference
import numpy as np
import pytest

from r1_quantize import pipeline
from r1_quantize.errors import BadFile, BadValue, NotEnoughSpace, UsageError
from r1_quantize.events import Finished, Planned, Resumed, TensorDone
from r1_quantize.gguf.tensor_type import UNREADABLE, TensorType
from r1_quantize.pipeline import Job, quantize
from r1_quantize.recipe import RECIPES, Override
from r1_quantize.store.manifest import Manifest
from r1_quantize.verify import verify
from tests.fakes import checkpoints, quantizer, splits
from tests.fakes.checkpoints import Shape
from tests.quantize.conftest import Make, names_in
from tests.quantize.test_identity import NEED_IMATRIX

QUANTIZED = RECIPES.keys() - NEED_IMATRIX - {"F32", "F16", "BF16"}
KINDS = [kind for kind in TensorType if kind not in UNREADABLE and kind in [*reference.GGMLQuantizationType]]
LLAMA_FTYPE_GUESSED = 1024  # llama.h
SHAPES = {
    "two layers": Shape(),
    "a Llama with rope factors, tied": Shape(llama=True, tied=True),
    "twelve layers, more than one digit": Shape(hidden=64, inner=64, layers=12),
    "rows of 48: no whole blocks": Shape(hidden=48, inner=80, biased=True, llama=True),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An empty folder for the parts."""
    (tmp_path / "parts").mkdir()
    return tmp_path / "parts"


def rewritten(whole: Path, path: Path, change: splits.Change) -> Path:
    """The same tensors under other keys, in one file."""
    path.parent.mkdir(exist_ok=True)
    found = reference.GGUFReader(whole)
    writer = reference.GGUFWriter(path, str(found.fields["general.architecture"].contents()))
    splits.copy_keys(found, writer)
    change(writer)
    for tensor in found.tensors:
        writer.add_tensor(tensor.name, tensor.data, raw_dtype=tensor.tensor_type)
    splits.finish(writer)
    return path


def without(*keys: str) -> splits.Change:
    """Removes keys that an older converter did not write."""

    def change(writer: reference.GGUFWriter) -> None:
        for key in keys:
            writer.kv_data[0].pop(key, None)

    return change


def of_type(path: Path, kind: TensorType) -> Path:
    """A model whose ffn_up tensors have one type, with artificial bytes in which no scale is infinite."""
    shape = Shape(layers=2)
    writer = reference.GGUFWriter(path, "qwen2")
    writer.add_uint32("qwen2.block_count", shape.layers)
    writer.add_uint32("qwen2.context_length", 2048)
    writer.add_uint32("qwen2.embedding_length", shape.hidden)
    writer.add_uint32("qwen2.feed_forward_length", shape.inner)
    writer.add_uint32("qwen2.attention.head_count", shape.heads)
    writer.add_uint32("qwen2.attention.head_count_kv", shape.kv_heads)
    writer.add_float32("qwen2.attention.layer_norm_rms_epsilon", 1e-6)
    writer.add_file_type(1)
    writer.add_quantization_version(2)
    known = reference.get_tensor_name_map(reference.MODEL_ARCH.QWEN2, shape.layers)
    for source, dims in shape.tensors.items():
        name = known.get_name(source, try_suffixes=(".weight", ".bias"))
        assert name is not None
        if "ffn_up" in name:
            rows, columns = dims
            made_up = np.frombuffer(shake_256(name.encode()).digest(kind.bytes_of(rows * columns)), "u1") & 0x3F
            writer.add_tensor(name, made_up.reshape(rows, -1), raw_dtype=reference.GGMLQuantizationType(int(kind)))
        else:
            writer.add_tensor(name, checkpoints.weights(name, dims))
    splits.finish(writer)
    return path


class TestAgainstLlamaCpp:
    """A copy of the parts equals the file llama_model_quantize makes with only_copy."""

    @pytest.mark.parametrize("quant", ["F32", "BF16", "Q8_0", "Q4_K_M", "IQ4_XS", "Q2_K"])
    @pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES.keys())
    def test_same_bytes(self, tmp_path: Path, make: Make, folder: Path, shape: Shape, quant: str) -> None:
        parts = splits.split(make(checkpoints.write(tmp_path / "c", shape), quant), folder)
        assert len(parts) > 2
        assert make(parts[-1], "COPY").read_bytes() == quantizer.copied(parts[0]).read_bytes()

    @pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
    def test_same_bytes_of_every_type(self, tmp_path: Path, make: Make, folder: Path, kind: TensorType) -> None:
        parts = splits.split(of_type(tmp_path / "some.gguf", kind), folder)
        made = make(parts[0], "COPY")
        assert made.read_bytes() == quantizer.copied(parts[0]).read_bytes()
        assert kind in {tensor.tensor_type for tensor in reference.GGUFReader(made).tensors}

    @pytest.mark.parametrize("keys_alone", [False, True])
    @pytest.mark.parametrize("tensors", [1, 25])
    def test_same_bytes_however_it_is_split(
        self, gguf: Path, make: Make, folder: Path, tensors: int, keys_alone: bool
    ) -> None:
        parts = splits.split(gguf, folder, tensors, keys_alone=keys_alone, order=lambda found: found[::-1])
        assert make(parts[0], "COPY").read_bytes() == quantizer.copied(parts[0]).read_bytes()

    def test_same_bytes_of_a_complete_file(self, fake: Path, make: Make) -> None:
        converted = make(fake, "BF16")  # tensors and keys are in the converter's order
        copied = quantizer.copied(converted)
        assert copied.read_bytes() != converted.read_bytes()
        assert make(converted, "COPY").read_bytes() == copied.read_bytes()

    def test_same_bytes_with_the_keys_of_an_importance_matrix(self, tmp_path: Path, make: Make, folder: Path) -> None:
        imatrix = quantizer.write_imatrix(tmp_path / "imatrix.gguf", Shape())
        whole = make(checkpoints.write(tmp_path / "c", Shape()), "IQ2_XS", imatrix=imatrix)
        parts = splits.split(whole, folder)
        assert b"quantize.imatrix.file" in parts[0].read_bytes()
        assert make(parts[0], "COPY").read_bytes() == quantizer.copied(parts[0]).read_bytes()

    @pytest.mark.parametrize(
        "change",
        [
            lambda writer: writer.add_custom_alignment(32),
            lambda writer: writer.add_uint16("split.count", 0),  # as llama-gguf-split leaves it
            lambda writer: writer.add_array("some.array", [True, False]),
            lambda writer: writer.add_float64("some.float", 0.1),
            lambda writer: writer.add_file_type(1024 | 7),
        ],
        ids=["alignment", "joined", "booleans", "float", "guessed"],
    )
    def test_same_keys(self, gguf: Path, make: Make, tmp_path: Path, change: splits.Change) -> None:
        source = rewritten(gguf, tmp_path / "changed.gguf", change)
        assert make(source, "COPY").read_bytes() == quantizer.copied(source).read_bytes()


class TestCopy:
    """Joins what was split and loses, adds and guesses nothing."""

    @pytest.mark.parametrize("quant", sorted(QUANTIZED))
    def test_restores_the_file_that_was_split(self, fake: Path, make: Make, folder: Path, quant: str) -> None:
        whole = make(fake, quant)
        assert make(splits.split(whole, folder)[0], "copy").read_bytes() == whole.read_bytes()

    def test_a_copy_of_a_copy_is_the_same(self, gguf: Path, make: Make, folder: Path) -> None:
        once = make(splits.split(gguf, folder)[0], "COPY")
        assert make(once, "COPY").read_bytes() == once.read_bytes()

    def test_missing_keys_are_not_guessed(self, gguf: Path, make: Make, tmp_path: Path) -> None:
        source = rewritten(gguf, tmp_path / "changed.gguf", without("general.file_type"))
        found = reference.GGUFReader(make(source, "COPY"))
        assert list(found.fields) == list(reference.GGUFReader(source).fields)
        theirs = reference.GGUFReader(quantizer.copied(source)).fields["general.file_type"].contents()
        assert theirs & LLAMA_FTYPE_GUESSED  # a flag that r1 leaves out

    def test_another_quantization_version_is_kept(self, gguf: Path, make: Make, tmp_path: Path) -> None:
        source = rewritten(gguf, tmp_path / "changed.gguf", lambda writer: writer.add_quantization_version(1))
        found = reference.GGUFReader(make(source, "COPY")).fields["general.quantization_version"]
        assert found.contents() == 1

    def test_another_alignment_is_dropped(self, gguf: Path, make: Make, tmp_path: Path) -> None:
        source = rewritten(gguf, tmp_path / "changed.gguf", lambda writer: writer.add_custom_alignment(256))
        with pytest.raises(ValueError, match="reshape"):  # llama.cpp's says 256 and is laid out by 32
            reference.GGUFReader(quantizer.copied(source))
        assert make(source, "COPY").read_bytes() == make(gguf, "COPY").read_bytes()

    def test_passes_every_check(self, tiny_path: Path, make: Make, folder: Path) -> None:
        made = make(splits.split(tiny_path, folder, 10)[0], "COPY")
        assert all(check.ok for check in verify(made))

    def test_the_plan_has_the_tensors_and_sizes(self, gguf: Path, folder: Path, tmp_path: Path) -> None:
        parts = splits.split(gguf, folder)
        events = list(quantize(Job(parts[1], "copy", tmp_path / "out.gguf", "some")))
        planned, finished = events[0], events[-1]
        assert isinstance(planned, Planned)
        assert isinstance(finished, Finished)
        weights = sum(int(tensor.n_bytes) for tensor in reference.GGUFReader(gguf).tensors)
        assert (planned.source, planned.quant, planned.bytes_in) == (parts[1], "COPY", weights)
        assert planned.bytes_out == finished.size == (tmp_path / "out.gguf").stat().st_size

    def test_the_manifest_names_every_part(self, gguf: Path, make: Make, folder: Path, tmp_path: Path) -> None:
        parts = splits.split(gguf, folder)
        record = tmp_path / f"{parts[1].stem}-COPY.json"
        made = make(parts[1], "COPY", manifest=record)
        found = Manifest.read(record)
        assert found is not None
        assert (found.quant, found.source) == (made.stem, parts[0].name)  # the quant is that of the file name
        assert found.source_sha256 == {part.name: sha256(part.read_bytes()).hexdigest() for part in parts}
        assert found.sha256 == sha256(made.read_bytes()).hexdigest()

    def test_an_interrupted_copy_resumes(self, gguf: Path, make: Make, folder: Path, tmp_path: Path) -> None:
        parts = splits.split(gguf, folder)
        job = Job(parts[0], "COPY", tmp_path / "out.gguf", "some")
        with closing(quantize(job)) as events:
            while not (isinstance(event := next(events), TensorDone) and event.index == 12):
                pass
        events_of_second = list(quantize(job))
        assert [event.tensors for event in events_of_second if isinstance(event, Resumed)] == [12]
        assert job.target.read_bytes() == quantizer.copied(parts[0]).read_bytes()


class TestRefused:
    """A refused copy leaves no file."""

    def test_a_checkpoint(self, fake: Path, make: Make, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match=r"is a checkpoint, and COPY works only on a GGUF; choose a type"):
            make(fake, "COPY")
        assert names_in(tmp_path) == []

    def test_options_that_have_no_effect(self, gguf: Path, make: Make, tmp_path: Path) -> None:
        imatrix = quantizer.write_imatrix(tmp_path / "imatrix.gguf", Shape())
        for useless in ({"imatrix": imatrix}, {"overrides": [Override.parse("ffn_down=Q4_K")]}):
            with pytest.raises(
                UsageError, match="COPY leaves every tensor unchanged; drop --imatrix and --tensor-type"
            ):
                make(gguf, "COPY", **useless)

    def test_onto_a_part(self, gguf: Path, folder: Path) -> None:
        parts = splits.split(gguf, folder)
        before = parts[1].read_bytes()
        with pytest.raises(UsageError, match="is part of the source"):
            list(quantize(Job(parts[0], "COPY", parts[1], "some")))
        assert parts[1].read_bytes() == before

    def test_a_value_that_is_not_finite(self, fake: Path, make: Make, folder: Path, tmp_path: Path) -> None:
        parts = splits.split(make(fake, "F32"), folder)
        last = reference.GGUFReader(parts[2]).tensors[-1]
        content = bytearray(parts[2].read_bytes())
        content[last.data_offset : last.data_offset + 4] = b"\0\0\xc0\x7f"  # a NaN
        parts[2].write_bytes(content)
        with pytest.raises(BadValue, match=f"{parts[2].name}: {last.name}: a value is NaN"):
            list(quantize(Job(parts[0], "COPY", tmp_path / "out.gguf", "some")))
        assert not list(tmp_path.glob("out.gguf*"))

    def test_without_disk_space(self, gguf: Path, make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(pipeline, "free_space", lambda target: 1000)
        with pytest.raises(NotEnoughSpace, match=r"1\.44 MB needed on this disk, 1 kB free; no type would fit"):
            make(gguf, "COPY")

    @pytest.mark.parametrize("quant", ["COP", "COPY_M", " COPY"])
    def test_names_that_are_only_similar(self, gguf: Path, make: Make, quant: str) -> None:
        with pytest.raises(UsageError, match="unknown type"):
            make(gguf, quant)


class TestQuantizing:
    """A split GGUF is quantized like the complete one, and as llama.cpp does it."""

    @pytest.mark.parametrize("start", ["BF16", "F16", "F32"])
    @pytest.mark.parametrize("quant", ["Q4_K_M", "Q8_0", "BF16"])
    def test_same_bytes(self, fake: Path, make: Make, folder: Path, start: str, quant: str) -> None:
        parts = splits.split(make(fake, start), folder)
        assert make(parts[1], quant).read_bytes() == bytes_of(quantizer.quantized(parts[0], quant))

    def test_quantized_tensors_need_a_flag(self, gguf: Path, make: Make, folder: Path) -> None:
        parts = splits.split(gguf, folder)
        with pytest.raises(UsageError, match=rf"{parts[0].stem}.*\.gguf: .* is already Q8_0.*--allow-requantize"):
            make(parts[0], "Q4_K_M")
        made = make(parts[0], "Q4_K_M", allow_requantize=True)
        assert made.read_bytes() == bytes_of(quantizer.quantized(parts[0], "Q4_K_M", allow_requantize=True))

    def test_a_part_that_changes_during_the_work_is_noticed(self, fake: Path, make: Make, folder: Path) -> None:
        parts = splits.split(make(fake, "F32"), folder)
        job = Job(parts[0], "Q8_0", folder / "out.gguf", "some")
        with closing(quantize(job)) as events:
            while not isinstance(next(events), TensorDone):
                pass
            os.utime(parts[-1], (1, 1))
            with pytest.raises(BadFile, match=f"{parts[-1].name}: the file changed while others were read"):
                list(events)


def bytes_of(path: Path | None) -> bytes:
    """The bytes of a file llama.cpp did not refuse to make."""
    assert path is not None
    return path.read_bytes()
