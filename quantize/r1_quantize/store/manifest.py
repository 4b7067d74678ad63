"""The manifest of a stored model: where it came from, and the digests of its bytes.

QUANT.json describes the QUANT.gguf beside it. A model without a manifest is valid; only its origin is unknown.
"""

from __future__ import annotations

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
    """The origin and the digests of one GGUF. Digests are SHA-256 in lower-case hex, sizes are bytes."""

    name: str
    quant: str
    source: str  # a hub repository, or the name of a folder
    revision: str | None  # the hub's commit; None for a folder
    source_sha256: dict[str, str]  # of every source file that was read, by its name
    sha256: str  # of the GGUF
    size: int
    recipe: dict[str, int]  # GGML type → number of tensors
    tools: dict[str, str]  # distribution → version
    created: str  # ISO 8601, UTC
    imatrix_sha256: str | None = None  # of the importance matrix it was made with
    tensor_types: list[str] = field(default_factory=list)  # PATTERN=TYPE, the overrides of the recipe
    tensor_crc32: dict[str, int] = field(default_factory=dict)  # of each tensor's bytes, to find a damaged one
    pretokenizer: str | None = None  # the name a user chose; None: found in tokenizer.json
    missing_tokens: list[str] | None = None  # R1's control tokens that the vocabulary lacks; None: never checked

    def to_json(self) -> str:
        """The content of the file, ending in a newline."""
        return json.dumps(asdict(self), indent=2, ensure_ascii=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Manifest:
        """Raises BadFile when a key is missing or unknown or has a bad value."""
        try:
            data: Any = json.loads(text)
        except (ValueError, RecursionError) as exc:
            raise BadFile(f"the manifest is not JSON: {exc}") from exc
        if not isinstance(data, dict) or not _REQUIRED <= data.keys() <= _KEYS.keys():
            raise BadFile(f"a manifest must have the keys {', '.join(_KEYS)}")
        for key, value in data.items():
            if not _KEYS[key](value):
                raise BadFile(f"the manifest has a bad {key}: {value!r:.80}")
        return cls(**data)

    def stage(self, path: Path, file: Path) -> Callable[[], None]:
        """Write the manifest before `file` is renamed to its final name; call the result after that.

        In between the manifest is in QUANT.json.next, with the mtime of `file`, and `beside` uses it once the model has
        that mtime. So a kill at any moment leaves a manifest that matches the model.

        Raises R1Error when the disk fails.
        """
        staged = _staged(path)
        write_atomically(staged, self.to_json())

        def commit() -> None:
            try:
                staged.replace(path)
            except OSError as exc:
                raise disk_error(path, exc) from exc

        try:
            changed = file.stat().st_mtime_ns
            os.utime(staged, ns=(changed, changed))
        except OSError as exc:
            raise disk_error(staged, exc) from exc
        return commit

    @classmethod
    def beside(cls, model: Path) -> Manifest | None:
        """The manifest of a model; None when there is none. Raises BadFile when it is damaged."""
        path = model.with_suffix(".json")
        with suppress(OSError):
            if _staged(path).stat().st_mtime_ns == model.stat().st_mtime_ns:
                return cls.read(_staged(path))
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


def _staged(path: Path) -> Path:
    return path.with_name(path.name + ".next")


def tools() -> dict[str, str]:
    """The tools that make a model → their versions."""
    from importlib.metadata import version  # slow to import

    return {package: version(package) for package in ("r1-local", "llama-cpp-python")}


def file_sha256(path: Path) -> str:
    """The SHA-256 of a file, in hex. Raises OSError."""
    import hashlib  # loads OpenSSL

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
    "pretokenizer": lambda value: value is None or _text(value),
    "missing_tokens": lambda value: value is None or (isinstance(value, list) and all(map(_text, value))),
}
_LATER = {"imatrix_sha256", "tensor_types", "tensor_crc32", "pretokenizer", "missing_tokens"}
"""Keys that the first manifests lacked."""

_REQUIRED = _KEYS.keys() - _LATER
