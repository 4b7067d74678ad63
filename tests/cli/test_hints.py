"""`r1.hints`: an unused GPU is pointed out once."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from r1 import hints
from r1.engine.devices import devices
from r1.hints import remember, was_shown
from r1.machine.graphics import Graphics

CARD = [Graphics("NVIDIA", "GeForce RTX 4090")]


def shown(home: Path) -> list[str]:
    return list(hints.unused_gpus({"R1_HOME": str(home)}))


@pytest.mark.skipif(any(device.is_gpu for device in devices()), reason="llama.cpp uses this machine's GPU")
class TestUnusedGPUs:
    """One line with the command that fixes it, shown once."""

    def test_is_shown_once_with_the_command(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(hints, "graphics", lambda: CARD)
        (line,) = shown(tmp_path)
        assert line.startswith("this build of llama.cpp cannot use the NVIDIA GeForce RTX 4090")
        assert 'CMAKE_ARGS="-DGGML_CUDA=on"' in line
        assert "llama-cpp-python==" in line
        assert Path(sys.executable).name in line or "pipx" in line or "uv " in line
        assert shown(tmp_path) == []

    def test_a_card_added_later_is_still_pointed_out(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(hints, "graphics", list)
        assert shown(tmp_path) == []
        assert list(tmp_path.iterdir()) == []
        monkeypatch.setattr(hints, "graphics", lambda: CARD)
        assert len(shown(tmp_path)) == 1


def once(home: Path, hint: str) -> bool:
    """Whether the hint is shown now; if so, that is recorded."""
    if was_shown(home, hint):
        return False
    remember(home, hint)
    return True


class TestRemember:
    """Each hint is shown once."""

    def test_each_hint_is_remembered_by_its_name(self, tmp_path: Path) -> None:
        home = tmp_path / "not" / "yet"
        found = [once(home, hint) for hint in ("gpu", "gpu", "disk", "gpu", "disk")]
        assert found == [True, False, True, False, False]

    def test_a_part_of_a_name_is_another_hint(self, tmp_path: Path) -> None:
        assert once(tmp_path, "gpu NVIDIA")
        assert once(tmp_path, "gpu")

    def test_is_shown_every_time_where_nothing_can_be_written(self, tmp_path: Path) -> None:
        home = tmp_path / "file"
        home.touch()  # a file, where a folder would have to be made
        assert once(home, "gpu")
        assert once(home, "gpu")

    def test_a_corrupt_file_is_no_error(self, tmp_path: Path) -> None:
        (tmp_path / "told").write_bytes(b"\xff\x00" * 100 + b"\n")
        assert once(tmp_path, "gpu")
        assert not once(tmp_path, "gpu")
