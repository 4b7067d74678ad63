"""Checks a GGUF: is it undamaged, and is it one that r1 can run? A failed check is a result, not an error."""

from __future__ import annotations

import ctypes
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from gguf.constants import Keys

from r1_quantize.checkpoint.architecture import ARCHITECTURES, MAX_LAYERS, required_tensors
from r1_quantize.control_tokens import CONTROL_TOKENS
from r1_quantize.errors import BadFile, BadGGUF
from r1_quantize.files import HashedFile
from r1_quantize.ggml import Kernels
from r1_quantize.gguf import reader
from r1_quantize.gguf.reader import GGUFFile, TensorInfo
from r1_quantize.gguf.vocabulary import duplicate, missing_control_tokens, token_texts
from r1_quantize.recipe import TENSOR_TYPES
from r1_quantize.store.manifest import Manifest

_READ_BYTES = 4 << 20  # per read


@dataclass(frozen=True, slots=True)
class Check:
    """The result of one check; `detail` is a line for people."""

    name: str
    ok: bool
    detail: str


def verify(path: Path) -> Iterator[Check]:
    """Check a GGUF, against its manifest if there is one, from the cheapest check to the most expensive.

    Stops at a failure that makes the following checks pointless. Reads the file once. A damaged file raises nothing.
    """
    manifest = None
    try:
        manifest = Manifest.beside(path)
    except BadFile as exc:
        yield Check("manifest", False, str(exc))
    try:
        gguf = reader.read(path)
    except BadGGUF as exc:
        yield Check("structure", False, str(exc))
        return
    yield Check("structure", True, f"{len(gguf.tensors)} tensors, all inside the file's {gguf.size:,} bytes")
    yield _tensors(gguf)
    yield _types(gguf, manifest)
    yield _tokens(gguf)
    if manifest is not None:
        yield _size(gguf, manifest)
    try:
        bad, digest = _read_through(gguf)
    except BadFile as exc:
        yield Check("values", False, str(exc))
        return
    yield _values(gguf, bad)
    yield _digest(gguf, digest, manifest)


def checksums(gguf: GGUFFile) -> Iterator[tuple[TensorInfo, int]]:
    """Each tensor with the CRC-32 of its bytes on disk. Raises BadFile."""
    buffer = memoryview(bytearray(_READ_BYTES))
    try:
        with gguf.path.open("rb", buffering=0) as file:
            for tensor in gguf.tensors:
                file.seek(tensor.offset)
                crc, left = 0, tensor.nbytes
                while left and (count := file.readinto(buffer[: min(left, _READ_BYTES)])):
                    crc, left = zlib.crc32(buffer[:count], crc), left - count
                yield tensor, crc
    except OSError as exc:
        raise BadFile(f"{gguf.path}: {exc.strerror}") from exc


def _tensors(gguf: GGUFFile) -> Check:
    """Check that no tensor of the architecture is missing."""
    architecture = gguf.metadata.get(Keys.General.ARCHITECTURE)
    block_count = Keys.LLM.BLOCK_COUNT.format(arch=architecture)
    layers = gguf.metadata.get(block_count)
    if architecture not in ARCHITECTURES.values():
        known = " and ".join(ARCHITECTURES.values())
        return Check("tensors", False, f"unknown architecture {architecture!r:.40}; R1 was distilled into {known}")
    if not isinstance(layers, int):
        return Check("tensors", False, f"{block_count} is missing")
    if (required := required_tensors(str(architecture), layers)) is None:
        return Check("tensors", False, f"{layers:,} layers; llama.cpp runs 1 to {MAX_LAYERS}")
    names = {tensor.name for tensor in gguf.tensors}
    if missing := [name for name in required if name not in names]:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        return Check("tensors", False, f"{missing[0]}{more} missing")
    return Check("tensors", True, f"all tensors of {layers} {architecture} layers present")


def _types(gguf: GGUFFile, manifest: Manifest | None) -> Check:
    """Check that r1 knows every tensor's type, and that the types are those in the manifest."""
    counts = Counter(tensor.type.name for tensor in gguf.tensors)
    present = ", ".join(f"{kind} × {count}" for kind, count in counts.most_common())
    if unknown := sorted(counts.keys() - TENSOR_TYPES.keys()):
        return Check("types", False, f"{present}; r1 cannot check {', '.join(unknown)}")
    if manifest is not None and counts != manifest.recipe:
        made = ", ".join(f"{kind} × {count}" for kind, count in sorted(manifest.recipe.items()))
        return Check("types", False, f"{present}; the manifest has {made}")
    return Check("types", True, present)


def _tokens(gguf: GGUFFile) -> Check:
    """Check that llama.cpp can load the vocabulary, and that it has R1's control tokens."""
    if problem := duplicate(token_texts(gguf.entries)):
        return Check("tokens", False, f"{problem}; llama.cpp cannot load it")
    if missing := missing_control_tokens(gguf.entries):
        return Check("tokens", False, f"the vocabulary lacks {', '.join(missing)}")
    return Check("tokens", True, f"all {len(CONTROL_TOKENS)} control tokens of R1 are in the vocabulary")


def _size(gguf: GGUFFile, manifest: Manifest) -> Check:
    if gguf.size != manifest.size:
        return Check("size", False, f"{gguf.size:,} bytes; the manifest has {manifest.size:,}")
    return Check("size", True, f"{gguf.size:,} bytes, as in the manifest")


def _read_through(gguf: GGUFFile) -> tuple[list[str], str]:
    """The names of tensors with values that are not finite, and the SHA-256 of the file. Raises BadFile."""
    kernels, bad = Kernels(), []
    buffer = ctypes.create_string_buffer(_READ_BYTES)
    view, address = memoryview(buffer).cast("B"), ctypes.addressof(buffer)
    with HashedFile(gguf.path) as file:
        for tensor in gguf.tensors:
            if tensor.type.name in TENSOR_TYPES and not _finite(kernels, file, tensor, view, address):
                bad.append(tensor.name)
        return bad, file.finish()


def _finite(kernels: Kernels, file: HashedFile, tensor: TensorInfo, view: memoryview, address: int) -> bool:
    block = tensor.type.block_bytes
    step = _READ_BYTES // block * block
    for offset in range(0, tensor.nbytes, step):
        count = min(step, tensor.nbytes - offset)
        file.read_into(tensor.offset + offset, view[:count])
        if not kernels.finite(tensor.type, address, count):
            return False
    return True


def _values(gguf: GGUFFile, bad: list[str]) -> Check:
    if bad:
        more = f" and {len(bad) - 1} more tensors" if len(bad) > 1 else ""
        return Check("values", False, f"{bad[0]!r:.80}{more}: a value is NaN or infinite")
    return Check("values", True, f"all values of {len(gguf.tensors)} tensors are finite")


def _digest(gguf: GGUFFile, digest: str, manifest: Manifest | None) -> Check:
    if manifest is None:
        return Check("digest", True, f"SHA-256 {digest}; no manifest to compare it with")
    if digest != manifest.sha256:
        where = _damage(gguf, manifest)
        return Check("digest", False, f"SHA-256 {digest}; the manifest has {manifest.sha256}{where}")
    return Check("digest", True, f"SHA-256 {digest}, as in the manifest")


def _damage(gguf: GGUFFile, manifest: Manifest) -> str:
    """Where the file is damaged, as far as the manifest can tell."""
    if not manifest.tensor_crc32:
        return ""
    try:
        bad = [tensor.name for tensor, crc in checksums(gguf) if crc != manifest.tensor_crc32.get(tensor.name)]
    except BadFile:
        return ""
    if not bad:
        return "; damaged: the header"
    more = f" and {len(bad) - 1} more of {len(gguf.tensors)} tensors" if len(bad) > 1 else ""
    return f"; damaged: {bad[0]:.80}{more}"
