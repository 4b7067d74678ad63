"""`r1.tuned`: thread settings saved per machine and model file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from r1 import tuned
from r1.machine.cores import Threads
from r1_quantize.errors import UsageError

FOUND = Threads(decode=3, prefill=5)


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    path = tmp_path / "model.gguf"
    path.write_bytes(b"GGUF and more")
    return path


class TestRemember:
    """Settings are saved per machine and model file."""

    def test_a_saved_setting_is_found_again(self, tmp_path: Path, weights: Path) -> None:
        tuned.remember(tmp_path / "home", weights, FOUND)
        assert tuned.threads_for(tmp_path / "home", weights) == FOUND

    def test_a_model_that_was_never_tuned_has_none(self, tmp_path: Path, weights: Path) -> None:
        assert tuned.threads_for(tmp_path, weights) is None
        tuned.remember(tmp_path, weights, FOUND)
        assert tuned.threads_for(tmp_path, tmp_path / "other.gguf") is None

    def test_a_file_that_changed_size_has_none(self, tmp_path: Path, weights: Path) -> None:
        tuned.remember(tmp_path, weights, FOUND)
        weights.write_bytes(b"GGUF")
        assert tuned.threads_for(tmp_path, weights) is None

    def test_another_machine_has_its_own_settings(
        self, tmp_path: Path, weights: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        tuned.remember(tmp_path, weights, FOUND)
        monkeypatch.setattr(tuned, "fingerprint", lambda: "another")
        assert tuned.threads_for(tmp_path, weights) is None
        tuned.remember(tmp_path, weights, Threads(1, 1))
        monkeypatch.undo()
        assert tuned.threads_for(tmp_path, weights) == FOUND

    def test_when_the_default_is_fastest_the_saved_setting_is_removed(self, tmp_path: Path, weights: Path) -> None:
        tuned.remember(tmp_path, weights, None)
        assert not tuned.file_in(tmp_path).exists()
        tuned.remember(tmp_path, weights, FOUND)
        tuned.remember(tmp_path, weights, None)
        assert tuned.threads_for(tmp_path, weights) is None


class TestDamage:
    """A damaged file counts as empty, and is replaced."""

    @pytest.mark.parametrize(
        "content",
        [b"", b"{", b"\xff\xfe", b"[]", b"null", b'"text"', b"[" * 100_000, b'{"a": 1}'],
        ids=["empty", "cut", "no UTF-8", "list", "null", "text", "deep", "other content"],
    )
    def test_a_damaged_file(self, tmp_path: Path, weights: Path, content: bytes) -> None:
        tuned.file_in(tmp_path).write_bytes(content)
        assert tuned.threads_for(tmp_path, weights) is None
        tuned.remember(tmp_path, weights, FOUND)
        assert tuned.threads_for(tmp_path, weights) == FOUND

    @pytest.mark.parametrize("count", [0, -1, 513, 2.0, "2", True, None, [2]])
    def test_impossible_counts(self, tmp_path: Path, weights: Path, count: object) -> None:
        entry = {"bytes": weights.stat().st_size, "decode": count, "prefill": 2}
        machines = {tuned.fingerprint(): {str(weights): entry}}
        tuned.file_in(tmp_path).write_text(json.dumps(machines), encoding="utf-8")
        assert tuned.threads_for(tmp_path, weights) is None

    @pytest.mark.parametrize("value", [None, 7, "text", [1]])
    def test_a_machine_or_model_that_is_not_an_object(self, tmp_path: Path, weights: Path, value: object) -> None:
        for machines in ({tuned.fingerprint(): value}, {tuned.fingerprint(): {str(weights): value}}):
            tuned.file_in(tmp_path).write_text(json.dumps(machines), encoding="utf-8")
            assert tuned.threads_for(tmp_path, weights) is None
            tuned.remember(tmp_path, weights, FOUND)
            assert tuned.threads_for(tmp_path, weights) == FOUND


class TestUnusableHome:
    """What cannot be saved is one line that says what to change."""

    @pytest.mark.parametrize("place", ["file", "file/below", "x" * 300])
    def test_is_a_usage_error(self, tmp_path: Path, weights: Path, place: str) -> None:
        (tmp_path / "file").write_text("")
        with pytest.raises(UsageError, match=r"; choose another place, or change its permissions$"):
            tuned.remember(tmp_path / place, weights, FOUND)


class TestFingerprint:
    """The name of this machine."""

    def test_names_the_cores_and_does_not_change(self) -> None:
        assert "core" in tuned.fingerprint()
        assert tuned.fingerprint() == tuned.fingerprint()
