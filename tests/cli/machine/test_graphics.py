"""`r1.machine.graphics`: GPUs, and those that llama.cpp does not use."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from r1.machine.graphics import Graphics, Unused, graphics, unused
from tests.fakes.programs import write_program

# chapter "Using the /proc File System Interface" of the NVIDIA driver's README
INFORMATION = """Model: \t\t NVIDIA GeForce RTX 4090
IRQ:   \t\t 130
GPU UUID: \t GPU-00000000-0000-0000-0000-000000000000
Bus Type: \t PCIe
"""
LISTED = "GPU 0: NVIDIA GeForce GTX 1650 (UUID: GPU-00000000-0000-0000-0000-000000000000)"
RTX = Graphics("NVIDIA", "GeForce RTX 4090")


def seen(root: Path, path: str = "/nowhere", system: str = "linux", architecture: str = "x86_64") -> list[Graphics]:
    return graphics(root, path, system, architecture)


class TestGraphics:
    """How the GPUs of each maker are detected."""

    def test_nvidias_driver_names_its_gpu(self, tmp_path: Path) -> None:
        gpu = tmp_path / "proc/driver/nvidia/gpus/0000:01:00.0"
        gpu.mkdir(parents=True)
        (gpu / "information").write_text(INFORMATION)
        assert seen(tmp_path) == [RTX]

    def test_a_device_file_is_enough_to_detect_a_gpu(self, tmp_path: Path) -> None:
        (tmp_path / "dev").mkdir()
        for name in ("nvidia0", "kfd"):
            (tmp_path / "dev" / name).touch()
        assert seen(tmp_path) == [Graphics("NVIDIA"), Graphics("AMD")]

    @pytest.mark.skipif(sys.platform == "win32", reason="scripts are not executable on Windows")
    def test_without_driver_files_nvidia_smi_is_asked(self, tmp_path: Path) -> None:
        path = write_program(tmp_path, "nvidia-smi", f"print({LISTED!r})")
        assert seen(tmp_path, path) == [Graphics("NVIDIA", "GeForce GTX 1650")]

    @pytest.mark.skipif(sys.platform == "win32", reason="scripts are not executable on Windows")
    @pytest.mark.parametrize("script", ["print('No devices found.')", "raise SystemExit(9)"])
    def test_nvidia_smi_without_a_gpu_finds_none(self, tmp_path: Path, script: str) -> None:
        assert seen(tmp_path, write_program(tmp_path, "nvidia-smi", script)) == []

    def test_apple_silicon_has_one(self, tmp_path: Path) -> None:
        assert seen(tmp_path, system="darwin", architecture="arm64") == [Graphics("Apple")]
        assert seen(tmp_path, system="darwin", architecture="x86_64") == []


class TestUnused:
    """A GPU is reported when llama.cpp has no device for it."""

    def of(self, usable: set[str], backends: set[str], **environ: str) -> list[Unused]:
        return unused([RTX], usable, backends, environ, "/nowhere")

    def test_a_build_without_cuda_should_be_rebuilt_with_it(self) -> None:
        (found,) = self.of(set(), {"CPU"})
        assert (found.graphics, found.flag, found.built) == (RTX, "-DGGML_CUDA=on", False)

    @pytest.mark.parametrize("backend", ["CUDA", "Vulkan"])
    def test_a_gpu_in_use_is_not_reported(self, backend: str) -> None:
        assert self.of({backend}, {backend, "CPU"}) == []

    def test_a_second_gpu_beside_one_in_use_is_not_reported(self) -> None:
        assert unused([RTX, Graphics("AMD")], {"CUDA"}, {"CUDA", "CPU"}, {}) == []

    def test_a_build_with_cuda_but_no_device_lacks_the_driver(self) -> None:
        (found,) = self.of(set(), {"CUDA", "CPU"})
        assert found.built

    def test_a_gpu_that_the_user_hides_is_not_reported(self) -> None:
        assert self.of(set(), {"CPU"}, CUDA_VISIBLE_DEVICES="") == []
        assert self.of(set(), {"CPU"}, CUDA_VISIBLE_DEVICES="0")

    def test_names_what_has_to_be_installed_first(self, tmp_path: Path) -> None:
        path = write_program(tmp_path, "glslc")
        amd = [Graphics("AMD")]
        assert unused(amd, (), (), {}, "/nowhere") == [Unused(amd[0], "-DGGML_VULKAN=on", "the Vulkan SDK")]
        assert unused(amd, (), (), {}, path) == [Unused(amd[0], "-DGGML_VULKAN=on", "")]
        assert unused(amd, (), (), {}, write_program(tmp_path, "hipcc")) == [Unused(amd[0], "-DGGML_HIP=on", "")]

    def test_metal_needs_nothing_first(self) -> None:
        assert unused([Graphics("Apple")], (), (), {}) == [Unused(Graphics("Apple"), "-DGGML_METAL=on", "")]
