"""The built-in model: quantized from the checkpoint inside the package when it is first used."""

from __future__ import annotations

from pathlib import Path

from r1_quantize import catalog
from r1_quantize.catalog import Checkpoint
from r1_quantize.errors import BadFile, UsageError
from r1_quantize.gguf import reader
from r1_quantize.store.manifest import Manifest, file_sha256
from r1_quantize.store.model import StoredModel
from r1_quantize.store.store import Store


def ensure_tiny(store: Store) -> StoredModel:
    """The built-in model; quantizes it if it is not in the store or the package has a newer checkpoint.

    Raises R1Error when the store cannot be written to, UsageError when another model is in its place.
    """
    checkpoint = next(checkpoint for checkpoint in store.catalogue.values() if checkpoint.builtin)
    name, quant = checkpoint.name, checkpoint.default_quant
    if not _is_current(store, checkpoint, quant):
        with store.lock(name, quant, wait=True):
            if not _is_current(store, checkpoint, quant):  # another process may have made it meanwhile
                refuse_foreign(store, checkpoint, quant)
                _make(store, checkpoint)
    return store.find(f"{name}:{quant}")


def refuse_foreign(store: Store, checkpoint: Checkpoint, quant: str) -> None:
    """Raises UsageError when the file at the built-in model's place is another model, which must not be replaced.

    One made by another version of this package is known by its title, because its manifest has other digests: the
    title of the package, or the one that the user's models.toml gives it. A file that cannot be read is taken for a
    damaged built-in model.
    """
    if _is_current(store, checkpoint, quant):
        return
    path = store.path(checkpoint.name, quant)
    try:
        title = reader.read(path).metadata.get("general.name")
    except BadFile:
        return
    if title not in {checkpoint.title, catalog.load()[checkpoint.name].title}:
        raise UsageError(
            f"{path} is not the built-in model; move it to another folder beside {path.parent.name} to keep it, or "
            f"remove it with: r1 rm {checkpoint.name}:{path.stem}"
        )


def _make(store: Store, checkpoint: Checkpoint) -> None:
    from r1_quantize.pipeline import Job, quantize  # slow to import, and usually the model exists already

    name, quant = checkpoint.name, checkpoint.default_quant
    job = Job(
        source=_folder(checkpoint),
        quant=quant,
        target=store.path(name, quant),
        name=name,
        checkpoint=checkpoint,
        manifest=store.manifest_path(name, quant),
    )
    for _ in quantize(job):
        pass


def _folder(checkpoint: Checkpoint) -> Path:
    assert checkpoint.folder is not None
    return checkpoint.folder


def _is_current(store: Store, checkpoint: Checkpoint, quant: str) -> bool:
    """True when the stored model is complete and was made from exactly the checkpoint's present files."""
    path, folder = store.path(checkpoint.name, quant), _folder(checkpoint)
    try:
        manifest = Manifest.read(store.manifest_path(checkpoint.name, quant))
        return (
            manifest is not None
            and path.stat().st_size == manifest.size
            and manifest.source_sha256 == {file: file_sha256(folder / file) for file in manifest.source_sha256}
        )
    except (OSError, BadFile):
        return False
