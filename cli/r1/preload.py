"""Begins to load the model of `r1 run` before the command line is read in full, where it is sure to be needed.

What is wrong with the command line, the model or this machine is found again, and reported, by the command itself.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from r1_quantize.errors import R1Error
    from r1_quantize.store.model import StoredModel

_MODEL = {"-m", "--model"}
_NOT_HERE = {"-h", "--help", "--rpc"}  # no model is needed, or another machine computes
_SPARE = 1 << 30  # bytes of memory for all but the weights


def preload(arguments: Sequence[str], environ: Mapping[str, str]) -> None:
    """Begins to load the model that a command line needs; does nothing where in doubt."""
    if is_run(arguments):
        with suppress(Exception):
            model = _model(_value(arguments), environ)
            if model is not None:
                _load(model)


def is_run(arguments: Sequence[str]) -> bool:
    """Whether it is `r1 run …`, or `r1 "a prompt of several words" …`, and asks a model on this machine."""
    return (arguments[:1] == ["run"] or " " in "".join(arguments[:1])) and _NOT_HERE.isdisjoint(arguments)


def _value(arguments: Sequence[str]) -> str | None:
    """The model that is named on the command line."""
    return next((value for option, value in pairwise(arguments) if option in _MODEL), None)


def _model(name: str | None, environ: Mapping[str, str]) -> StoredModel | None:
    from r1 import settings
    from r1.library import BUILT_IN, open_store

    store = open_store(environ)
    name = name or settings.load({}, environ).model
    if name is None:
        return store.newest()
    return None if name.partition(":")[0] == BUILT_IN else store.find(name)


def _load(model: StoredModel) -> None:
    from r1.engine.devices import devices
    from r1.engine.read_ahead import is_cached
    from r1.fit.early_load import begin
    from r1.machine.memory import memory
    from r1_quantize.gguf import reader
    from r1_quantize.gguf.split import part_names

    parts = [Path(part) for part in part_names(str(model.path))]
    available = memory()
    if available.address_space or not all(map(is_cached, parts)):
        return
    headers = [reader.read(part) for part in parts]
    weights = sum(tensor.nbytes for header in headers for tensor in header.tensors)
    if weights + _SPARE < available.free and not any(device.is_gpu for device in devices()):
        begin(model.path, headers, available, _fail)


def _fail(error: R1Error) -> None:
    """Ends the process, from any thread, as the error would."""
    from r1.exit import report

    os._exit(report(error))
