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
import shutil
import stat
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from r1_quantize.catalog import NAME, Checkpoint
from r1_quantize.errors import BadFile, Busy, ModelNotFound, R1Error, UsageError
from r1_quantize.files import lock_file
from r1_quantize.recipe import RECIPES
from r1_quantize.store.manifest import Manifest

RECORD = "repository.json"
"""What says in the folder of a checkpoint which files it is made of, and what they must hash to."""

KEPT = ".kept"
"""Stands in the folder of a checkpoint that is whole and stays."""

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
    def is_complete(self) -> bool:
        """Whether the file has the size it was made with; nobody has looked inside."""
        return self.manifest is None or self.manifest.size == self.size

    @property
    def reference(self) -> str:
        """What a person types to mean this model."""
        return f"{self.name}:{self.quant}" if self.quant else str(self.path)


@dataclass(frozen=True, slots=True)
class Holding:
    """Something in the store that can be removed: a model, a half-made one, or files of a checkpoint."""

    reference: str
    size: int  # bytes of the disk
    paths: tuple[Path, ...]
    is_complete: bool


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

    def stored(self, name: str, quant: str) -> StoredModel | None:
        """`name:quant`, if it is here."""
        return _stored(self.path(name, quant))

    def interrupted_repair(self, reference: str) -> StoredModel | None:
        """The model of that name whose repair was interrupted: its manifest is here, and it is half-made."""
        name, _, quant = reference.partition(":")
        if not NAME.fullmatch(name):
            return None
        for partial in sorted((self.root / "models" / name).glob("*.gguf.partial")):
            path = partial.with_suffix("")
            if not path.exists() and quant.upper() in {"", path.stem} and (manifest := _manifest(path)):
                return StoredModel(name, path.stem, path, 0, 0, manifest)
        return None

    def newest(self) -> StoredModel | None:
        """The model that was stored last; the built-in one does not count."""
        built_in = {name for name, checkpoint in self.catalogue.items() if checkpoint.builtin}
        return max((m for m in self.models() if m.name not in built_in), key=_age, default=None)

    def checkpoint_folder(self, repo: str, commit: str) -> Path:
        """Where files of a hub's repository lie at one commit, while they are needed or because they are kept."""
        return self._checkpoints(repo) / commit

    def checkpoint_folders(self, repo: str) -> list[Path]:
        """Those there are of a repository, the one that was worked on last first."""
        found = self._checkpoints(repo).glob(f"*/{RECORD}")
        return sorted((path.parent for path in found), key=_touched, reverse=True)

    def lock(self, name: str, quant: str, *, wait: bool = False) -> AbstractContextManager[None]:
        """Hold the right to write `name:quant`; its folder exists while it is held.

        With `wait` another holder is waited for; without it Busy says which process holds the lock.
        """
        return _lock(self.path(name, quant).with_suffix(".lock"), f"{name}:{quant} is being made", wait=wait)

    def lock_checkpoint(self, repo: str, *, wait: bool = False) -> AbstractContextManager[None]:
        """The same for the folders of a repository."""
        return _lock(self._checkpoints(repo) / ".lock", f"{repo} is being pulled", wait=wait)

    def kept_checkpoint(self, repo: str) -> Path | None:
        """The folder of a checkpoint that was kept when it was pulled."""
        return next((folder for folder in self.checkpoint_folders(repo) if (folder / KEPT).exists()), None)

    def unfinished(self) -> list[Holding]:
        """The models that are half-made."""
        found = sorted((self.root / "models").glob("*/*.gguf.partial"))
        return [_holding(f"{path.parent.name}:{_quant(path)}", _parts(path.parent, _quant(path))) for path in found]

    def checkpoints(self) -> list[Holding]:
        """The repositories of which files are here, kept ones and what interrupted pulls have left."""
        found = {path.parent.parent for path in (self.root / "checkpoints").glob(f"*/*/{RECORD}")}
        return [
            _holding(
                folder.name.replace("--", "/"),
                sorted({path.parent for path in folder.glob(f"*/{RECORD}")}),  # the lock stays, whoever waits for it
                whole=any(folder.glob(f"*/{KEPT}")),
            )
            for folder in sorted(found)
        ]

    def removable(self, reference: str) -> Holding:
        """What NAME:QUANT, NAME, if there is one quant of it, or OWNER/REPO, for a checkpoint, stands for.

        Raises ModelNotFound, or UsageError for what is not the store's.
        """
        for checkpoint in self.checkpoints():
            if checkpoint.reference == reference.removeprefix("hf:"):
                return checkpoint
        if _is_path(reference):
            if Path(reference).exists():
                raise UsageError(f"{reference} is not in the store; remove the file itself")
            raise ModelNotFound(f"{reference} is not here; r1 list shows what is")
        name, _, quant = reference.partition(":")
        half_made = [
            item.reference.partition(":")[2] for item in self.unfinished() if item.reference.startswith(f"{name}:")
        ]
        here = sorted({*(str(model.quant) for model in self._of(name)), *half_made})
        if not quant and len(here) > 1:
            raise UsageError(f"which one? {', '.join(f'{name}:{found}' for found in here)}")
        wanted = quant.upper() or "".join(here)
        if wanted not in here:
            raise ModelNotFound(f"{reference} is not here; r1 list shows what is")
        whole = _stored(self.path(name, wanted)) is not None
        return _holding(f"{name}:{wanted}", _parts(self.path(name, wanted).parent, wanted), whole=whole)

    def remove(self, holding: Holding) -> None:
        """Raises Busy when another process is at it, R1Error when the disk fails."""
        name, _, quant = holding.reference.partition(":")
        with self.lock(name, quant) if quant else self.lock_checkpoint(holding.reference):
            with suppress(ModelNotFound):  # when it is gone already
                holding = self.removable(holding.reference)  # as it is now that nobody else is at it
            try:
                for path in holding.paths:
                    shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
            except OSError as exc:
                raise R1Error(f"{exc.filename}: {exc.strerror}") from exc

    def _checkpoints(self, repo: str) -> Path:
        return self.root / "checkpoints" / repo.replace("/", "--")

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


def _quant(partial: Path) -> str:
    return partial.name.removesuffix(".gguf.partial")


def _parts(folder: Path, quant: str) -> list[Path]:
    """All files of one model, the model first: without it the others mean nothing."""
    suffixes = (".gguf", ".json", ".json.next", ".gguf.partial", ".gguf.partial.journal")
    return [path for suffix in suffixes if (path := folder / f"{quant}{suffix}").exists()]


def _holding(reference: str, paths: Sequence[Path], *, whole: bool = False) -> Holding:
    files = [file for path in paths for file in (_files(path) if path.is_dir() else [path])]
    return Holding(reference, sum(map(allocated_bytes, files)), tuple(paths), whole)


def _files(folder: Path) -> Iterator[Path]:
    """Every file in it; one that another process removes meanwhile is not missed."""
    for where, _, names in os.walk(folder):
        yield from (Path(where, name) for name in names)


def allocated_bytes(path: Path) -> int:
    """The bytes of the disk that a file takes: a half-made one has holes."""
    try:
        status = path.lstat()
    except OSError:
        return 0
    return min(status.st_size, getattr(status, "st_blocks", status.st_size) * 512)


@contextmanager
def _lock(path: Path, what: str, *, wait: bool) -> Iterator[None]:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        held = lock_file(path, wait=wait)
    except BlockingIOError as exc:
        raise Busy(f"{what} by another r1 ({exc})") from exc
    except OSError as exc:
        raise UsageError(f"{path.parent}: {exc.strerror}; set R1_HOME to another folder") from exc
    with held:
        yield


def _touched(folder: Path) -> float:
    try:
        return folder.stat().st_mtime
    except OSError:  # another process has just removed it
        return 0


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
        return Manifest.beside(path)
    except BadFile:
        return None
