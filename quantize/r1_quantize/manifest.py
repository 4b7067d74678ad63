"""What stands beside a stored model: where it came from, and what its bytes must hash to.

A manifest is QUANT.json next to QUANT.gguf. It is removed before its model is replaced and written after, so
where there is one it describes the file beside it; a model without one is whole, only its origin is not on
record.

Knows: the keys of that file. Does not know: where it lies, or how a model is made.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from r1_quantize.errors import BadFile


@dataclass(frozen=True, slots=True)
class Manifest:
    """The origin and the digest of one GGUF. Digests are SHA-256 in lower-case hex, sizes are bytes."""

    name: str
    quant: str
    source: str  # a hub repository, or the name of a folder
    revision: str | None  # the hub's commit; None for a folder
    source_sha256: dict[str, str]  # of every file of the checkpoint that was read, by its name
    sha256: str  # of the GGUF
    size: int
    recipe: dict[str, int]  # GGML type → how many tensors have it
    tools: dict[str, str]  # distribution → version
    created: str  # ISO 8601, UTC
    imatrix_sha256: str | None = None  # of the importance matrix it was made with
    tensor_types: list[str] = field(default_factory=list)  # PATTERN=TYPE, where the recipe was overruled

    def to_json(self) -> str:
        """The text of the file, ending in a newline."""
        return json.dumps(asdict(self), indent=2, ensure_ascii=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Manifest:
        """Raises BadFile when a key is missing, unknown or of the wrong kind."""
        try:
            found: Any = json.loads(text)
        except (ValueError, RecursionError) as exc:
            raise BadFile(f"a manifest that is not JSON: {exc}") from exc
        if not isinstance(found, dict) or not _REQUIRED <= found.keys() <= _KEYS.keys():
            raise BadFile(f"a manifest must have the keys {', '.join(_KEYS)}")
        for key, value in found.items():
            if not _KEYS[key](value):
                raise BadFile(f"a manifest with an impossible {key}: {value!r:.80}")
        return cls(**found)

    @classmethod
    def read(cls, path: Path) -> Manifest | None:
        """The manifest at `path`; None when there is no such file. Raises BadFile when it is damaged."""
        try:
            return cls.from_json(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except (OSError, UnicodeDecodeError, BadFile) as exc:
            raise BadFile(f"{path}: {exc}") from exc


def file_sha256(path: Path) -> str:
    """The digest of a file's bytes, as a manifest has it. Raises OSError."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _text(value: object) -> bool:
    return isinstance(value, str)


def _count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _digest(value: object) -> bool:
    return isinstance(value, str) and len(value) == 64 and set(value) <= set("0123456789abcdef")


def _table_of(fits: Callable[[object], bool]) -> Callable[[object], bool]:
    return lambda value: isinstance(value, dict) and all(map(fits, value.values()))


_KEYS: dict[str, Callable[[object], bool]] = {
    "name": _text,
    "quant": _text,
    "source": _text,
    "revision": lambda value: value is None or _text(value),
    "source_sha256": _table_of(_digest),
    "sha256": _digest,
    "size": _count,
    "recipe": _table_of(_count),
    "tools": _table_of(_text),
    "created": _text,
    "imatrix_sha256": lambda value: value is None or _digest(value),
    "tensor_types": lambda value: isinstance(value, list) and all(map(_text, value)),
}
_REQUIRED = _KEYS.keys() - {"imatrix_sha256", "tensor_types"}  # younger than the first manifests
