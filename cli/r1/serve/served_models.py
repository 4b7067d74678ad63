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
from r1_quantize.gguf.reader import GGUFFile
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
        """The metadata of its GGUF. Raises BadGGUF."""
        return self._file.metadata

    @property
    def parameters(self) -> int:
        """The number of its weights. Raises BadGGUF."""
        return sum(prod(tensor.shape) for tensor in self._file.tensors if tensor.name != "rope_freqs.weight")

    @property
    def context_length(self) -> int | None:
        """The tokens it was trained for. Raises BadGGUF."""
        value = self.header.get(f"{self.header.get('general.architecture')}.context_length")
        return value if isinstance(value, int) else None

    @contextmanager
    def named_in_errors(self) -> Iterator[None]:
        """Errors about its file have the name of the model, in the place of a path that is no client's business."""
        try:
            yield
        except BadGGUF as exc:
            raise BadGGUF(str(exc).replace(str(self.stored.path), self.name)) from exc

    @property
    def _file(self) -> GGUFFile:
        with self.named_in_errors():
            return _read(self.stored.path, self.stored.size, self.stored.modified)


@lru_cache(64)
def _read(path: Path, _size: int, _modified: float) -> GGUFFile:
    """Remembered for as long as the file is the same."""
    return reader.read(path)


class ServedModels:
    """All models of this machine; or one alone, `pinned`, whatever a client names. May be used on any thread."""

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
