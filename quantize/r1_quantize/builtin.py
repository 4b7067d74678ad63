"""The built-in model: made from the checkpoint inside the package, when it is first wanted.

Knows: when that has to be done, or done again. Does not know: how; that is one call of `pipeline`, which is
imported only for it, because every `r1 run` without a model passes through here.
"""

from __future__ import annotations

from pathlib import Path

from r1_quantize.errors import BadFile
from r1_quantize.store.manifest import Manifest, file_sha256
from r1_quantize.store.store import Store, StoredModel


def ensure_tiny(store: Store) -> StoredModel:
    """The built-in model, quantized now if it is not in the store yet or the package has a newer one.

    Raises R1Error when the store cannot be written to.
    """
    checkpoint = next(checkpoint for checkpoint in store.catalogue.values() if checkpoint.builtin)
    folder = checkpoint.folder
    assert folder is not None
    name, quant = checkpoint.name, checkpoint.default_quant
    if not _is_current(store, name, quant, folder):
        with store.lock(name, quant, wait=True):
            if not _is_current(store, name, quant, folder):  # another process may have made it meanwhile
                from r1_quantize.pipeline import Job, quantize

                job = Job(
                    folder,
                    quant,
                    store.path(name, quant),
                    name,
                    checkpoint=checkpoint,
                    manifest=store.manifest_path(name, quant),
                )
                for _ in quantize(job):
                    pass
    return store.find(f"{name}:{quant}")


def _is_current(store: Store, name: str, quant: str, folder: Path) -> bool:
    """Whether the stored model is whole and was made from exactly the files that `folder` holds now."""
    path = store.path(name, quant)
    try:
        manifest = Manifest.read(store.manifest_path(name, quant))
        return (
            manifest is not None
            and path.stat().st_size == manifest.size
            and manifest.source_sha256 == {file: file_sha256(folder / file) for file in manifest.source_sha256}
        )
    except (OSError, BadFile):
        return False
