"""Finds the model or source that a name stands for on this machine."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from r1.console import Console
from r1_quantize import catalog
from r1_quantize.catalog import as_quant, check_name, model_name
from r1_quantize.errors import ModelNotFound, UsageError
from r1_quantize.files import check_working_folder, expanded
from r1_quantize.store.model import StoredModel
from r1_quantize.store.store import Store, home

if TYPE_CHECKING:
    from r1_quantize.catalog import Checkpoint
    from r1_quantize.files import SourceFile

BUILT_IN = "tiny"

_CACHED = "models--"  # the Hugging Face cache has models--OWNER--REPO/snapshots/COMMIT
_COMMIT = re.compile(r"[0-9a-f]{40}")

_QUANT = re.compile(r"(ud[-_])?(i?q|tq|bf|f|mxfp)\d", re.IGNORECASE)
_FOREIGN_NAME = re.compile(
    r"deepseek-r1(:((?P<tag>[\d.]+)b\b.*|latest))?"  # on Ollama
    r"|(hf:|hf\.co/|huggingface\.co/)?[\w.-]+/deepseek-r1-distill-(qwen|llama)-(?P<size>[\d.]+)b.*"  # on the hub
)


@dataclass(frozen=True, slots=True)
class LocalSource:
    """A checkpoint folder or a GGUF (any part of a split one) on this disk, and the name of the model made from it.

    `checkpoint` is the catalogue's entry for it. `origin` is the hub repository or file that it came from, `revision`
    the hub's commit, and `files` the files with a published digest.
    """

    path: Path
    name: str
    checkpoint: Checkpoint | None = None
    origin: str | None = None
    revision: str | None = None
    files: Mapping[str, SourceFile] = field(default_factory=dict)


def open_store(environ: Mapping[str, str]) -> Store:
    """The store under R1_HOME; the user's models.toml there extends the catalogue. Raises UsageError."""
    root = home(environ)
    try:
        return Store(root, catalog.load(root / "models.toml"))
    except OSError as exc:
        raise UsageError(f"{root}: {exc.strerror}; set R1_HOME to another folder") from exc


def find_model(console: Console, reference: str | None) -> StoredModel:
    """The model that `reference` names; without a reference, the model pulled last, else the built-in one.

    Raises ModelNotFound, with the `r1 pull` command to get the model, and BadGGUF when llama.cpp would end the process
    if it loaded the model.
    """
    store = open_store(console.environ)
    name = _resolve(console, store, reference)
    if _is_built_in(store, name):
        return _built_in(store)
    model = store.find(name)
    require_runnable(store, model)
    return model


def require_runnable(store: Store, model: StoredModel) -> None:
    """Raises BadGGUF when llama.cpp would end the process if it loaded the model."""
    if not (store.is_checked(model) or _is_being_loaded(model)):
        from r1_quantize.gguf import reader  # here, because `r1 list` and completion never read a model
        from r1_quantize.gguf.vocabulary import check_vocabulary

        check_vocabulary(reader.read(model.path))


def _is_being_loaded(model: StoredModel) -> bool:
    """Whether its load has begun, which finds out by itself whether llama.cpp would end the process."""
    early_load = sys.modules.get("r1.fit.early_load")
    return early_load is not None and early_load.begun(model.path) is not None


def resolve_model(console: Console, reference: str | None) -> str:
    """The full name of the model that `find_model` returns, without making the built-in one. Raises ModelNotFound."""
    return _resolve(console, open_store(console.environ), reference)


def _resolve(console: Console, store: Store, reference: str | None) -> str:
    if reference is None and store.newest() is None:
        state = "r1 can run no model here" if any(m.name != BUILT_IN for m in store.models()) else "no model pulled yet"
        console.note(f"{state}, so using the built-in {BUILT_IN}; get one: r1 pull qwen-1.5b")
    return full_name(store, reference)


def full_name(store: Store, reference: str | None) -> str:
    """The full name of the model that `reference` names, or of the default. Raises ModelNotFound."""
    if reference is None:
        newest = store.newest()
        reference = newest.reference if newest else BUILT_IN
    return _built_in_name(store) if _is_built_in(store, reference) else store.find(reference).reference


def known_models(environ: Mapping[str, str]) -> list[str]:
    """Full names of the models on this machine."""
    store = open_store(environ)
    names = [model.reference for model in store.models()]
    return list(dict.fromkeys([*names, _built_in_name(store)]))


def named_by(environ: Mapping[str, str], word: str) -> str | None:
    """The model of this machine or the catalogue whose name is exactly `word`; also by its name on Ollama or the hub.

    None for other words, such as the first word of a prompt.
    """
    store = open_store(environ)
    name, _, quant = word.partition(":")
    names = {*store.catalogue, *(model.name for model in store.models())}
    if name in names and (not quant or _QUANT.match(quant)):
        return word
    if word.endswith(".gguf") and Path(word).is_file():
        return word
    if match := _FOREIGN_NAME.fullmatch(word.lower()):
        size = match["tag"] or match["size"] or "7"
        return next((name for name in store.catalogue if name.endswith(f"-{size}b")), None)
    return None


def look_up(store: Store, reference: str) -> StoredModel:
    """The stored model as it is, damaged or not. A built-in model that is not stored yet is made.

    Raises ModelNotFound.
    """
    try:
        return store.find(reference)
    except ModelNotFound:
        if _is_built_in(store, reference):
            return _built_in(store)
        raise


def _built_in_name(store: Store) -> str:
    return f"{BUILT_IN}:{store.catalogue[BUILT_IN].default_quant}"


def _is_built_in(store: Store, reference: str) -> bool:
    name, _, quant = reference.partition(":")
    return name == BUILT_IN and as_quant(quant) in {"", store.catalogue[BUILT_IN].default_quant}


def _built_in(store: Store) -> StoredModel:
    """The built-in model, quantized now unless the store has it and its file is intact."""
    from r1_quantize.builtin import ensure_tiny

    return ensure_tiny(store)


def find_source(store: Store, source: str) -> LocalSource:
    """The source on this disk for a catalogue name, a repository in the catalogue, a model's name or a path.

    Raises ModelNotFound, or UsageError for something that cannot be a source.
    """
    for checkpoint in store.catalogue.values():
        if source in {checkpoint.name, checkpoint.repo}:
            return _checkpoint_source(store, checkpoint)
    if not source:
        raise UsageError("SOURCE is empty; it is a checkpoint folder, a .gguf or a model's name")
    try:
        return _source_at(store, source, expanded(source))
    except OSError as exc:
        raise ModelNotFound(f"{source:.240}: {exc.strerror}") from exc


def _source_at(store: Store, source: str, path: Path) -> LocalSource:
    """The source that is not a checkpoint of the catalogue. Raises OSError, and as `find_source`."""
    check_working_folder(path)
    if path.is_dir():
        return _folder_source(store, path)
    if path.suffix == ".safetensors":
        raise UsageError(f"{source} is one file of a checkpoint; give its folder: {shlex.quote(str(path.parent))}")
    if path.is_file():
        return _model_source(store, store.at(path) or store.find(str(path.absolute())))
    if (kept := _kept_checkpoint(store, source.removeprefix("hf:"))) is not None:
        return _folder_source(store, kept)
    if source.startswith("hf:"):
        raise ModelNotFound(f"{source:.240} is not on this disk; `r1 pull {source:.240}` downloads and quantizes it")
    if ":" in source or any(model.name == source for model in store.models()):
        return _model_source(store, store.find(source))
    problem = "is not a regular file" if path.exists() else "is neither a file, a folder nor a name in the catalogue"
    raise ModelNotFound(f"{source:.240} {problem}; a checkpoint is a folder with config.json and *.safetensors")


def named_source(store: Store, source: LocalSource, name: str | None) -> LocalSource:
    """The source under the name that its model gets in the store: `name`, else its own.

    Raises UsageError for a bad name or none, and for a name in the catalogue that is not the source's.
    """
    chosen = source.name if name is None else name
    if name is None and not chosen:
        raise UsageError(
            f"{source.path}: its name has no letter from a to z and no digit; name the model with --name NAME"
        )
    return replace(source, name=check_name(chosen, store.catalogue, source.checkpoint, str(source.path)))


def _folder_source(store: Store, path: Path) -> LocalSource:
    """A checkpoint folder. One from the hub is named after its repository, not after its commit."""
    if (snapshot := _snapshot_in(path)) is not None:
        return _folder_source(store, snapshot)
    real = path.resolve()
    if real.parent == (store.root / "checkpoints").resolve() and (kept := _kept_checkpoint(store, _repo_of(real))):
        return _folder_source(store, kept)
    if (cached := _cached_repository(real)) is not None:
        return _hub_source(store, path, *cached)
    if (repo := _staged_repository(store, real)) is not None:
        from r1_quantize.hub import staging

        return _hub_source(store, path, repo, real.name, staging.kept_files(real))
    return LocalSource(path, model_name(real.name))


def _hub_source(
    store: Store, path: Path, repo: str, commit: str | None, files: Mapping[str, SourceFile] = MappingProxyType({})
) -> LocalSource:
    known = next((checkpoint for checkpoint in store.catalogue.values() if checkpoint.repo == repo), None)
    name = known.name if known else model_name(repo.rpartition("/")[2])
    return LocalSource(path, name, known, origin=repo, revision=commit, files=files)


def _cached_repository(real: Path) -> tuple[str, str | None] | None:
    """The repository and commit of a snapshot in the Hugging Face cache; None for any other folder."""
    *_, cache, folder, commit = ("", "", *real.parts)
    if folder != "snapshots" or not cache.startswith(_CACHED):
        return None
    repo = cache.removeprefix(_CACHED).replace("--", "/", 1)
    return repo, commit if _COMMIT.fullmatch(commit) else None


def _snapshot_in(path: Path) -> Path | None:
    """The newest snapshot in a repository's folder of the Hugging Face cache; None for any other folder."""
    if not path.resolve().name.startswith(_CACHED):
        return None
    snapshots = [folder for folder in (path / "snapshots").glob("*") if folder.is_dir()]
    return max(snapshots, key=lambda folder: folder.stat().st_mtime, default=None)


def _staged_repository(store: Store, real: Path) -> str | None:
    """The repository whose checkpoint an earlier pull put into this folder; None for any other folder."""
    if real.parent.parent != (store.root / "checkpoints").resolve() or "--" not in real.parent.name:
        return None
    return _repo_of(real.parent)


def _repo_of(folder: Path) -> str:
    """The repository OWNER/NAME of a folder OWNER--NAME."""
    return folder.name.replace("--", "/", 1)


def _kept_checkpoint(store: Store, repo: str) -> Path | None:
    """The checkpoint of a repository that an earlier pull kept, as `r1 list` shows it; None for any other text."""
    return store.kept_checkpoint(repo) if re.fullmatch(r"[\w.-]+/[\w.-]+", repo) else None


def _checkpoint_source(store: Store, checkpoint: Checkpoint) -> LocalSource:
    """A checkpoint of the catalogue: built in, kept by an earlier pull, or in the Hugging Face cache."""
    from r1_quantize.hub import hub, staging

    if checkpoint.folder is not None:
        return LocalSource(checkpoint.folder, checkpoint.name, checkpoint)
    if checkpoint.repo is None:
        raise ModelNotFound(f"{checkpoint.name} has no repo in models.toml, so there is nothing to quantize")
    if kept := store.kept_checkpoint(checkpoint.repo):
        files = staging.kept_files(kept)
        return LocalSource(kept, checkpoint.name, checkpoint, revision=kept.name, files=files)
    try:
        folder = hub.cached_checkpoint(checkpoint.repo)
    except ModelNotFound as exc:
        raise ModelNotFound(f"{exc}; r1 pull {checkpoint.name} quantizes it while it downloads") from exc
    return LocalSource(folder, checkpoint.name, checkpoint, revision=folder.name)


def _model_source(store: Store, model: StoredModel) -> LocalSource:
    """A GGUF to quantize again. One in the store keeps its name; another loses the type that its name ends in."""
    in_store = model.quant is not None
    name = model.name if in_store else _name_from_file(model.path)
    known = store.catalogue.get(name) if in_store else None
    manifest = model.manifest
    if manifest is None:
        return LocalSource(model.path, name, known, origin=model.path.name)
    return LocalSource(model.path, name, known, origin=manifest.source, revision=manifest.revision)


def _name_from_file(path: Path) -> str:
    """`My-Model-Q8_0-00001-of-00002.gguf` → `my-model`."""
    from r1_quantize.gguf.split import joined_name
    from r1_quantize.recipe import RECIPES

    quants = "|".join(sorted(RECIPES, key=len, reverse=True))
    stem = re.sub(rf"(^|[-._ ])({quants})$", "", Path(joined_name(path.name)).stem, flags=re.IGNORECASE)
    return model_name(stem or path.resolve().parent.name)
