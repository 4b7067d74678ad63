"""A GPU that the machine has, though this build of llama.cpp cannot use it.

Knows: what NVIDIA's, AMD's and Apple's are recognised by. Does not know: what llama.cpp does with one.
"""

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
_PATIENCE = 2.0  # seconds


@dataclass(frozen=True, slots=True)
class Graphics:
    """A GPU as the system shows it; `name` is empty where that takes a driver to know."""

    maker: Maker
    name: str = ""


@dataclass(frozen=True, slots=True)
class Unused:
    """A GPU that goes unused. `flag` is what CMake needs to build for it; `first` what has to be installed before, in
    words, if it is not. With `built` the build is for such GPUs, and it is the driver that shows it none."""

    graphics: Graphics
    flag: str
    first: str
    built: bool = False


def graphics(
    root: Path = Path("/"), path: str | None = None, system: str = sys.platform, architecture: str = ""
) -> list[Graphics]:
    """The GPUs that are recognised, one a maker.

    Below `root` lie `dev` and `proc`; `path` is where programs are looked for (default: PATH).
    """
    found: list[Graphics] = []
    if nvidia := _nvidia(root, path):
        found.append(nvidia)
    if (root / "dev/kfd").exists():
        found.append(Graphics("AMD"))
    if system == "darwin" and (architecture or platform.machine()) == "arm64":
        found.append(Graphics("Apple"))
    return found


def unused(
    there: Collection[Graphics],
    usable: Collection[str],
    backends: Collection[str],
    environ: Mapping[str, str],
    path: str | None = None,
) -> list[Unused]:
    """Those of `there` that llama.cpp shows no device for; none where it shows some GPU, which will be the one to use.

    `usable` are the backends of the GPUs that it shows, `backends` those that the build knows; both by ggml's names.
    A GPU that the person hides (CUDA_VISIBLE_DEVICES and its kin) is not missed.
    """
    if usable:
        return []
    return [
        Unused(gpu, *_remedy(gpu.maker, path), built=bool(_BACKENDS[gpu.maker] & set(backends)))
        for gpu in there
        if not _is_hidden(gpu.maker, environ)
    ]


def _nvidia(root: Path, path: str | None) -> Graphics | None:
    """The driver says it in /proc; on Windows, and on Linux inside it, only nvidia-smi does."""
    for information in sorted((root / "proc/driver/nvidia/gpus").glob("*/information")):
        return Graphics("NVIDIA", _model(information))
    if (root / "dev/nvidia0").exists():
        return Graphics("NVIDIA")
    program = shutil.which("nvidia-smi", path=path)
    listed = _listed(program) if program else ""
    return Graphics("NVIDIA", listed) if listed else None


def _model(information: Path) -> str:
    """`Model:  NVIDIA GeForce RTX 4090` → the name without the maker's."""
    try:
        lines = information.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    pairs = dict(line.partition(":")[::2] for line in lines)
    return pairs.get("Model", "").strip().removeprefix("NVIDIA ")


def _listed(program: str) -> str:
    """The first of `GPU 0: NVIDIA GeForce RTX 4090 (UUID: GPU-…)`; empty where there is none."""
    try:
        said = subprocess.run([program, "-L"], capture_output=True, text=True, check=True, timeout=_PATIENCE).stdout
    except (OSError, subprocess.SubprocessError):
        return ""
    first = next((line for line in said.splitlines() if line.startswith("GPU ")), "")
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
    names = {"NVIDIA": ("CUDA_VISIBLE_DEVICES",), "AMD": ("HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES"), "Apple": ()}
    return any(environ.get(name) in {"", "-1"} for name in names[maker])
