"""A digest of everything in a GGUF that must equal llama.cpp's converter: all but the general.* naming keys.

The converter takes those from the folder's name and the model card, r1 from its catalogue. The digest covers, in
file order, the raw bytes of every other key–value pair and of every tensor's description, and the tensors' data up
to the end of the file. It is read with gguf-py, not with the reader under test.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from gguf import GGUFReader

from tests.fakes.checkpoints import Shape

CASES = {
    "qwen": Shape(),
    "qwen with linear scaling": Shape(layers=1, rope_scaling={"rope_type": "linear", "factor": 2.5}),
    "qwen with yarn": Shape(
        layers=1,
        rope_scaling={"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 512, "beta_fast": 32.0},
    ),
    "llama": Shape(llama=True),
    "llama, heads of 128, biases": Shape(llama=True, heads=2, kv_heads=1, biased=True),
}
"""The artificial checkpoints with golden digests."""

_NOT_NAMING = ("general.architecture", "general.type", "general.file_type", "general.quantization_version")


def digest(path: Path) -> str:
    """The SHA-256 of those bytes, in hex."""
    found = GGUFReader(path)
    sha = hashlib.sha256()
    for key, field in found.fields.items():
        if not _is_naming(key):
            sha.update(b"".join(part.tobytes() for part in field.parts))
    for tensor in found.tensors:
        sha.update(b"".join(part.tobytes() for part in tensor.field.parts))
    with path.open("rb") as file:
        file.seek(found.data_offset)
        sha.update(file.read())
    return sha.hexdigest()


def _is_naming(key: str) -> bool:
    # GGUF.* are what gguf-py calls the counts at the head of the file; the number of keys depends on the naming
    if key.startswith("GGUF."):
        return True
    return key.startswith("general.") and not key.startswith("general.sampling.") and key not in _NOT_NAMING
