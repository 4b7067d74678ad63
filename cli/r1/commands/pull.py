"""`r1 pull`: from the hub to a GGUF in the store.

The checkpoint is downloaded whole into the Hugging Face cache, which resumes what was cut short, and quantized from
there.

Knows: what a reference asks for, what has to be there before anything is downloaded.
Does not know: the hub's protocol (`r1_quantize.hub`), how a checkpoint is quantized (`commands.quantize`).
"""

from __future__ import annotations

import shutil

from r1.commands.quantize import Source, announce, convert
from r1.console import Console
from r1.library import open_store
from r1.render import units
from r1.render.quantizing import Report
from r1_quantize import hub
from r1_quantize.architecture import architecture_of
from r1_quantize.catalog import Checkpoint
from r1_quantize.checkpoint import read_json
from r1_quantize.errors import ExitStatus, ModelNotFound, NotEnoughRoom
from r1_quantize.recipe import recipe_for
from r1_quantize.store import Store


def pull(console: Console, reference: str, report: Report) -> ExitStatus:
    """Gets NAME or NAME:QUANT, unless it is here already. Raises NetworkError, NotEnoughRoom, BadCheckpoint."""
    store = open_store(console.environ)
    name, _, quant = reference.partition(":")
    checkpoint = _checkpoint(store, name)
    wanted = recipe_for(quant or checkpoint.default_quant).name
    for model in store.models():
        whole = model.manifest is None or model.manifest.size == model.size
        if model.reference == f"{name}:{wanted}" and whole:
            announce(console, report, model.reference, model.path, model.size)
            return ExitStatus.OK
    if checkpoint.folder is not None:
        source = Source(checkpoint.folder, name, checkpoint)
    else:
        source = _fetch(console, checkpoint, quiet=report != "lines")
    convert(console, store, source, wanted, report)
    return ExitStatus.OK


def _checkpoint(store: Store, name: str) -> Checkpoint:
    checkpoint = store.catalogue.get(name)
    if checkpoint is None:
        raise ModelNotFound(f"no checkpoint is called {name!r}; known are {', '.join(store.catalogue)}")
    return checkpoint


def _fetch(console: Console, checkpoint: Checkpoint, *, quiet: bool) -> Source:
    """The checkpoint in the Hugging Face cache. What cannot be converted or stored is refused before the weights."""
    if checkpoint.repo is None:
        raise ModelNotFound(f"{checkpoint.name} has no repo in models.toml, so there is nothing to pull")
    progress = console.stderr_is_terminal and not quiet
    folder = hub.fetch(checkpoint.repo, hub.DESCRIPTION, progress=False)
    architecture_of(read_json(folder / "config.json") or {})
    free = shutil.disk_usage(folder).free
    if free < checkpoint.bf16_bytes and not any(folder.glob("*.safetensors")):
        raise NotEnoughRoom(
            f"{checkpoint.repo} is {units.size(checkpoint.bf16_bytes)} and {units.size(free)} are free "
            f"on the disk of {folder}; free some, or point HF_HOME at another disk"
        )
    if progress:
        console.note(f"{checkpoint.repo}: {units.size(checkpoint.bf16_bytes)}, as far as they are not here yet")
    folder = hub.fetch(checkpoint.repo, [*hub.DESCRIPTION, *hub.WEIGHTS], progress=progress)
    return Source(folder, checkpoint.name, checkpoint, revision=folder.name)
