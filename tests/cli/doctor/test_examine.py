"""`r1.doctor.examine`: how a diagnosis is gathered."""

from __future__ import annotations

from pathlib import Path

import pytest

from r1.console import Console
from r1.doctor import examine as module
from r1.doctor.examine import examine
from r1.engine.build import build
from r1.engine.devices import devices
from r1.machine.cores import Threads, default_threads
from r1.machine.graphics import Graphics
from r1_quantize.errors import R1Error, UsageError
from tests.fakes.consoles import console


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the second that measuring takes."""
    monkeypatch.setattr(module, "read_bandwidth", lambda threads, free: 20e9)
    monkeypatch.setattr(module, "busy_share", lambda: 0.1)


@pytest.fixture
def own(tmp_path: Path) -> Console:
    """A console whose R1_HOME is empty."""
    return console(environ={"R1_HOME": str(tmp_path)})


class TestExamine:
    """Asks every part of the machine, and goes without those that fail."""

    def test_has_the_build_and_its_devices(self, own: Console) -> None:
        diagnosed = examine(own)
        assert (diagnosed.build, diagnosed.llama_cpp_error) == (build(), None)
        assert [device.name for device in diagnosed.devices] == [device.name for device in devices()]
        assert diagnosed.hardware.bandwidth == 20e9

    def test_without_llama_cpp_it_says_why_and_still_estimates_the_models(
        self, own: Console, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def broken() -> None:
            raise R1Error("it cannot be loaded")

        monkeypatch.setattr(module, "build", broken)
        diagnosed = examine(own)
        assert (diagnosed.build, diagnosed.llama_cpp_error, diagnosed.devices) == (None, "it cannot be loaded", [])
        assert {prospect.name for prospect in diagnosed.prospects} >= {"qwen-1.5b", "llama-70b"}

    def test_a_gpu_that_the_build_does_not_support_is_unused(
        self, own: Console, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(module, "graphics", lambda: [Graphics("NVIDIA")])
        monkeypatch.setattr(module, "devices", list)
        (unused,) = examine(own).unused
        assert (unused.graphics.maker, unused.built) == ("NVIDIA", False)

    def test_models_on_this_machine_are_listed(self, own: Console, tmp_path: Path) -> None:
        assert examine(own).stored == frozenset()
        model = tmp_path / "models" / "qwen-1.5b" / "Q8_0.gguf"
        model.parent.mkdir(parents=True)
        model.write_bytes(b"GGUF")
        assert examine(own).stored == {"qwen-1.5b:Q8_0"}

    def test_the_threads_are_those_of_the_settings_if_they_name_a_number(self, own: Console) -> None:
        assert examine(own).hardware.threads == default_threads()
        assert examine(own, 3).hardware.threads == Threads(3, 3)

    def test_a_fault_in_the_users_models_toml_is_an_error(self, own: Console, tmp_path: Path) -> None:
        (tmp_path / "models.toml").write_text("[qwen-7b]\nrepos = 1\n", encoding="utf-8")
        with pytest.raises(UsageError, match="repos"):
            examine(own)
