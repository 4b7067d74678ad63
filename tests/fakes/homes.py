"""A home with something of every kind that `r1 list` shows and `r1 rm` removes."""

from __future__ import annotations

import shutil
from pathlib import Path

from r1_quantize.store.store import KEPT, RECORD

REPO = "deepseek-ai/DeepSeek-R1-Distill-Qwen-7B"


def write_full_home(home: Path, target: Path) -> Path:
    """Two copies of tiny as qwen-7b, an unfinished model and two checkpoints, added to a copy of `home`."""
    shutil.copytree(home, target)
    for quant in ("Q8_0", "Q4_K_M"):
        (target / "models" / "qwen-7b").mkdir(exist_ok=True)
        for suffix in ("gguf", "json"):
            tiny = target / "models" / "tiny" / f"Q8_0.{suffix}"
            shutil.copy(tiny, target / "models" / "qwen-7b" / f"{quant}.{suffix}")
    (target / "models" / "llama-8b").mkdir()
    (target / "models" / "llama-8b" / "Q6_K.gguf.partial").write_bytes(b"x" * 2_000_000)
    (target / "models" / "llama-8b" / "Q6_K.gguf.partial.journal").write_bytes(b"{}\n")
    for repo, kept in ((REPO, True), ("someone/Half", False)):
        folder = target / "checkpoints" / repo.replace("/", "--") / ("0" * 40)
        folder.mkdir(parents=True)
        (folder / RECORD).write_text("{}")
        (folder / "model.safetensors").write_bytes(b"x" * 3_000_000)
        if kept:
            (folder / KEPT).touch()
    return target


def files_in(folder: Path) -> dict[str, bytes]:
    """Path → content of every file except locks."""
    found = (path for path in sorted(folder.rglob("*")) if path.is_file() and not path.name.endswith("lock"))
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}
