"""`r1_quantize.verify`: what it says of whole and of damaged files."""

from __future__ import annotations

from pathlib import Path

import pytest

from r1_quantize.manifest import Manifest
from r1_quantize.pipeline import Job, quantize
from r1_quantize.verify import Check, verify
from tests.fakes import checkpoints


@pytest.fixture
def stored(fake: Path, tmp_path: Path) -> Path:
    """A GGUF of its own for each test, with a manifest."""
    target = tmp_path / "Q8_0.gguf"
    list(quantize(Job(fake, "Q8_0", target, name="fake", manifest=target.with_suffix(".json"))))
    return target


def checked(path: Path) -> dict[str, Check]:
    """The checks by name."""
    return {check.name: check for check in verify(path, Manifest.read(path.with_suffix(".json")))}


class TestWhole:
    """A file as it was made passes everything."""

    def test_every_check_is_passed(self, stored: Path) -> None:
        found = checked(stored)
        assert list(found) == ["structure", "tokens", "size", "digest"]
        assert all(check.ok for check in found.values())

    def test_without_a_manifest_it_says_so(self, stored: Path) -> None:
        stored.with_suffix(".json").unlink()
        found = checked(stored)
        assert list(found) == ["structure", "tokens", "origin"]
        assert all(check.ok for check in found.values())
        assert "no manifest" in found["origin"].detail


class TestDamaged:
    """What is wrong is a failed check in plain words, never an error."""

    def test_one_flipped_bit_in_a_weight(self, stored: Path) -> None:
        data = bytearray(stored.read_bytes())
        data[-100] ^= 1
        stored.write_bytes(data)
        assert [name for name, check in checked(stored).items() if not check.ok] == ["digest"]

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
