"""A model that never stops by itself: the built-in checkpoint with its end-of-turn tokens made impossible to like."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import r1_quantize
from r1_quantize.pipeline import Job, quantize

TINY = Path(r1_quantize.__path__[0]) / "tiny"
CONTEXT = 32_768


def make_endless(folder: Path) -> Path:
    """The path of its GGUF, made inside `folder`. A token whose output row is zero has the logit 0, never the top."""
    checkpoint = folder / "endless"
    shutil.copytree(TINY, checkpoint)
    config = json.loads((checkpoint / "config.json").read_text(encoding="utf-8"))
    config["max_position_embeddings"] = CONTEXT
    (checkpoint / "config.json").write_text(json.dumps(config), encoding="utf-8")
    tokens = json.loads((checkpoint / "tokenizer.json").read_text(encoding="utf-8"))["added_tokens"]
    ends = [token["id"] for token in tokens if token["content"] in {"<｜end▁of▁sentence｜>", "<｜User｜>"}]
    _zero_rows(checkpoint / "model.safetensors", "lm_head.weight", ends)
    target = folder / "endless.gguf"
    for _ in quantize(Job(checkpoint, "BF16", target, "endless")):
        pass
    return target


def _zero_rows(path: Path, tensor: str, rows: list[int]) -> None:
    """In place; the format is at https://github.com/huggingface/safetensors#format."""
    data = bytearray(path.read_bytes())
    length = int.from_bytes(data[:8], "little")
    info = json.loads(data[8 : 8 + length])[tensor]
    width = 2 * info["shape"][1]
    for row in rows:
        start = 8 + length + info["data_offsets"][0] + row * width
        data[start : start + width] = bytes(width)
    path.write_bytes(data)
