"""GPUs that the machine has but this build of llama.cpp cannot use."""

from __future__ import annotations

import platform
import shutil
import subprocess
import sys
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Maker = Literal["NVIDIA", "AMD", "Apple"]

_BACKENDS: dict[Maker, frozenset[str]] = {
    "NVIDIA": frozenset({"CUDA", "Vulkan"}),
    "AMD": frozenset({"ROCm", "HIP", "Vulkan"}),
    "Apple": frozenset({"Metal", "MTL"}),
}
_HIDING: dict[Maker, tuple[str, ...]] = {
    "NVIDIA": ("CUDA_VISIBLE_DEVICES",),
    "AMD": ("HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES"),
    "Apple": (),
}
"""Environment variables that hide a GPU from its backend."""

_TIMEOUT_S = 2.0


@dataclass(frozen=True, slots=True)
class Graphics:
    """A GPU as the system shows it; `name` is empty where only a driver knows it."""

    maker: Maker
    name: str = ""


@dataclass(frozen=True, slots=True)
class Unused:
    """A GPU that llama.cpp does not use.

    `flag` is CMake's flag to build llama.cpp for it; `first` names what has to be installed before that, empty when it
    is installed. `built`: the build supports such GPUs, so the driver is missing.
    """

    graphics: Graphics
    flag: str
    first: str
    built: bool = False


def graphics(
    root: Path = Path("/"), path: str | None = None, system: str = sys.platform, architecture: str = ""
) -> list[Graphics]:
    """The GPUs found, at most one of each maker.

    `dev` and `proc` are read below `root`; `path` is where programs are looked for (default: PATH).
    """
    gpus: list[Graphics] = []
    if nvidia := _nvidia(root, path):
        gpus.append(nvidia)
    if (root / "dev/kfd").exists():
        gpus.append(Graphics("AMD"))
    if system == "darwin" and (architecture or platform.machine()) == "arm64":
        gpus.append(Graphics("Apple"))
    return gpus


def unused(
    gpus: Collection[Graphics],
    usable: Collection[str],
    backends: Collection[str],
    environ: Mapping[str, str],
    path: str | None = None,
) -> list[Unused]:
    """The GPUs that llama.cpp has no device for; empty when it has one for any GPU, because it then uses that one.

    `usable` are the backends of llama.cpp's GPU devices, `backends` all backends of the build, both by ggml's names.
    GPUs that the user hides (CUDA_VISIBLE_DEVICES and the like) are left out.
    """
    if usable:
        return []
    return [_unused(gpu, backends, path) for gpu in gpus if not _is_hidden(gpu.maker, environ)]


def _unused(gpu: Graphics, backends: Collection[str], path: str | None) -> Unused:
    flag, first = _remedy(gpu.maker, path)
    return Unused(gpu, flag=flag, first=first, built=bool(_BACKENDS[gpu.maker] & set(backends)))


def _nvidia(root: Path, path: str | None) -> Graphics | None:
    """From the driver's files in /proc; on Windows and WSL from nvidia-smi."""
    for information in sorted((root / "proc/driver/nvidia/gpus").glob("*/information")):
        return Graphics("NVIDIA", _model(information))
    if (root / "dev/nvidia0").exists():
        return Graphics("NVIDIA")
    program = shutil.which("nvidia-smi", path=path)
    name = _first_of_smi(program) if program else ""
    return Graphics("NVIDIA", name) if name else None


def _model(information: Path) -> str:
    """`Model:  NVIDIA GeForce RTX 4090` → the name without the maker's."""
    try:
        lines = information.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    pairs = dict(line.partition(":")[::2] for line in lines)
    return pairs.get("Model", "").strip().removeprefix("NVIDIA ")


def _first_of_smi(program: str) -> str:
    """The name in `GPU 0: NVIDIA GeForce RTX 4090 (UUID: GPU-…)`, nvidia-smi's first line; empty without a GPU."""
    try:
        output = subprocess.run([program, "-L"], capture_output=True, text=True, check=True, timeout=_TIMEOUT_S).stdout
    except (OSError, subprocess.SubprocessError):
        return ""
    first = next((line for line in output.splitlines() if line.startswith("GPU ")), "")
    return first.partition(": ")[2].partition(" (")[0].removeprefix("NVIDIA ")


def _remedy(maker: Maker, path: str | None) -> tuple[str, str]:
    """CMake's flag, and what has to be installed first."""
    if maker == "Apple":
        return "-DGGML_METAL=on", ""
    if maker == "NVIDIA":
        toolkit = shutil.which("nvcc", path=path) or Path("/usr/local/cuda/bin/nvcc").exists()
        return "-DGGML_CUDA=on", "" if toolkit else "NVIDIA's CUDA toolkit"
    if shutil.which("hipcc", path=path):
        return "-DGGML_HIP=on", ""
    return "-DGGML_VULKAN=on", "" if shutil.which("glslc", path=path) else "the Vulkan SDK"


def _is_hidden(maker: Maker, environ: Mapping[str, str]) -> bool:
    return any(environ.get(name) in {"", "-1"} for name in _HIDING[maker])
