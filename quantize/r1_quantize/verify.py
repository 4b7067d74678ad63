"""Is a GGUF what it was when it was made, and is it one R1 can be run from?

Knows: what to look at, from cheap to dear. Does not know: how results are shown; a failed check is a result, not
an error. Imports only the standard library.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from r1_quantize import reader
from r1_quantize.errors import BadGGUF
from r1_quantize.manifest import Manifest, file_sha256

CONTROL_TOKENS = (
    "<｜begin▁of▁sentence｜>",
    "<｜end▁of▁sentence｜>",
    "<｜User｜>",
    "<｜Assistant｜>",
    "<think>",
    "</think>",
)
"""The tokens a conversation with R1 is made of, by their text; their numbers differ between models."""


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at; `detail` says in plain words what was found."""

    name: str
    ok: bool
    detail: str


def verify(path: Path, manifest: Manifest | None) -> Iterator[Check]:
    """Look at the file from cheap to dear; ends at the first check that makes the following ones pointless."""
    try:
        found = reader.read(path)
    except BadGGUF as exc:
        yield Check("structure", False, str(exc))
        return
    yield Check("structure", True, f"{len(found.tensors)} tensors, all inside the file's {found.size:,} bytes")
    yield _control_tokens(found)
    if manifest is None:
        yield Check("origin", True, "no manifest beside it, so there is no digest to compare with")
        return
    yield _size(found, manifest)
    yield _digest(path, manifest)


def _control_tokens(found: reader.GGUFFile) -> Check:
    tokens = found.metadata.get("tokenizer.ggml.tokens")
    missing = [token for token in CONTROL_TOKENS if not isinstance(tokens, list) or token not in tokens]
    if missing:
        return Check("tokens", False, f"its vocabulary lacks {', '.join(missing)}")
    return Check("tokens", True, f"R1's {len(CONTROL_TOKENS)} control tokens are in its vocabulary")


def _size(found: reader.GGUFFile, manifest: Manifest) -> Check:
    if found.size != manifest.size:
        return Check("size", False, f"{found.size:,} bytes, {manifest.size:,} when it was made")
    return Check("size", True, f"{found.size:,} bytes, as when it was made")


def _digest(path: Path, manifest: Manifest) -> Check:
    try:
        digest = file_sha256(path)
    except OSError as exc:
        return Check("digest", False, f"it cannot be read: {exc.strerror}")
    if digest != manifest.sha256:
        return Check("digest", False, f"SHA-256 {digest}, {manifest.sha256} when it was made")
    return Check("digest", True, f"SHA-256 {digest}, as when it was made")
