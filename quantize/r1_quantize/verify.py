"""Is a GGUF what it was when it was made, and is it one R1 can be run from?

Knows: what to look at, from cheap to dear. Does not know: how results are shown; a failed check is a result, not an
error.
"""

from __future__ import annotations

import ctypes
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from r1_quantize.checkpoint.architecture import ARCHITECTURES, required_tensors
from r1_quantize.errors import BadFile, BadGGUF
from r1_quantize.files import HashedFile
from r1_quantize.ggml import Kernels
from r1_quantize.gguf import reader
from r1_quantize.gguf.reader import GGUFFile, TensorInfo
from r1_quantize.recipe import TENSOR_TYPES
from r1_quantize.store.manifest import Manifest

CONTROL_TOKENS = (
    "<｜begin▁of▁sentence｜>",
    "<｜end▁of▁sentence｜>",
    "<｜User｜>",
    "<｜Assistant｜>",
    "<think>",
    "</think>",
)
"""The tokens a conversation with R1 is made of, by their text; their numbers differ between models."""

_READ = 4 << 20  # bytes looked at together, at most


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at; `detail` says in plain words what was found."""

    name: str
    ok: bool
    detail: str


def verify(path: Path) -> Iterator[Check]:
    """Look at the file, and at the manifest beside it if there is one, from cheap to dear.

    Ends at the first check that makes the following ones pointless. The file is read once. Raises nothing that a
    damaged file can cause.
    """
    manifest = None
    try:
        manifest = Manifest.beside(path)
    except BadFile as exc:
        yield Check("manifest", False, str(exc))
    try:
        found = reader.read(path)
    except BadGGUF as exc:
        yield Check("structure", False, str(exc))
        return
    yield Check("structure", True, f"{len(found.tensors)} tensors, all inside the file's {found.size:,} bytes")
    yield _tensors(found)
    yield _types(found, manifest)
    yield _control_tokens(found)
    if manifest is not None:
        yield _size(found, manifest)
    try:
        bad, digest = _read_through(found)
    except BadFile as exc:
        yield Check("values", False, str(exc))
        return
    yield _values(found, bad)
    yield _digest(found, digest, manifest)


def checksums(found: GGUFFile) -> Iterator[tuple[TensorInfo, int]]:
    """Each tensor, and the CRC-32 of its bytes as they are on the disk. Raises BadFile."""
    buffer = memoryview(bytearray(_READ))
    try:
        with found.path.open("rb", buffering=0) as file:
            for tensor in found.tensors:
                file.seek(tensor.offset)
                crc, left = 0, tensor.nbytes
                while left and (count := file.readinto(buffer[: min(left, _READ)])):
                    crc, left = zlib.crc32(buffer[:count], crc), left - count
                yield tensor, crc
    except OSError as exc:
        raise BadFile(f"{found.path}: {exc.strerror}") from exc


def _tensors(found: GGUFFile) -> Check:
    """Whether all of its architecture's tensors are there."""
    architecture = found.metadata.get("general.architecture")
    layers = found.metadata.get(f"{architecture}.block_count")
    if architecture not in ARCHITECTURES.values():
        return Check("tensors", False, f"the architecture {architecture!r:.40} is none of those R1 was distilled into")
    if not isinstance(layers, int):
        return Check("tensors", False, f"{architecture}.block_count is missing, so nobody knows what else is")
    if (required := required_tensors(str(architecture), layers)) is None:
        return Check("tensors", False, f"{layers:,} layers are none, or more than llama.cpp runs")
    names = {tensor.name for tensor in found.tensors}
    if missing := [name for name in required if name not in names]:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        return Check("tensors", False, f"{missing[0]}{more} missing")
    return Check("tensors", True, f"everything {layers} layers of {architecture} need is there")


def _types(found: GGUFFile, manifest: Manifest | None) -> Check:
    """Whether every tensor has a type that is known here, and as many have each as when it was made."""
    counts = Counter(tensor.type.name for tensor in found.tensors)
    said = ", ".join(f"{kind} × {count}" for kind, count in counts.most_common())
    if unknown := sorted(counts.keys() - TENSOR_TYPES.keys()):
        return Check("types", False, f"{said}; {', '.join(unknown)} cannot be checked")
    if manifest is not None and counts != manifest.recipe:
        made = ", ".join(f"{kind} × {count}" for kind, count in sorted(manifest.recipe.items()))
        return Check("types", False, f"{said}; {made} when it was made")
    return Check("types", True, said)


def _control_tokens(found: GGUFFile) -> Check:
    tokens = found.metadata.get("tokenizer.ggml.tokens")
    missing = [token for token in CONTROL_TOKENS if not isinstance(tokens, list) or token not in tokens]
    if missing:
        return Check("tokens", False, f"its vocabulary lacks {', '.join(missing)}")
    return Check("tokens", True, f"R1's {len(CONTROL_TOKENS)} control tokens are in its vocabulary")


def _size(found: GGUFFile, manifest: Manifest) -> Check:
    if found.size != manifest.size:
        return Check("size", False, f"{found.size:,} bytes, {manifest.size:,} when it was made")
    return Check("size", True, f"{found.size:,} bytes, as when it was made")


def _read_through(found: GGUFFile) -> tuple[list[str], str]:
    """The names of tensors with a row that is not finite, and the SHA-256 of the file. Raises BadFile."""
    kernels, bad = Kernels(), []
    buffer = ctypes.create_string_buffer(_READ)
    view, address = memoryview(buffer).cast("B"), ctypes.addressof(buffer)
    with HashedFile(found.path) as file:
        for tensor in found.tensors:
            if tensor.type.name in TENSOR_TYPES and not _finite(kernels, file, tensor, view, address):
                bad.append(tensor.name)
        return bad, file.finish()


def _finite(kernels: Kernels, file: HashedFile, tensor: TensorInfo, view: memoryview, address: int) -> bool:
    block = tensor.type.block_bytes
    step = _READ // block * block
    for offset in range(0, tensor.nbytes, step):
        count = min(step, tensor.nbytes - offset)
        file.read_into(tensor.offset + offset, view[:count])
        if not kernels.finite(tensor.type, address, count):
            return False
    return True


def _values(found: GGUFFile, bad: list[str]) -> Check:
    if bad:
        more = f" and {len(bad) - 1} more tensors" if len(bad) > 1 else ""
        return Check("values", False, f"{bad[0]!r:.80}{more}: a value that is NaN or infinite")
    return Check("values", True, f"every row of {len(found.tensors)} tensors is finite")


def _digest(found: GGUFFile, digest: str, manifest: Manifest | None) -> Check:
    if manifest is None:
        return Check("digest", True, f"SHA-256 {digest}; no manifest beside it, so there is none to compare with")
    if digest != manifest.sha256:
        where = _damage(found, manifest)
        return Check("digest", False, f"SHA-256 {digest}, {manifest.sha256} when it was made{where}")
    return Check("digest", True, f"SHA-256 {digest}, as when it was made")


def _damage(found: GGUFFile, manifest: Manifest) -> str:
    """Where the file is not what it was, as far as the manifest says."""
    if not manifest.tensor_crc32:
        return ""
    try:
        bad = [tensor.name for tensor, crc in checksums(found) if crc != manifest.tensor_crc32.get(tensor.name)]
    except BadFile:
        return ""
    if not bad:
        return "; the tensors are as they were, so it is the header"
    more = f" and {len(bad) - 1} more of {len(found.tensors)} tensors" if len(bad) > 1 else ""
    return f"; damaged: {bad[0]:.80}{more}"
