"""The models that are served, and which of them a client's name means.

A client names a model as `r1 list` does, with or without its quant type, or as Ollama or the hub would; never a path.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from math import prod
from pathlib import Path
from typing import Any

from r1.library import full_name, known_models, look_up, named_by, open_store
from r1_quantize.catalog import Checkpoint
from r1_quantize.errors import BadGGUF, ModelNotFound
from r1_quantize.gguf import reader
from r1_quantize.store.model import StoredModel
from r1_quantize.store.store import Store

_LATEST = ":latest"  # the tag that Ollama's clients add to a name without one


@dataclass(frozen=True, slots=True)
class ServedModel:
    """A model under the `name` that clients use. `checkpoint` is that of the catalogue, if it was made from one."""

    name: str
    stored: StoredModel
    checkpoint: Checkpoint | None = None

    @property
    def header(self) -> Mapping[str, Any]:
        """The metadata of its GGUF, some megabytes, read each time. Raises BadGGUF."""
        with self.named_in_errors():
            return reader.read(self.stored.path).metadata

    @property
    def facts(self) -> Facts:
        """What clients often ask. Raises BadGGUF."""
        with self.named_in_errors():
            return _facts(self.stored.path, self.stored.size, self.stored.modified)

    def context_within(self, ctx: int | None) -> int | None:
        """The most tokens of context that a server with this `ctx` gives; None: not known, as of a damaged file."""
        try:
            trained = self.facts.context_length
        except BadGGUF:
            trained = None
        return min((each for each in (trained, ctx) if each), default=None)

    @contextmanager
    def named_in_errors(self) -> Iterator[None]:
        """Errors about its file have the name of the model, in the place of a path that is no client's business."""
        try:
            yield
        except BadGGUF as exc:
            raise BadGGUF(str(exc).replace(str(self.stored.path), self.name)) from exc


@dataclass(frozen=True, slots=True)
class Facts:
    """Of a GGUF's header; None where it does not say it.

    `parameters` are the learned weights; `elements` are all numbers in its tensors, as llama.cpp counts them.
    """

    architecture: str
    file_type: object
    context_length: int | None
    embedding_length: int | None
    vocabulary: int | None
    parameters: int
    elements: int


@lru_cache(256)
def _facts(path: Path, _size: int, _modified: float) -> Facts:
    """Remembered for as long as the file is the same. Raises BadGGUF."""
    file = reader.read(path)
    architecture = file.metadata.get("general.architecture")
    sizes = {tensor.name: prod(tensor.shape) for tensor in file.tensors}
    embedding = next((tensor.shape for tensor in file.tensors if tensor.name == "token_embd.weight"), (None,))
    return Facts(
        architecture=architecture if isinstance(architecture, str) else "",
        file_type=file.metadata.get("general.file_type"),
        context_length=_whole_number(file.metadata.get(f"{architecture}.context_length")),
        embedding_length=_whole_number(file.metadata.get(f"{architecture}.embedding_length")),
        vocabulary=embedding[-1],
        parameters=sum(size for name, size in sizes.items() if name != "rope_freqs.weight"),
        elements=sum(sizes.values()),
    )


def _whole_number(value: object) -> int | None:
    """A GGUF can have a value of any type under any key."""
    return value if isinstance(value, int) else None


class ServedModels:
    """All models of this machine; or only the `pinned` one, which then answers to any name. For any thread."""

    def __init__(self, environ: Mapping[str, str], default: str | None, pinned: StoredModel | None = None) -> None:
        """`default` is the name that the settings have for requests without one."""
        self._environ = environ
        self._default = default
        self._pinned = None if pinned is None else _served(open_store(environ), _name_of(pinned), pinned)

    def full_name(self, name: str | None) -> str:
        """The name of the model that a client means; None or an empty one: the default. Raises ModelNotFound, which
        says what there is.
        """
        if self._pinned is not None:
            return self._pinned.name
        reference = (name or "").removesuffix(_LATEST) or (self._default or "").removesuffix(_LATEST)
        store = open_store(self._environ)
        if not reference:
            return full_name(store, None)
        known = named_by(self._environ, reference)
        if known is None or known.endswith(".gguf"):
            here = ", ".join(known_models(self._environ))
            raise ModelNotFound(f"{reference!r:.120} is no model of this machine; it has {here}")
        return full_name(store, known)

    def all(self) -> list[ServedModel]:
        """The models that can be asked for, in the order of `r1 list`. Makes the built-in one, if it was not made."""
        if self._pinned is not None:
            return [self._pinned]
        return [self.get(name) for name in known_models(self._environ)]

    def get(self, name: str) -> ServedModel:
        """The model of a full name. Raises ModelNotFound."""
        if self._pinned is not None and name == self._pinned.name:
            return self._pinned
        store = open_store(self._environ)
        return _served(store, name, look_up(store, name))


def _served(store: Store, name: str, model: StoredModel) -> ServedModel:
    return ServedModel(name, model, store.catalogue.get(model.name) if model.quant else None)


def _name_of(model: StoredModel) -> str:
    """A path is nobody's business but the owner's."""
    return model.reference if model.quant else model.name
