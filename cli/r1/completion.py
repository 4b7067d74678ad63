"""What the shell completes where a command takes a model, a type, a device or a chat.

A function for each gets the text before the cursor and returns the values that begin with it, some with a description.
Where a file can be named, too, and nothing else fits, the shell completes names of files; see `files`. The functions
create nothing on the disk. Errors end in `shells.answer`, so that none is printed into the command line.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator

FILES = "\tfiles"
"""The description of the one candidate that stands for all names of files; no chat's title begins with a tab."""

Candidates = list[str] | list[tuple[str, str]]


def files(incomplete: str) -> list[tuple[str, str]]:
    """Names of files, which the shell itself completes."""
    return [(incomplete, FILES)]


def models(incomplete: str) -> Candidates:
    """The models on this machine, else files."""
    from r1.library import known_models

    return _references(incomplete, known_models(os.environ)) or files(incomplete)


def models_to_pull(incomplete: str) -> list[str]:
    """The catalogue's names; after a colon their types that are not here."""
    from r1.library import open_store
    from r1_quantize.recipe import RECIPES

    store = open_store(os.environ)
    here = {model.reference for model in store.models()}
    names = [name for name, checkpoint in store.catalogue.items() if checkpoint.repo]
    name, colon, _ = incomplete.partition(":")
    if not colon:
        return _references(incomplete, names)
    references = (f"{name}:{quant}" for quant in RECIPES if name in names)
    return _references(incomplete, (one for one in references if one not in here))


def sources(incomplete: str) -> Candidates:
    """What `r1 quantize` can read: built-in, kept and cached checkpoints by name, then models, else files."""
    from r1.library import known_models, open_store
    from r1.machine.disk import hub_cache

    store, cache = open_store(os.environ), hub_cache(os.environ)
    names = [
        name
        for name, checkpoint in store.catalogue.items()
        if checkpoint.folder is not None
        or (checkpoint.repo and store.kept_checkpoint(checkpoint.repo) is not None)
        or (checkpoint.repo and (cache / f"models--{checkpoint.repo.replace('/', '--')}" / "snapshots").is_dir())
    ]
    return _references(incomplete, [*names, *known_models(os.environ)]) or files(incomplete)


def removable(incomplete: str) -> list[str]:
    """Everything that `r1 rm` can remove: models, unfinished models and checkpoints."""
    from r1.library import open_store

    store = open_store(os.environ)
    leftovers = (item.reference for item in (*store.unfinished(), *store.checkpoints()))
    return _references(incomplete, [*(model.reference for model in store.models()), *leftovers])


def quant_types(incomplete: str) -> list[str]:
    """Quantization types, and COPY."""
    from r1_quantize.recipe import RECIPES

    return _in_any_case(incomplete, [*RECIPES, "COPY"])


def builtin_problems(incomplete: str) -> list[str]:
    """The problems that `r1 eval` has with no file."""
    return [name for name in ("tiny",) if name.startswith(incomplete)]


def pretokenizers(incomplete: str) -> list[str]:
    """llama.cpp's names of pre-tokenizers."""
    from r1_quantize.checkpoint.pretokenizer import KNOWN

    return _starting_with(incomplete, sorted(KNOWN))


def kv_types(incomplete: str) -> list[str]:
    """Types of the KV cache."""
    from r1.engine.kv_types import KV_TYPES

    return _in_any_case(incomplete, KV_TYPES)


def ways_to_speculate(incomplete: str) -> list[str]:
    """Who drafts tokens."""
    return _in_any_case(incomplete, ["auto", "off", "lookup", "draft"])


def efforts(incomplete: str) -> list[tuple[str, str]]:
    """The efforts, with the tokens of thinking that each allows."""
    from r1.engine.thinking import EFFORTS

    allowed = {name: "no limit" if budget is None else f"{budget:,} tokens" for name, budget in EFFORTS.items()}
    return [(word, allowed[word.lower()]) for word in _in_any_case(incomplete, allowed)]


def off(incomplete: str) -> list[str]:
    """The word for no budget."""
    return _in_any_case(incomplete, ["off"])


def on_or_off(incomplete: str) -> list[str]:
    """The words for a switch."""
    return _in_any_case(incomplete, ["on", "off"])


def devices(incomplete: str) -> list[str]:
    """`auto`, `cpu` and `gpu`. Where none of them fits, the names of devices, for which llama.cpp must be loaded."""
    words = _in_any_case(incomplete, ["auto", "cpu", "gpu"])
    return words or _in_any_case(incomplete, _device_lists(incomplete))


def _device_lists(incomplete: str) -> Iterator[str]:
    """`CUDA0,v` → the lists that begin with `CUDA0` and continue with one more device."""
    from r1.engine.devices import devices

    before, comma, _ = incomplete.rpartition(",")
    for device in devices():
        if device.name not in before.split(","):
            yield f"{before}{comma}{device.name}"


def chats(incomplete: str) -> list[tuple[str, str]]:
    """The numbers of chats with their titles, newest first."""
    from r1.history.history import History, location

    path = location(os.environ)
    if not path.exists():
        return []
    with History.open(path, read_only=True) as history:
        return [(str(info.id), info.title) for info in history.sessions() if str(info.id).startswith(incomplete)]


def _starting_with(incomplete: str, values: Iterable[str]) -> list[str]:
    return [value for value in values if value.startswith(incomplete)]


def _references(incomplete: str, values: Iterable[str]) -> list[str]:
    """The values that begin with the text; a type after a colon may be typed in any case."""
    name, colon, _ = incomplete.partition(":")
    return _in_any_case(incomplete, _starting_with(f"{name}{colon}", dict.fromkeys(values)))


def _in_any_case(incomplete: str, values: Iterable[str]) -> list[str]:
    """The values that begin with the text in any case. They keep it, because shells only add to what was typed."""
    matches = (value for value in values if value.lower().startswith(incomplete.lower()))
    return [f"{incomplete}{value[len(incomplete) :]}" for value in matches]
