"""Which model is meant, and where it is: names and defaults → a GGUF on this machine.

Knows: the store, the catalogue, the order of defaults. Does not know: how a model is run.
"""

from __future__ import annotations

from collections.abc import Mapping

from r1.console import Console
from r1_quantize import catalog
from r1_quantize.errors import ModelNotFound
from r1_quantize.store.store import Store, StoredModel, home

BUILT_IN = "tiny"


def open_store(environ: Mapping[str, str]) -> Store:
    """The store under R1_HOME, with the person's own models.toml laid over the catalogue."""
    root = home(environ)
    return Store(root, catalog.load(root / "models.toml"))


def find_model(console: Console, reference: str | None) -> StoredModel:
    """The model that `reference` means; without one, the model pulled last, then the built-in one.

    Raises ModelNotFound, whose message names the command that gets it.
    """
    name = must_be_here(console, reference)
    store = open_store(console.environ)
    return _built_in(store) if _is_built_in(store, name) else store.find(name)


def must_be_here(console: Console, reference: str | None) -> str:
    """The name of what `find_model` would find; the built-in model is not made for that yet. Raises ModelNotFound."""
    store = open_store(console.environ)
    if reference is None and store.newest() is None:
        console.note(f"no model pulled yet, so {BUILT_IN} answers; a real one: r1 pull qwen-1.5b")
        reference = BUILT_IN
    if reference is not None and _is_built_in(store, reference):
        return f"{BUILT_IN}:{store.catalogue[BUILT_IN].default_quant}"
    found = store.newest() if reference is None else store.find(reference)
    assert found is not None
    return found.reference


def known_models(environ: Mapping[str, str]) -> list[str]:
    """Names of the models on this machine."""
    store = open_store(environ)
    names = [model.reference for model in store.models()]
    built_in = f"{BUILT_IN}:{store.catalogue[BUILT_IN].default_quant}"
    return names if built_in in names else [*names, built_in]


def look_up(store: Store, reference: str) -> StoredModel:
    """What is there under that name, as it is; only a built-in model that is not there yet is made.

    Raises ModelNotFound.
    """
    try:
        return store.find(reference)
    except ModelNotFound:
        if _is_built_in(store, reference):
            return _built_in(store)
        raise


def _is_built_in(store: Store, reference: str) -> bool:
    name, _, quant = reference.partition(":")
    return name == BUILT_IN and quant.upper() in {"", store.catalogue[BUILT_IN].default_quant}


def _built_in(store: Store) -> StoredModel:
    """The built-in model, quantized from its checkpoint when that is not done yet, or its file is not what was made."""
    from r1_quantize.builtin import ensure_tiny

    return ensure_tiny(store)
