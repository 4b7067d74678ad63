"""A checkpoint folder as Hugging Face lays it out: JSON files and safetensors shards.

Only headers of the shards are read here. File names found in the JSON files must stay inside the folder.
"""

from __future__ import annotations

import hashlib
import json
import re
import stat
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from r1_quantize.checkpoint import foreign, safetensors
from r1_quantize.checkpoint.safetensors import SafetensorsFile, StoredTensor
from r1_quantize.errors import BadCheckpoint
from r1_quantize.file_kinds import START_BYTES, kind_of
from r1_quantize.files import SourceFile

INDEX = "model.safetensors.index.json"
_NUMBERED = re.compile(r"-\d{5}-of-(\d{5})\.safetensors$")
_MAX_TOKENIZER_BYTES = 32 << 20  # Llama's has 17 million, and parsing takes many times that
_MAX_JSON_BYTES = 4 << 20  # of any other file


@dataclass(frozen=True, slots=True)
class ShardTensor:
    """A tensor of the checkpoint, and the shard that holds it."""

    shard: Path
    stored: StoredTensor


class CheckpointFolder:
    """A checkpoint: `config` is config.json, and `tensors` are sorted by shard, then name.

    `shards` are the files with the weights, in order. `digests` maps every other file that was read to its SHA-256, for
    the manifest.
    """

    def __init__(self, path: Path, shards: Mapping[str, SourceFile] | None = None) -> None:
        """`shards` maps names to shards that are not in the folder, or not yet.

        Raises BadCheckpoint when a file is missing, damaged, or points outside the folder.
        """
        self.path = path
        self._known_shards = shards or {}
        self.digests: dict[str, str] = {}
        self.shards: list[SafetensorsFile] = []
        if not path.is_dir():
            raise BadCheckpoint(f"{path}: not a checkpoint folder")
        self.config = self.json("config.json")
        self.tensors = self._tensors()

    def json(self, name: str) -> dict[str, Any]:
        """The object in a required JSON file."""
        if (text := self.optional_text(name)) is None:
            raise BadCheckpoint(f"{self.path}: {self._instead_of(name)}")
        return _json(self.path / name, text)

    def optional_json(self, name: str) -> dict[str, Any] | None:
        """The object in a JSON file; None when there is no such file, or nothing in it."""
        text = self.optional_text(name)
        return None if text is None or text.strip() in {"", "null"} else _json(self.path / name, text)

    def optional_text(self, name: str) -> str | None:
        """The text of a file; None when there is no such file."""
        data = _read(self.path / name)
        if data is None:
            return None
        self.digests[name] = hashlib.sha256(data).hexdigest()
        return _text(self.path / name, data)

    def _instead_of(self, missing: str) -> str:
        """What the folder is, because it lacks a required file."""
        names = []
        with suppress(OSError):
            names = [entry.name for entry in self.path.iterdir()]
        if missing == "tokenizer.json" and "tokenizer.model" in names:
            return f"{missing} is missing; tokenizer.model is a vocabulary of another kind, which no R1 distill has"
        if missing == "tokenizer.json" and "vocab.json" in names:
            return f"{missing} is missing; transformers makes it of vocab.json and merges.txt when it saves a tokenizer"
        if missing == "config.json" and (kind := foreign.by_files(names)):
            return f"no checkpoint but {kind}"
        return f"{missing} is missing; a checkpoint has it beside its *.safetensors"

    def _tensors(self) -> dict[str, ShardTensor]:
        weight_map = self._weight_map()
        names = sorted(set(weight_map.values())) if weight_map else self._shard_names()
        tensors: dict[str, ShardTensor] = {}
        for name in names:
            shard = safetensors.read_file(self._shard(name))
            self.shards.append(shard)
            for tensor, stored in shard.tensors.items():
                if tensor in tensors or weight_map.get(tensor, name) != name:
                    raise BadCheckpoint(f"{shard.file.path}: the tensor {tensor} belongs to another shard")
                tensors[tensor] = ShardTensor(shard.file.path, stored)
        if missing := sorted(weight_map.keys() - tensors.keys()):
            raise BadCheckpoint(f"{self.path / weight_map[missing[0]]}: the tensor {missing[0]} is missing")
        return tensors

    def _shard(self, name: str) -> SourceFile:
        if known := self._known_shards.get(name):
            return known
        if not (self.path / name).is_file():
            raise BadCheckpoint(f"{self.path}: the shard {name} is missing; download it to this folder")
        return SourceFile.on_disk(self.path / name)

    def _weight_map(self) -> dict[str, str]:
        """Tensor -> shard, from the index; empty when there is no index."""
        text = self.optional_text(INDEX)
        return {} if text is None else _weight_map(self.path / INDEX, _json(self.path / INDEX, text))

    def _shard_names(self) -> list[str]:
        """The shards of a folder without an index."""
        on_disk = {path.name for path in self.path.glob("*")}
        return _shards_among(self.path, on_disk | self._known_shards.keys())


def shard_names(path: Path, files: Iterable[str]) -> list[str]:
    """The shards of a checkpoint. `files` names all its files, and the folder `path` need only hold the index.

    Raises BadCheckpoint.
    """
    index = read_json(path / INDEX)
    return _shards_among(path, files) if index is None else sorted(set(_weight_map(path / INDEX, index).values()))


def _weight_map(path: Path, index: dict[str, Any]) -> dict[str, str]:
    """Tensor -> shard."""
    weight_map = index.get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise BadCheckpoint(f"{path}: no weight_map")
    for tensor, shard in weight_map.items():
        is_safe = isinstance(shard, str) and shard.endswith(".safetensors") and not set(shard) & set("/\\:\0")
        if not is_safe:
            raise BadCheckpoint(f"{path}: {tensor!r:.80} points to {shard!r:.80}")
    return weight_map


def _shards_among(path: Path, files: Iterable[str]) -> list[str]:
    """The shards of a checkpoint without an index."""
    names = [*files]
    shards = sorted(name for name in names if fnmatchcase(name, "model*.safetensors") and "/" not in name)
    if not shards:
        kind = foreign.by_files(names)
        instead = f"; it has {kind}" if kind else ""
        raise BadCheckpoint(f"{path}: has neither model.safetensors nor {INDEX}{instead}")
    if match := _NUMBERED.search(shards[0]):
        wanted = [f"{shards[0][: match.start()]}-{number:05}-of-{match[1]}" for number in range(1, int(match[1]) + 1)]
        if missing := [name for name in wanted if f"{name}.safetensors" not in shards]:
            raise BadCheckpoint(f"{path}: the shard {missing[0]}.safetensors is missing; download it to this folder")
    return shards


def read_json(path: Path) -> dict[str, Any] | None:
    """The object in a checkpoint's JSON file; None when there is no such file. Raises BadCheckpoint."""
    data = _read(path)
    return None if data is None else _json(path, _text(path, data))


def _json(path: Path, text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as exc:
        kind = kind_of(text[:START_BYTES].encode())
        raise BadCheckpoint(f"{path}: {kind or f'not JSON ({exc}); download it again'}") from exc
    if not isinstance(value, dict):
        raise BadCheckpoint(f"{path}: not a JSON object; download it again")
    return value


def _text(path: Path, data: bytes) -> str:
    try:
        return data.decode("utf-8-sig")  # Windows editors write a byte-order mark
    except UnicodeDecodeError as exc:
        kind = kind_of(data[:START_BYTES])
        raise BadCheckpoint(f"{path}: {kind or f'not UTF-8 at byte {exc.start}; download it again'}") from exc


def _read(path: Path) -> bytes | None:
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise BadCheckpoint(f"{path}: not a regular file")
        if status.st_size > (_MAX_TOKENIZER_BYTES if path.name == "tokenizer.json" else _MAX_JSON_BYTES):
            raise BadCheckpoint(f"{path}: {status.st_size:,} bytes is too large for such a file")
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as exc:
        raise BadCheckpoint(f"{path}: {exc.strerror}") from exc
