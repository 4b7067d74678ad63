"""Models with one habit, made from the built-in checkpoint by changing a few of its output rows."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import r1_quantize
from r1_quantize.pipeline import Job, quantize

TINY = Path(r1_quantize.__path__[0]) / "tiny"
CONTEXT = 1 << 20
ONE, MINUS_ONE = b"\x80\x3f", b"\x80\xbf"  # BF16, little-endian

Row = Callable[[int, bytes], bytes]
"""The output row of a token, from its id and what the row was."""


def make_endless(folder: Path) -> Path:
    """A GGUF that never stops by itself: a token whose output row is zero has the logit 0, which is never the top."""
    ends = _ends()
    return _make(folder, "endless", lambda token, row: bytes(len(row)) if token in ends else row)


def make_silent(folder: Path) -> Path:
    """A GGUF that ends every turn at once: of two opposite rows one is above 0, and every other logit is 0."""
    eos, user = _ends()
    rows = {eos: ONE, user: MINUS_ONE}
    return _make(folder, "silent", lambda token, row: rows.get(token, b"\0\0") * (len(row) // 2))


def _ends() -> tuple[int, int]:
    added = json.loads((TINY / "tokenizer.json").read_text(encoding="utf-8"))["added_tokens"]
    ids = {token["content"]: token["id"] for token in added}
    return ids["<｜end▁of▁sentence｜>"], ids["<｜User｜>"]


def _make(folder: Path, name: str, change: Row) -> Path:
    checkpoint = Path(shutil.copytree(TINY, folder / name))
    config = json.loads((checkpoint / "config.json").read_text(encoding="utf-8"))
    config["max_position_embeddings"] = CONTEXT
    (checkpoint / "config.json").write_text(json.dumps(config), encoding="utf-8")
    _change_rows(checkpoint / "model.safetensors", "lm_head.weight", change)
    target = folder / f"{name}.gguf"
    for _ in quantize(Job(checkpoint, "BF16", target, name)):
        pass
    return target


def _change_rows(path: Path, tensor: str, change: Row) -> None:
    """In place; the format is at https://github.com/huggingface/safetensors#format."""
    data = bytearray(path.read_bytes())
    length = int.from_bytes(data[:8], "little")
    info = json.loads(data[8 : 8 + length])[tensor]
    rows, columns = info["shape"]
    for row in range(rows):
        start = 8 + length + info["data_offsets"][0] + row * 2 * columns
        data[start : start + 2 * columns] = change(row, bytes(data[start : start + 2 * columns]))
    path.write_bytes(data)
