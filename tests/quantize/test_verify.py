"""`r1_quantize.verify`: undamaged files pass, and each damage fails one check."""

from __future__ import annotations

import zlib
from dataclasses import replace
from pathlib import Path

import gguf
import pytest

from r1_quantize.gguf import reader
from r1_quantize.pipeline import Job, quantize
from r1_quantize.store.manifest import Manifest
from r1_quantize.verify import Check, checksums, verify
from tests.fakes import checkpoints
from tests.fakes.checkpoints import Shape


@pytest.fixture
def stored(fake: Path, tmp_path: Path) -> Path:
    """A GGUF with a manifest, made for each test."""
    target = tmp_path / "Q8_0.gguf"
    list(quantize(Job(fake, "Q8_0", target, name="fake", manifest=target.with_suffix(".json"))))
    return target


def checked(path: Path) -> dict[str, Check]:
    """The checks by name."""
    return {check.name: check for check in verify(path)}


class TestUndamaged:
    """An undamaged file passes every check."""

    def test_every_check_is_passed(self, stored: Path) -> None:
        found = checked(stored)
        assert list(found) == ["structure", "tensors", "types", "tokens", "size", "values", "digest"]
        assert all(check.ok for check in found.values())

    def test_without_a_manifest_it_says_so(self, stored: Path) -> None:
        stored.with_suffix(".json").unlink()
        found = checked(stored)
        assert list(found) == ["structure", "tensors", "types", "tokens", "values", "digest"]
        assert all(check.ok for check in found.values())
        assert "no manifest" in found["digest"].detail

    @pytest.mark.parametrize("shape", [Shape(llama=True), Shape(llama=True, biased=True), Shape(tied=True)])
    @pytest.mark.parametrize("quant", ["F32", "BF16", "IQ4_XS", "Q3_K_M"])
    def test_of_every_kind(self, tmp_path: Path, shape: Shape, quant: str) -> None:
        source = checkpoints.write(tmp_path / "c", shape)
        list(quantize(Job(source, quant, tmp_path / "a.gguf", name="c")))
        assert all(check.ok for check in checked(tmp_path / "a.gguf").values())


class TestDamaged:
    """Damage is a failed check, never an error."""

    def test_the_manifest(self, stored: Path) -> None:
        stored.with_suffix(".json").write_bytes(b"\0" * 8)
        found = checked(stored)
        assert [name for name, check in found.items() if not check.ok] == ["manifest"]

    def test_one_flipped_bit_in_a_weight(self, stored: Path) -> None:
        data = bytearray(stored.read_bytes())
        data[-100] ^= 1
        stored.write_bytes(data)
        assert [name for name, check in checked(stored).items() if not check.ok] == ["digest"]

    @pytest.mark.parametrize("quant", ["F32", "F16", "BF16", "Q8_0", "Q4_K_M", "Q2_K", "IQ3_S"])
    def test_a_scale_or_value_that_is_not_finite(self, fake: Path, tmp_path: Path, quant: str) -> None:
        target = tmp_path / "a.gguf"
        list(quantize(Job(fake, quant, target, name="fake")))
        tensor = next(tensor for tensor in reader.read(target).tensors if tensor.name == "blk.1.ffn_up.weight")
        data = bytearray(target.read_bytes())
        start = tensor.offset + 400 * tensor.type.block_bytes
        data[start : start + tensor.type.block_bytes] = b"\xff" * tensor.type.block_bytes  # a NaN in every type
        target.write_bytes(data)
        assert checked(target)["values"] == Check("values", False, "'blk.1.ffn_up.weight': a value is NaN or infinite")

    def test_types_that_differ_from_the_manifest(self, stored: Path, fake: Path) -> None:
        made = stored.with_suffix(".json").read_text()
        list(quantize(Job(fake, "Q4_K_M", stored, name="fake")))
        stored.with_suffix(".json").write_text(made)
        found = checked(stored)
        assert not found["types"].ok
        assert found["types"].detail.endswith("; the manifest has F32 × 11, Q8_0 × 16")

    def test_a_missing_tensor(self, fake: Path, tmp_path: Path) -> None:
        target = tmp_path / "a.gguf"
        list(quantize(Job(fake, "F32", target, name="fake")))
        target.write_bytes(target.read_bytes().replace(b"blk.1.attn_v.weight", b"blk.1.attn_x.weight"))
        assert checked(target)["tensors"] == Check("tensors", False, "blk.1.attn_v.weight missing")

    def test_a_file_of_zeros_of_the_right_size(self, stored: Path) -> None:
        stored.write_bytes(bytes(stored.stat().st_size))
        found = checked(stored)
        assert list(found) == ["structure"]
        assert "not a GGUF" in found["structure"].detail

    def test_a_file_cut_short(self, stored: Path) -> None:
        stored.write_bytes(stored.read_bytes()[:-1000])
        found = checked(stored)
        assert not found["structure"].ok
        assert "cut short" in found["structure"].detail

    def test_bytes_after_the_end(self, stored: Path) -> None:
        stored.write_bytes(stored.read_bytes() + b"more")
        assert [name for name, check in checked(stored).items() if not check.ok] == ["size", "digest"]

    def test_a_model_that_is_not_an_r1_distill(self, tmp_path: Path) -> None:
        source = checkpoints.write(tmp_path / "c")
        text = (source / "tokenizer.json").read_text().replace("<think>", "<muse>")
        (source / "tokenizer.json").write_text(text)
        list(quantize(Job(source, "Q8_0", tmp_path / "a.gguf", name="c")))
        assert checked(tmp_path / "a.gguf")["tokens"] == Check("tokens", False, "the vocabulary lacks <think>")

    def test_a_missing_file(self, tmp_path: Path) -> None:
        assert not checked(tmp_path / "none.gguf")["structure"].ok


class TestWhere:
    """The damaged tensor is named if the manifest has checksums."""

    def damage(self, path: Path, *names: str) -> None:
        """Flips a bit in the last byte of each of these tensors, found with gguf-py."""
        tensors = {tensor.name: tensor for tensor in gguf.GGUFReader(path).tensors}
        places = [tensors[name].data_offset + tensors[name].n_bytes - 1 for name in names]
        del tensors
        with path.open("r+b") as file:
            for place in places:
                file.seek(place)
                (byte,) = file.read(1)
                file.seek(place)
                file.write(bytes([byte ^ 1]))

    def said(self, path: Path) -> str:
        found = checked(path)
        assert not found["digest"].ok
        return found["digest"].detail

    def test_the_manifest_has_the_tensors_checksums(self, stored: Path) -> None:
        manifest = Manifest.read(stored.with_suffix(".json"))
        assert manifest is not None
        data = stored.read_bytes()
        tensors = [
            (tensor.name, int(tensor.data_offset), int(tensor.n_bytes)) for tensor in gguf.GGUFReader(stored).tensors
        ]
        assert manifest.tensor_crc32 == {name: zlib.crc32(data[at : at + count]) for name, at, count in tensors}

    def test_checksums_are_those_of_the_present_file(self, stored: Path) -> None:
        before = {tensor.name: crc for tensor, crc in checksums(reader.read(stored))}
        self.damage(stored, "blk.1.ffn_up.weight")
        after = {tensor.name: crc for tensor, crc in checksums(reader.read(stored))}
        assert {name for name in before if before[name] != after[name]} == {"blk.1.ffn_up.weight"}

    def test_one_tensor(self, stored: Path) -> None:
        self.damage(stored, "blk.1.ffn_up.weight")
        assert self.said(stored).endswith(f"the manifest has {self.recorded(stored)}; damaged: blk.1.ffn_up.weight")

    def test_several(self, stored: Path) -> None:
        self.damage(stored, "output.weight", "blk.0.attn_q.weight", "blk.1.ffn_up.weight")
        said = self.said(stored)
        first = min(("output.weight", "blk.0.attn_q.weight", "blk.1.ffn_up.weight"), key=self.order(stored).index)
        assert said.endswith(f"; damaged: {first} and 2 more of {len(Shape().tensors)} tensors")

    def recorded(self, path: Path) -> str:
        """The SHA-256 in the manifest."""
        manifest = Manifest.read(path.with_suffix(".json"))
        assert manifest is not None
        return manifest.sha256

    def order(self, path: Path) -> list[str]:
        return [tensor.name for tensor in gguf.GGUFReader(path).tensors]

    def test_the_header(self, stored: Path) -> None:
        data = stored.read_bytes()
        assert data.count(b"general.name") == 1
        at = data.index(b"fake", data.index(b"general.name"))
        stored.write_bytes(data[:at] + b"f4ke" + data[at + 4 :])
        assert self.said(stored).endswith("; damaged: the header")

    def test_an_older_manifest_cannot_tell(self, stored: Path) -> None:
        manifest = Manifest.read(stored.with_suffix(".json"))
        assert manifest is not None
        stored.with_suffix(".json").write_text(replace(manifest, tensor_crc32={}).to_json())
        self.damage(stored, "blk.1.ffn_up.weight")
        assert self.said(stored).endswith(f"the manifest has {self.recorded(stored)}")

    def test_a_manifest_of_other_tensors(self, stored: Path) -> None:
        manifest = Manifest.read(stored.with_suffix(".json"))
        assert manifest is not None
        other = {f"x{name}": crc for name, crc in manifest.tensor_crc32.items()}
        stored.with_suffix(".json").write_text(replace(manifest, tensor_crc32=other, sha256="0" * 64).to_json())
        assert f"and 26 more of {len(Shape().tensors)} tensors" in self.said(stored)
