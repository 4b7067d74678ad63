"""Models with one special behavior each, made by changing a little of the built-in checkpoint."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from r1_quantize.pipeline import Job, quantize
from tests.fakes.paths import TINY

CONTEXT = 1 << 20
END, END_THINK = "<｜end▁of▁sentence｜>", "</think>"
ONE, MINUS_ONE = b"\x80\x3f", b"\x80\xbf"  # BF16, little-endian


def make_endless(folder: Path) -> Path:
    """A GGUF that never stops: the token with which it ends a turn is no longer the one that ends a turn."""
    return _with_unknown_tokens(folder, "endless", {END: "<｜ended｜>"})


def make_pensive(folder: Path) -> Path:
    """A GGUF that never ends its thinking, nor its turn: it has no other tokens for that than unknown ones."""
    return _with_unknown_tokens(folder, "pensive", {END: "<｜ended｜>", END_THINK: "<｜thought｜>"})


def _with_unknown_tokens(folder: Path, name: str, texts: dict[str, str]) -> Path:
    """Each token in `texts` has another text; its own is that of a token that the model does not know."""
    checkpoint = _copy(folder, name)
    path = checkpoint / "tokenizer.json"
    tokenizer = json.loads(path.read_text(encoding="utf-8"))
    unknown = json.loads((checkpoint / "config.json").read_text(encoding="utf-8"))["vocab_size"]
    for text, other in texts.items():
        unknown -= 1
        token = next(token for token in tokenizer["added_tokens"] if token["content"] == text)
        tokenizer["added_tokens"].append({**token, "id": unknown})
        token["content"] = other
    path.write_text(json.dumps(tokenizer), encoding="utf-8")
    return _quantized(checkpoint)


def make_large(folder: Path) -> Path:
    """The built-in model in F32, so that a pass of it reads nearly four times as many bytes as one of tiny:Q8_0."""
    return _quantized(_copy(folder, "large"), "F32")


def make_silent(folder: Path) -> Path:
    """A GGUF that ends every turn at once: one of two opposite rows has a positive logit, all others have 0."""
    checkpoint = _copy(folder, "silent")
    tokenizer = json.loads((checkpoint / "tokenizer.json").read_text(encoding="utf-8"))
    ids = {token["content"]: token["id"] for token in tokenizer["added_tokens"]}
    rows = {ids[END]: ONE, ids["<｜User｜>"]: MINUS_ONE}
    _change_rows(checkpoint / "model.safetensors", "lm_head.weight", rows)
    return _quantized(checkpoint)


def _copy(folder: Path, name: str) -> Path:
    checkpoint = Path(shutil.copytree(TINY, folder / name))
    config = json.loads((checkpoint / "config.json").read_text(encoding="utf-8"))
    config["max_position_embeddings"] = CONTEXT
    (checkpoint / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return checkpoint


def _quantized(checkpoint: Path, quant: str = "BF16") -> Path:
    target = checkpoint.with_suffix(".gguf")
    for _ in quantize(Job(checkpoint, quant, target, checkpoint.name)):
        pass
    return target


def _change_rows(path: Path, tensor: str, values: dict[int, bytes]) -> None:
    """Fills each row with its value in `values`, or 0; https://github.com/huggingface/safetensors#format."""
    data = bytearray(path.read_bytes())
    length = int.from_bytes(data[:8], "little")
    info = json.loads(data[8 : 8 + length])[tensor]
    rows, columns = info["shape"]
    start = 8 + length + info["data_offsets"][0]
    data[start : start + 2 * rows * columns] = b"".join(values.get(row, b"\0\0") * columns for row in range(rows))
    path.write_bytes(data)
