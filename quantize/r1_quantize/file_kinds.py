"""Files that are something else than their name says, recognised by their first bytes.

Such a file is not damaged, and downloading it again would not help. Imports only the standard library, because
`r1 run` reads headers with it.
"""

from __future__ import annotations

import re

START_BYTES = 512
"""As much of a file as `kind_of` looks at."""

_KINDS = (
    (
        rb"version https://git-lfs",
        "a git-lfs pointer, not the file itself; run `git lfs pull` in its folder, or download the file",
    ),
    (rb"# xet version", "a Xet pointer, not the file itself; download the file"),
    (rb"(?i:\s*<(!doctype|html|head|\?xml))", "a web page, not the file itself; download the file again"),
    (rb"GGUF", "a GGUF with another name; give it a name that ends in .gguf"),
    (
        rb"(?s:.{3}[^\x80-\xff]\x00{4}\{\")",
        "a checkpoint's shard with another name; give it a name that ends in .safetensors",
    ),
    (rb"PK\x03\x04", "a zip archive, perhaps of PyTorch; r1 reads .safetensors and .gguf"),
    (rb"\x80[\x02-\x05]", "a PyTorch pickle, which can run code; r1 reads .safetensors and .gguf"),
    (rb"\x1f\x8b|\x28\xb5\x2f\xfd|BZh|\xfd7zXZ\x00", "a compressed file; unpack it first"),
    (rb"ggml|lmgg|ggjt|tjgg|fmgg|ggla|algg", "a file of llama.cpp's old formats; get the model as a .gguf"),
    (rb"(\x00){64}", "a file that begins with zeros, as an interrupted download leaves it; download it again"),
)


def kind_of(start: bytes) -> str | None:
    """What a file is that begins with these bytes, and what to do; None for anything that is not recognised."""
    if not start:
        return "an empty file; download it again"
    return next((kind for pattern, kind in _KINDS if re.match(pattern, start)), None)
