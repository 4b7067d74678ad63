"""What stands beside a stored model: where it came from, and what its bytes must hash to.

A manifest is QUANT.json next to QUANT.gguf. It describes the file beside it; a model without one is whole, only its
origin is not on record.

Knows: the keys of that file. Does not know: where it lies, or how a model is made.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from r1_quantize.errors import BadFile
from r1_quantize.files import disk_error, write_atomically


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
    tensor_crc32: dict[str, int] = field(default_factory=dict)  # of each tensor's bytes, to say which one is damaged

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

    def stage(self, path: Path, file: Path) -> Callable[[], None]:
        """Write it down, for `path`, before `file` gets its name; what comes back is called when that has it.

        Between the two it stands in QUANT.json.next, and counts when the model is that very file: the time when each
        was last changed is the same. So no kill in between loses it. Raises R1Error when the disk fails.
        """
        following = _next(path)
        write_atomically(following, self.to_json())

        def settle() -> None:
            try:
                following.replace(path)
            except OSError as exc:
                raise disk_error(path, exc) from exc

        try:
            changed = file.stat().st_mtime_ns
            os.utime(following, ns=(changed, changed))
        except OSError as exc:
            raise disk_error(following, exc) from exc
        return settle

    @classmethod
    def beside(cls, model: Path) -> Manifest | None:
        """The manifest of a model; None when there is none. Raises BadFile when it is damaged."""
        path = model.with_suffix(".json")
        with suppress(OSError):
            if _next(path).stat().st_mtime_ns == model.stat().st_mtime_ns:
                return cls.read(_next(path))
        return cls.read(path)

    @classmethod
    def read(cls, path: Path) -> Manifest | None:
        """The manifest at `path`; None when there is no such file. Raises BadFile when it is damaged."""
        try:
            return cls.from_json(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except (OSError, UnicodeDecodeError, BadFile) as exc:
            raise BadFile(f"{path}: {exc}") from exc


def _next(path: Path) -> Path:
    return path.with_name(path.name + ".next")


def tools() -> dict[str, str]:
    """What a model is made with, and its versions."""
    from importlib.metadata import version  # slow to import

    return {package: version(package) for package in ("r1-local", "llama-cpp-python")}


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
    "tensor_crc32": _table_of(_count),
}
_REQUIRED = _KEYS.keys() - {"imatrix_sha256", "tensor_types", "tensor_crc32"}  # younger than the first manifests
