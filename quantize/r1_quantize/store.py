"""Where models live: HOME/models/NAME/QUANT.gguf, each with its manifest, QUANT.json, beside it.

Only a file whose name ends in `.gguf` is a model; whatever is still being made has the suffix `.partial`, and
whoever makes it holds the lock of its target.

Knows: the folder layout, how a reference (`qwen-7b`, `qwen-7b:Q4_K_M`, `./a.gguf`) is looked up, who may
write. Does not know: what is inside a GGUF, or how one is made. Imports only the standard library and
platformdirs.
"""

from __future__ import annotations

import difflib
import os
import re
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from r1_quantize.catalog import NAME, Checkpoint
from r1_quantize.errors import BadFile, ModelNotFound, R1Error, UsageError
from r1_quantize.filelock import lock_file
from r1_quantize.manifest import Manifest
from r1_quantize.recipe import RECIPES

QUANT = re.compile(r"[A-Z0-9][A-Z0-9_]*")


def home(environ: Mapping[str, str]) -> Path:
    """R1_HOME, else the platform's folder for application data. Nothing is created."""
    if chosen := environ.get("R1_HOME"):
        return Path(chosen).expanduser()
    from platformdirs import user_data_path

    return user_data_path("r1", appauthor=False)


@dataclass(frozen=True, slots=True)
class StoredModel:
    """A whole GGUF on this machine. `quant` is None for a file that was named by its path."""

    name: str
    quant: str | None
    path: Path
    size: int  # bytes
    modified: float  # seconds since the epoch
    manifest: Manifest | None

    @property
    def reference(self) -> str:
        """What a person types to mean this model."""
        return f"{self.name}:{self.quant}" if self.quant else str(self.path)


class Store:
    """The models under one R1_HOME. `root` is that folder; it need not exist yet."""

    def __init__(self, root: Path, catalogue: Mapping[str, Checkpoint]) -> None:
        self.root = root
        self.catalogue = catalogue

    def path(self, name: str, quant: str) -> Path:
        """Where `name:quant` is or would be. Raises UsageError when that cannot be a model's name."""
        if not NAME.fullmatch(name):
            raise UsageError(f"{name!r} cannot be a model's name: small letters, digits, dots and dashes")
        if not QUANT.fullmatch(quant):
            raise UsageError(f"{quant!r} cannot be a quantization; they look like Q4_K_M")
        return self.root / "models" / name / f"{quant}.gguf"

    def manifest_path(self, name: str, quant: str) -> Path:
        """Where the manifest of `name:quant` is or would be."""
        return self.path(name, quant).with_suffix(".json")

    def models(self) -> list[StoredModel]:
        """Every whole model, by name, then quant. A damaged manifest counts as none."""
        found = (self.root / "models").glob("*/*.gguf")
        return sorted(filter(None, map(_stored, found)), key=lambda model: (model.name, model.quant or ""))

    def find(self, reference: str) -> StoredModel:
        """The model that NAME, NAME:QUANT or a path to a .gguf means; a path has a separator or ends in
        .gguf.

        NAME alone means the catalogue's default quant if that is here, else the newest of that name. Raises
        ModelNotFound, with the command that gets it or the names that come near, and UsageError for a bad
        name.
        """
        if _is_path(reference):
            return _bare(Path(reference).expanduser())
        name, _, quant = reference.partition(":")
        if quant:
            found = _stored(self.path(name, quant.upper()))
        else:
            known = self.catalogue.get(name)
            found = _stored(self.path(name, known.default_quant)) if known else None
            found = found or max(self._of(name), key=_age, default=None)
        if found is None:
            raise ModelNotFound(self._missing(name, quant.upper()))
        return found

    def newest(self) -> StoredModel | None:
        """The model that was stored last; the built-in one does not count."""
        built_in = {name for name, checkpoint in self.catalogue.items() if checkpoint.builtin}
        return max((m for m in self.models() if m.name not in built_in), key=_age, default=None)

    @contextmanager
    def lock(self, name: str, quant: str, *, wait: bool = False) -> Iterator[None]:
        """Hold the right to write `name:quant`; its folder exists while it is held.

        With `wait` another holder is waited for; without it R1Error says which process holds the lock.
        """
        path = self.path(name, quant).with_suffix(".lock")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            held = lock_file(path, wait=wait)
        except BlockingIOError as exc:
            raise R1Error(f"{name}:{quant} is being made by another r1 ({exc})") from exc
        except OSError as exc:
            raise UsageError(f"{path.parent}: {exc.strerror}; set R1_HOME to another folder") from exc
        with held:
            yield

    def _of(self, name: str) -> list[StoredModel]:
        return [model for model in self.models() if model.name == name]

    def _missing(self, name: str, quant: str) -> str:
        known = self.catalogue.get(name)
        if known is not None:
            quant = quant or known.default_quant
            wanted, command = f"{name}:{quant}", f"r1 quantize {name} -t {quant}"
            if not known.builtin:
                command = f"r1 pull {wanted}"
            here = ", ".join(model.reference for model in self._of(name))
            found = f"{wanted} is not here{f' (but {here} is)' if here else ''}"
            return (
                f"{found}; get it with: {command}" if quant in RECIPES else f"{found}, and {quant} is no type r1 makes"
            )
        names = [*dict.fromkeys([*self.catalogue, *(model.name for model in self.models())])]
        if near := difflib.get_close_matches(name, names, n=3, cutoff=0.5):
            return f"no model is called {name!r}; did you mean {' or '.join(near)}?"
        return f"no model is called {name!r}; known are {', '.join(names)}"


def _is_path(reference: str) -> bool:
    separators = {os.sep, os.altsep, "/"} - {None}
    return reference.endswith(".gguf") or any(separator in reference for separator in separators if separator)


def _age(model: StoredModel) -> float:
    return model.modified


def _bare(path: Path) -> StoredModel:
    """A GGUF that was named by its path."""
    try:
        status = path.stat()
    except OSError as exc:
        raise ModelNotFound(f"{path}: {exc.strerror}") from exc
    if not path.is_file():
        raise ModelNotFound(f"{path}: not a file")
    return StoredModel(path.stem, None, path, status.st_size, status.st_mtime, _manifest(path))


def _stored(path: Path) -> StoredModel | None:
    """The model at its place in the store; None when there is no file."""
    if not (NAME.fullmatch(path.parent.name) and QUANT.fullmatch(path.stem)):
        return None
    try:
        status = path.stat()
    except OSError:
        return None
    if not stat.S_ISREG(status.st_mode):
        return None
    return StoredModel(path.parent.name, path.stem, path, status.st_size, status.st_mtime, _manifest(path))


def _manifest(path: Path) -> Manifest | None:
    try:
        return Manifest.read(path.with_suffix(".json"))
    except BadFile:
        return None
