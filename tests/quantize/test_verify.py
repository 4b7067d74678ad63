"""`r1_quantize.verify`: what it says of whole and of damaged files."""

from __future__ import annotations

from pathlib import Path

import pytest

from r1_quantize import reader
from r1_quantize.pipeline import Job, quantize
from r1_quantize.verify import Check, verify
from tests.fakes import checkpoints
from tests.fakes.checkpoints import Shape


@pytest.fixture
def stored(fake: Path, tmp_path: Path) -> Path:
    """A GGUF of its own for each test, with a manifest."""
    target = tmp_path / "Q8_0.gguf"
    list(quantize(Job(fake, "Q8_0", target, name="fake", manifest=target.with_suffix(".json"))))
    return target


def checked(path: Path) -> dict[str, Check]:
    """The checks by name."""
    return {check.name: check for check in verify(path)}


class TestWhole:
    """A file as it was made passes everything."""

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
    """What is wrong is a failed check in plain words, never an error."""

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
        assert checked(target)["values"] == Check(
            "values", False, "'blk.1.ffn_up.weight': a value that is NaN or infinite"
        )

    def test_types_that_are_not_what_was_made(self, stored: Path, fake: Path) -> None:
        made = stored.with_suffix(".json").read_text()
        list(quantize(Job(fake, "Q4_K_M", stored, name="fake")))
        stored.with_suffix(".json").write_text(made)
        found = checked(stored)
        assert not found["types"].ok
        assert found["types"].detail.endswith("F32 × 11, Q8_0 × 16 when it was made")

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

    def test_a_model_that_is_no_distill_of_r1(self, tmp_path: Path) -> None:
        source = checkpoints.write(tmp_path / "c")
        text = (source / "tokenizer.json").read_text().replace("<think>", "<muse>")
        (source / "tokenizer.json").write_text(text)
        list(quantize(Job(source, "Q8_0", tmp_path / "a.gguf", name="c")))
        assert checked(tmp_path / "a.gguf")["tokens"] == Check("tokens", False, "its vocabulary lacks <think>")

    def test_a_file_that_is_not_there(self, tmp_path: Path) -> None:
        assert not checked(tmp_path / "none.gguf")["structure"].ok
