"""`r1.hints`: a GPU that goes unused is pointed out once."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from r1 import hints
from r1.engine.devices import devices
from r1.machine.graphics import Graphics

CARD = [Graphics("NVIDIA", "GeForce RTX 4090")]

pytestmark = pytest.mark.skipif(any(device.is_gpu for device in devices()), reason="llama.cpp uses this machine's GPU")


def said(home: Path) -> list[str]:
    return list(hints.unused_gpus({"R1_HOME": str(home)}))


class TestUnusedGPU:
    """One line, with the command that fixes it; then no more of it."""

    def test_is_told_with_the_command_and_once(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(hints, "graphics", lambda: CARD)
        (line,) = said(tmp_path)
        assert line.startswith("this build of llama.cpp cannot use the NVIDIA GeForce RTX 4090; ")
        assert 'CMAKE_ARGS="-DGGML_CUDA=on"' in line
        assert "llama-cpp-python==" in line
        assert Path(sys.executable).name in line or "pipx" in line or "uv " in line
        assert said(tmp_path) == []

    def test_nobody_is_told_of_what_is_not_there(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(hints, "graphics", list)
        assert said(tmp_path) == []
        assert list(tmp_path.iterdir()) == []
        monkeypatch.setattr(hints, "graphics", lambda: CARD)  # a card that was put in later
        assert len(said(tmp_path)) == 1
