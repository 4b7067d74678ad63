"""What the tests of `r1 pull` share: the environment of a person, and what is in their home."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from tests.e2e.pull.person import TIMEOUT_S
from tests.fakes import checkpoints
from tests.fakes.hub import Hub

PREBUILT = "bartowski/DeepSeek-R1-Distill-Qwen-1.5B-GGUF"
SHARDED = checkpoints.Shape(hidden=256, inner=1024, layers=8, vocab=1024)
CAN_UNSHARE = subprocess.run(["unshare", "-rmn", "true"], capture_output=True, check=False).returncode == 0


def variables(hub: Hub, tmp_path: Path) -> dict[str, str]:
    """The environment of a person who uses that hub, with an empty home and an empty cache.

    The timeout is so long that a slow machine does not make the program wait and retry.
    """
    folders = {"HF_HOME": str(tmp_path / "hf"), "R1_HOME": str(tmp_path / "own")}
    return {"HF_ENDPOINT": hub.endpoint, "HF_HUB_DOWNLOAD_TIMEOUT": f"{TIMEOUT_S:.0f}", **folders}


def manifest_of(away: dict[str, str], name: str = "qwen-1.5b", quant: str = "Q8_0") -> dict[str, object]:
    manifest = json.loads((Path(away["R1_HOME"]) / "models" / name / f"{quant}.json").read_bytes())
    assert isinstance(manifest, dict)
    return manifest


def model_of(away: dict[str, str], name: str = "qwen-1.5b", quant: str = "Q8_0") -> Path:
    return Path(away["R1_HOME"]) / "models" / name / f"{quant}.gguf"


def left_over(away: dict[str, str]) -> list[str]:
    """The files in R1_HOME that are neither a model, its manifest nor a lock."""
    home = Path(away["R1_HOME"])
    files = (path for path in home.rglob("*") if path.is_file() and path.suffix not in {".lock", ".gguf", ".json"})
    return [path.relative_to(home).as_posix() for path in files if path.name != ".lock"]


def json_events(stdout: bytes) -> list[dict[str, object]]:
    """The events of `--json`."""
    return [json.loads(line) for line in stdout.splitlines()]


def overwrite(path: Path, offset: int) -> None:
    """Overwrite a few bytes of a file with zeros."""
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(bytes(64))


def size_of(path: Path) -> int:
    return path.stat().st_size
