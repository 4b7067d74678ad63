"""Writes safetensors files: eight bytes of header length, a JSON header, the tensors."""

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor


def write_safetensors(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Writes all tensors as BF16, sorted by name; the file is written atomically."""
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    parts: list[bytes] = []
    start = 0
    for name in sorted(tensors):
        raw = tensors[name].detach().to(torch.bfloat16).contiguous().view(torch.int16).numpy().tobytes()
        shape = list(tensors[name].shape)
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [start, start + len(raw)]}
        start += len(raw)
        parts.append(raw)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    aside = path.with_suffix(".part")
    aside.write_bytes(len(text).to_bytes(8, "little") + text + b"".join(parts))
    aside.replace(path)
