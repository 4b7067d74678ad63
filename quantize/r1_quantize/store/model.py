"""A model on this disk, as the store finds it."""

from __future__ import annotations

import re
import stat
from dataclasses import dataclass
from pathlib import Path

from r1_quantize.catalog import NAME
from r1_quantize.errors import BadFile, ModelNotFound
from r1_quantize.store.manifest import Manifest

QUANT = re.compile(r"[A-Z0-9][A-Z0-9_]*")
"""A valid quant type in a file name."""


@dataclass(frozen=True, slots=True)
class StoredModel:
    """A GGUF on this machine. `quant` is None for a file given by its path."""

    name: str
    quant: str | None
    path: Path
    size: int  # bytes
    modified: float  # seconds since the epoch
    manifest: Manifest | None

    @property
    def is_complete(self) -> bool:
        """True when the file has the size it was made with; its content is not checked."""
        return self.manifest is None or self.manifest.size == self.size

    @property
    def missing_tokens(self) -> tuple[str, ...]:
        """R1's control tokens that its vocabulary lacks; r1 cannot run it if there are any.

        On record in its manifest; for a model without that record, read from its header. Empty for a damaged file.
        """
        if self.manifest is not None and self.manifest.missing_tokens is not None:
            return tuple(self.manifest.missing_tokens)
        from r1_quantize.gguf import reader, vocabulary  # rarely needed

        try:
            return vocabulary.missing_control_tokens(reader.read(self.path).entries)
        except BadFile:
            return ()

    @property
    def reference(self) -> str:
        """The name a user types for this model."""
        return f"{self.name}:{self.quant}" if self.quant else str(self.path)


def model_in_store(path: Path) -> StoredModel | None:
    """The model at its place in the store, models/NAME/QUANT.gguf; None when there is no such file."""
    if not (NAME.fullmatch(path.parent.name) and QUANT.fullmatch(path.stem)):
        return None
    try:
        status = path.stat()
    except OSError:
        return None
    if not stat.S_ISREG(status.st_mode):
        return None
    return StoredModel(
        name=path.parent.name,
        quant=path.stem,
        path=path,
        size=status.st_size,
        modified=status.st_mtime,
        manifest=manifest_beside(path),
    )


def model_at(path: Path) -> StoredModel:
    """A GGUF anywhere, given by its path. Raises ModelNotFound."""
    try:
        status = path.stat()
    except OSError as exc:
        raise ModelNotFound(f"{path}: {exc.strerror}") from exc
    if not path.is_file():
        raise ModelNotFound(f"{path}: not a file")
    return StoredModel(
        name=path.stem,
        quant=None,
        path=path,
        size=status.st_size,
        modified=status.st_mtime,
        manifest=manifest_beside(path),
    )


def manifest_beside(path: Path) -> Manifest | None:
    """The manifest of the model at `path`; None when there is none or it is damaged."""
    try:
        return Manifest.beside(path)
    except BadFile:
        return None
