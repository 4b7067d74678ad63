"""The store of models: HOME/models/NAME/QUANT.gguf, each with its manifest, QUANT.json, beside it.

Only a file whose name ends in `.gguf` is a model. An unfinished one has the suffix `.partial`, and the process that
makes it holds the lock of its target. Imports only the standard library, platformdirs and light modules of ours,
because `r1 list` and shell completion run it.
"""

from __future__ import annotations

import difflib
import shutil
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

from r1_quantize.catalog import NAME, Checkpoint, as_quant
from r1_quantize.errors import UNUSABLE_PATH, Busy, ModelNotFound, R1Error, UsageError
from r1_quantize.files import expanded, is_path, lock_file
from r1_quantize.store.model import QUANT, StoredModel, manifest_beside, model_at, model_in_store
from r1_quantize.store.removable import Removable, files_of_model, removable_of

RECORD = "repository.json"
"""The file in a checkpoint's folder that lists the files of the checkpoint and their digests."""

KEPT = ".kept"
"""The file that marks a checkpoint's folder as complete and kept."""

_PARTIAL = ".gguf.partial"


def home(environ: Mapping[str, str]) -> Path:
    """R1_HOME, else the platform's folder for application data. Creates nothing.

    Raises UsageError where there is no such folder, as for a user without a home.
    """
    if chosen := environ.get("R1_HOME"):
        folder = expanded(chosen)
        if folder.parts[:1] and folder.parts[0].startswith("~"):
            raise UsageError(f"R1_HOME: there is no home folder for {chosen}; give the full path of a folder")
        return folder
    from platformdirs import user_data_path

    with suppress(RuntimeError):
        folder = user_data_path("r1", appauthor=False)
        if folder.is_absolute():
            return folder
    raise UsageError("this user has no home folder; set R1_HOME to a folder for models and chats")


class Store:
    """The models under one R1_HOME. `root` is that folder; it need not exist yet."""

    def __init__(self, root: Path, catalogue: Mapping[str, Checkpoint]) -> None:
        self.root = root
        self.catalogue = catalogue

    def path(self, name: str, quant: str) -> Path:
        """Where `name:quant` is or would be. Raises UsageError when that is not a valid name."""
        if not NAME.fullmatch(name):
            raise UsageError(f"bad model name {name!r:.120}; use lower-case letters, digits, dots and dashes")
        if not QUANT.fullmatch(quant):
            raise UsageError(f"bad quant type {quant!r}; quant types look like Q4_K_M")
        return self.root / "models" / name / f"{quant}.gguf"

    def manifest_path(self, name: str, quant: str) -> Path:
        """Where the manifest of `name:quant` is or would be."""
        return self.path(name, quant).with_suffix(".json")

    def models(self) -> list[StoredModel]:
        """Every finished model, by name, then quant. A damaged manifest counts as none."""
        paths = (self.root / "models").glob("*/*.gguf")
        return sorted(filter(None, map(model_in_store, paths)), key=lambda model: (model.name, model.quant or ""))

    def find(self, reference: str) -> StoredModel:
        """The model for NAME, NAME:QUANT or a path; a path has a separator or ends in .gguf.

        NAME alone means the catalogue's default quant if it is stored, else the newest of that name. Raises
        ModelNotFound, with the command that gets the model or similar names, and UsageError for a bad name.
        """
        if is_path(reference):
            return model_at(expanded(reference))
        name, _, quant = reference.partition(":")
        if quant:
            model = self.stored(name, as_quant(quant))
        else:
            known = self.catalogue.get(name)
            model = self.stored(name, known.default_quant) if known else None
            model = model or max(self._of(name), key=_modified, default=None)
        if model is None:
            raise ModelNotFound(self._not_found(name, as_quant(quant)))
        return model

    def stored(self, name: str, quant: str) -> StoredModel | None:
        """`name:quant`; None when it is not stored."""
        return model_in_store(self.path(name, quant))

    def at(self, path: Path) -> StoredModel | None:
        """The model whose file is at `path`, given in any way; None for a file outside the store. Raises OSError."""
        real = path.resolve()
        return model_in_store(real) if real.parent.parent == (self.root / "models").resolve() else None

    def interrupted_repair(self, reference: str) -> StoredModel | None:
        """The model whose repair was interrupted: it has a manifest and an unfinished file, but no finished one."""
        name, _, quant = reference.partition(":")
        if not NAME.fullmatch(name):
            return None
        for partial in sorted((self.root / "models" / name).glob(f"*{_PARTIAL}")):
            path = partial.with_suffix("")
            if not path.exists() and as_quant(quant) in {"", path.stem} and (manifest := manifest_beside(path)):
                return StoredModel(name=name, quant=path.stem, path=path, size=0, modified=0, manifest=manifest)
        return None

    def newest(self) -> StoredModel | None:
        """The model stored last that r1 can run, except the built-in one."""
        built_in = {name for name, checkpoint in self.catalogue.items() if checkpoint.builtin}
        models = (model for model in self.models() if model.name not in built_in)
        newest_first = sorted(models, key=_modified, reverse=True)
        return next((model for model in newest_first if self.is_checked(model) or not model.missing_tokens), None)

    def is_checked(self, model: StoredModel) -> bool:
        """Whether it is on record that r1 can run the model's vocabulary, so that its header need not be read.

        True of a model that was checked when it was made, and of one made from a checkpoint of the catalogue.
        """
        manifest, known = model.manifest, self.catalogue.get(model.name)
        if manifest is None:
            return False
        if manifest.missing_tokens is not None:
            return not manifest.missing_tokens
        return known is not None and manifest.source in {known.repo, known.prebuilt}

    def checkpoint_folder(self, repo: str, commit: str) -> Path:
        """The folder for the files of a hub repository at one commit, while they are needed or if they are kept."""
        return self._checkpoints(repo) / commit

    def checkpoint_folders(self, repo: str) -> list[Path]:
        """The existing folders of a repository, the most recently changed first."""
        records = self._checkpoints(repo).glob(f"*/{RECORD}")
        return sorted((path.parent for path in records), key=_changed_at, reverse=True)

    def lock(self, name: str, quant: str, *, wait: bool = False) -> AbstractContextManager[None]:
        """Hold the lock for writing `name:quant`; creates its folder.

        With `wait`, waits for another holder; without it, raises Busy with the holder's process.
        """
        return _lock(self.path(name, quant).with_suffix(".lock"), f"{name}:{quant} is being made", wait=wait)

    def lock_checkpoint(self, repo: str, *, wait: bool = False) -> AbstractContextManager[None]:
        """Hold the lock for the folders of a repository."""
        return _lock(self._checkpoints(repo) / ".lock", f"{repo} is being pulled", wait=wait)

    def kept_checkpoint(self, repo: str) -> Path | None:
        """The folder of a checkpoint that was kept when it was pulled."""
        return next((folder for folder in self.checkpoint_folders(repo) if (folder / KEPT).exists()), None)

    def unfinished(self) -> list[Removable]:
        """The unfinished models."""
        partials = sorted((self.root / "models").glob(f"*/*{_PARTIAL}"))
        models = [(path.parent, path.name.removesuffix(_PARTIAL)) for path in partials]
        return [removable_of(f"{folder.name}:{quant}", files_of_model(folder, quant)) for folder, quant in models]

    def checkpoints(self) -> list[Removable]:
        """The repositories with files on this disk: kept checkpoints and remains of interrupted pulls."""
        repositories = {path.parent.parent for path in (self.root / "checkpoints").glob(f"*/*/{RECORD}")}
        return [
            removable_of(
                folder.name.replace("--", "/"),
                sorted({path.parent for path in folder.glob(f"*/{RECORD}")}),  # not the lock: others may wait for it
                is_complete=any(folder.glob(f"*/{KEPT}")),
            )
            for folder in sorted(repositories)
        ]

    def removable(self, reference: str) -> Removable:
        """The item for NAME:QUANT, for NAME if it has one quant, or for OWNER/REPO, a checkpoint.

        Raises ModelNotFound, or UsageError for a file outside the store or an ambiguous name.
        """
        for checkpoint in self.checkpoints():
            if checkpoint.reference == reference.removeprefix("hf:"):
                return checkpoint
        if is_path(reference):
            if Path(reference).exists():
                raise UsageError(f"{reference} is not in the store; remove the file itself")
            raise ModelNotFound(f"{reference} is not on this machine; see r1 list")
        name, _, quant = reference.partition(":")
        quants = self._quants(name)
        if not quant and len(quants) > 1:
            raise UsageError(f"{name} has several types; choose one of {', '.join(f'{name}:{q}' for q in quants)}")
        chosen = as_quant(quant) or "".join(quants)
        if chosen not in quants:
            raise ModelNotFound(f"{reference} is not on this machine; see r1 list")
        is_complete = self.stored(name, chosen) is not None
        files = files_of_model(self.path(name, chosen).parent, chosen)
        return removable_of(f"{name}:{chosen}", files, is_complete=is_complete)

    def remove(self, item: Removable) -> None:
        """Raises Busy when another process holds the lock, UsageError or R1Error when a file cannot be removed."""
        name, _, quant = item.reference.partition(":")
        with self.lock(name, quant) if quant else self.lock_checkpoint(item.reference):
            with suppress(ModelNotFound):  # already gone
                item = self.removable(item.reference)  # it may have changed before we held the lock
            try:
                for path in item.paths:
                    shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
            except OSError as exc:
                error = UsageError if exc.errno in UNUSABLE_PATH else R1Error
                raise error(
                    f"cannot remove {exc.filename}: {exc.strerror}; check the permissions of its folder"
                ) from exc

    def _checkpoints(self, repo: str) -> Path:
        return self.root / "checkpoints" / repo.replace("/", "--")

    def _of(self, name: str) -> list[StoredModel]:
        return [model for model in self.models() if model.name == name]

    def _quants(self, name: str) -> list[str]:
        """The quant types of a model's finished and unfinished files."""
        unfinished = [item.reference.partition(":") for item in self.unfinished()]
        return sorted(
            {*(str(model.quant) for model in self._of(name)), *(quant for of, _, quant in unfinished if of == name)}
        )

    def _not_found(self, name: str, quant: str) -> str:
        known = self.catalogue.get(name)
        if known is not None:
            return self._not_stored(known, quant or known.default_quant)
        names = [*dict.fromkeys([*self.catalogue, *(model.name for model in self.models())])]
        if near := difflib.get_close_matches(name, names, n=3, cutoff=0.5):
            return f"no model is called {name!r}; did you mean {' or '.join(near)}?"
        return f"no model is called {name!r}; r1 knows {', '.join(names)}"

    def _not_stored(self, known: Checkpoint, quant: str) -> str:
        reference = f"{known.name}:{quant}"
        others = ", ".join(model.reference for model in self._of(known.name))
        missing = f"{reference} is not on this machine{f' (but {others} is)' if others else ''}"
        from r1_quantize.recipe import RECIPES  # slow to import

        if quant not in RECIPES:
            return f"{missing}, and {quant!r} is an unknown type; see r1 quantize {known.name} --list-types"
        command = f"r1 quantize {known.name} -t {quant}" if known.builtin else f"r1 pull {reference}"
        return f"{missing}; get it with: {command}"


@contextmanager
def _lock(path: Path, what: str, *, wait: bool) -> Iterator[None]:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        locked = lock_file(path, wait=wait)
    except BlockingIOError as exc:
        raise Busy(f"{what} by another r1 ({exc}); wait for it to finish") from exc
    except OSError as exc:
        raise UsageError(f"{path.parent}: {exc.strerror}; set R1_HOME to another folder") from exc
    with locked:
        yield


def _changed_at(folder: Path) -> float:
    try:
        return folder.stat().st_mtime
    except OSError:  # another process has just removed it
        return 0


def _modified(model: StoredModel) -> float:
    return model.modified
