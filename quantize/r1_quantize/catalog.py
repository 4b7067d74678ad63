"""The models known by name: models.toml → Checkpoint.

Imports only the standard library and `r1_quantize.errors`, because `r1 list` and shell completion run it.
"""

from __future__ import annotations

import math
import re
import tomllib
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Any

from r1_quantize.errors import UsageError

_MAX_NAME = 100  # characters; file systems allow 255 bytes
_RESERVED = re.compile(r"(?:con|prn|aux|nul|com\d|lpt\d)(?:\.|$)")  # on Windows
NAME = re.compile(rf"(?!{_RESERVED.pattern})[a-z0-9](?:[a-z0-9._-]{{0,{_MAX_NAME - 2}}}[a-z0-9_-])?")
"""A valid model name: safe as a folder name on every platform, and without the `:` that precedes a quant type."""

_HERE = Path(__file__).parent
_PACKAGED = (_HERE / "models.toml", _HERE.parents[1] / "models.toml")  # in a wheel; in a working tree


def as_quant(text: str) -> str:
    """A quant type as this program writes it: `ud-q4_k_xl` and `UD-Q4_K_XL` → UD_Q4_K_XL."""
    return text.upper().replace("-", "_")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """One published checkpoint. The first of `licences` is its own, the others are its base models'."""

    name: str
    title: str
    architecture: str
    parameters: int
    context_length: int
    licences: tuple[str, ...]
    default_quant: str
    repo: str | None = None
    prebuilt: str | None = None  # a repository with ready-made GGUFs of it
    builtin: bool = False
    aime_pass1: float | None = None  # percent
    aime_cons64: float | None = None  # percent
    config: Mapping[str, Any] | None = None  # the keys of its config.json that determine its tensors

    @property
    def bf16_bytes(self) -> int:
        """The size of the published weights: two bytes a parameter."""
        return 2 * self.parameters

    @property
    def folder(self) -> Path | None:
        """The folder of the checkpoint inside this package; None for any other."""
        return _HERE / "store" / self.name if self.builtin else None


def check_name(name: str, catalogue: Mapping[str, Checkpoint], source: Checkpoint | None, label: str) -> str:
    """The name, if a model made from `source` may have it in the store. `label` names the source in messages.

    A name of the catalogue belongs to its own checkpoint; `source` is the catalogue's entry, or None for anything else.
    Raises UsageError.
    """
    if not NAME.fullmatch(name):
        usable = model_name(name)
        hint = f"; {usable} would do" if usable and catalogue.get(usable) in {None, source} else ""
        raise UsageError(f"bad model name {name!r:.80}; a name is lower-case letters, digits, dots and dashes{hint}")
    owner = catalogue.get(name)
    if owner is not None and owner != source:
        raise UsageError(f"{label} is not {owner.title}, whose name is {name}; choose another name with --name NAME")
    return name


def model_name(text: str) -> str:
    """A valid model name from a file's or repository's: `My Model` → `my-model`; may be empty."""
    name = re.sub(r"[^a-z0-9._-]+", "-", text.lower()).strip("-._")
    return (f"model-{name}" if _RESERVED.match(name) else name)[:_MAX_NAME].rstrip(".")


_KINDS: dict[str, type | tuple[type, ...]] = {
    "title": str,
    "repo": str,
    "prebuilt": str,
    "builtin": bool,
    "architecture": str,
    "parameters": int,
    "context_length": int,
    "licences": list,
    "default_quant": str,
    "aime_pass1": (int, float),
    "aime_cons64": (int, float),
    "config": dict,
}
_REQUIRED = {field.name for field in fields(Checkpoint) if field.default is MISSING} - {"name"}


def load(user_file: Path | None = None) -> dict[str, Checkpoint]:
    """Every known checkpoint by name, in file order. Keys in `user_file`, if it exists, override the packaged file.

    Raises UsageError, naming file and key, when the user's file is not TOML or has an unknown key or a bad value.
    """
    packaged = next(path for path in _PACKAGED if path.is_file())
    tables = _read(packaged)
    if user_file is not None and user_file.is_file():
        for name, table in _read(user_file).items():
            tables[name] = tables.get(name, {}) | table
    return {name: _checkpoint(name, table, user_file or packaged) for name, table in tables.items()}


def _read(path: Path) -> dict[str, dict[str, Any]]:
    """The tables of one file, with every key and type checked."""
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as exc:  # also a number of thousands of digits, and deep arrays
        raise UsageError(f"{path}: {exc}") from exc
    for name, table in tables.items():
        if not NAME.fullmatch(name):
            raise UsageError(f"{path}: [{name}]: a name is lower-case letters, digits, dots and dashes")
        if not isinstance(table, dict):
            raise UsageError(f"{path}: {name}: expected a table, [{name}]")
        for key, value in table.items():
            _check(f"{path}: [{name}] {key}", key, value)
    return tables


def _check(where: str, key: str, value: object) -> None:
    kind = _KINDS.get(key)
    if isinstance(value, dict) and kind is not dict:
        raise UsageError(f"{where}: a table inside a table; quote a name that has a dot")
    if kind is None:
        raise UsageError(f"{where}: unknown key; known keys are {', '.join(_KINDS)}")
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise UsageError(f"{where}: {value!r} has the wrong type")
    if isinstance(value, list) and not (value and all(isinstance(item, str) for item in value)):
        raise UsageError(f"{where}: expected a list of licence names")
    if isinstance(value, float) and not math.isfinite(value):
        raise UsageError(f"{where}: {value} is not a number")
    if key in {"parameters", "context_length"} and isinstance(value, int) and value <= 0:
        raise UsageError(f"{where}: expected a number above 0")
    if key.startswith("aime_") and isinstance(value, int | float) and not 0 <= value <= 100:
        raise UsageError(f"{where}: expected a percentage, from 0 to 100")


def _checkpoint(name: str, table: dict[str, Any], path: Path) -> Checkpoint:
    if missing := sorted(_REQUIRED - table.keys()):
        raise UsageError(f"{path}: [{name}] lacks {', '.join(missing)}")
    return Checkpoint(
        name=name, **(table | {"licences": tuple(table["licences"]), "default_quant": as_quant(table["default_quant"])})
    )
