"""`r1.tuned` and `r1.machine.memory`: what was found for this machine, and how it is known again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from r1 import tuned
from r1.machine.cores import Threads
from r1.machine.memory import peak_memory

FOUND = Threads(decode=3, prefill=5)


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    path = tmp_path / "model.gguf"
    path.write_bytes(b"GGUF and more")
    return path


class TestRemembering:
    """Per machine and model file."""

    def test_what_was_found_is_known_again(self, tmp_path: Path, weights: Path) -> None:
        tuned.remember(tmp_path / "home", weights, FOUND)
        assert tuned.threads_for(tmp_path / "home", weights) == FOUND

    def test_nothing_is_known_of_what_was_never_tuned(self, tmp_path: Path, weights: Path) -> None:
        assert tuned.threads_for(tmp_path, weights) is None
        tuned.remember(tmp_path, weights, FOUND)
        assert tuned.threads_for(tmp_path, tmp_path / "other.gguf") is None

    def test_a_file_of_another_size_is_another_model(self, tmp_path: Path, weights: Path) -> None:
        tuned.remember(tmp_path, weights, FOUND)
        weights.write_bytes(b"GGUF")
        assert tuned.threads_for(tmp_path, weights) is None

    def test_another_machine_has_its_own(self, tmp_path: Path, weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        tuned.remember(tmp_path, weights, FOUND)
        monkeypatch.setattr(tuned, "fingerprint", lambda: "another")
        assert tuned.threads_for(tmp_path, weights) is None
        tuned.remember(tmp_path, weights, Threads(1, 1))
        monkeypatch.undo()
        assert tuned.threads_for(tmp_path, weights) == FOUND

    def test_when_nothing_beats_the_usual_setting_what_was_found_before_is_forgotten(
        self, tmp_path: Path, weights: Path
    ) -> None:
        tuned.remember(tmp_path, weights, None)
        assert not tuned.file_in(tmp_path).exists()
        tuned.remember(tmp_path, weights, FOUND)
        tuned.remember(tmp_path, weights, None)
        assert tuned.threads_for(tmp_path, weights) is None


class TestDamage:
    """Says nothing, and is replaced."""

    @pytest.mark.parametrize(
        "content",
        [b"", b"{", b"\xff\xfe", b"[]", b"null", b'"text"', b"[" * 100_000, b'{"a": 1}'],
        ids=["empty", "cut", "no UTF-8", "list", "null", "text", "deep", "of something else"],
    )
    def test_a_damaged_file(self, tmp_path: Path, weights: Path, content: bytes) -> None:
        tuned.file_in(tmp_path).write_bytes(content)
        assert tuned.threads_for(tmp_path, weights) is None
        tuned.remember(tmp_path, weights, FOUND)
        assert tuned.threads_for(tmp_path, weights) == FOUND

    @pytest.mark.parametrize("count", [0, -1, 513, 2.0, "2", True, None, [2]])
    def test_counts_that_no_one_could_have_found(self, tmp_path: Path, weights: Path, count: object) -> None:
        entry = {"bytes": weights.stat().st_size, "decode": count, "prefill": 2}
        everything = {tuned.fingerprint(): {str(weights): entry}}
        tuned.file_in(tmp_path).write_text(json.dumps(everything), encoding="utf-8")
        assert tuned.threads_for(tmp_path, weights) is None

    @pytest.mark.parametrize("value", [None, 7, "text", [1]])
    def test_a_machine_or_model_that_is_no_object(self, tmp_path: Path, weights: Path, value: object) -> None:
        for everything in ({tuned.fingerprint(): value}, {tuned.fingerprint(): {str(weights): value}}):
            tuned.file_in(tmp_path).write_text(json.dumps(everything), encoding="utf-8")
            assert tuned.threads_for(tmp_path, weights) is None
            tuned.remember(tmp_path, weights, FOUND)
            assert tuned.threads_for(tmp_path, weights) == FOUND


class TestMachine:
    """What it says of itself."""

    def test_is_known_again(self) -> None:
        assert "core" in tuned.fingerprint()
        assert tuned.fingerprint() == tuned.fingerprint()

    def test_peak_memory_grows_with_what_is_taken_and_stays(self) -> None:
        before = peak_memory()
        taken = bytearray(before + 30_000_000)
        taken[::4096] = b"x" * len(taken[::4096])
        after = peak_memory()
        del taken
        assert after > before + 20_000_000
        assert peak_memory() > after - 5_000_000  # Linux counts in batches, a core at a time
