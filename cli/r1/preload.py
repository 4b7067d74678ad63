"""Begins to load the model of `r1 run` before the command line is read in full, where it is sure to be needed.

Then it reads enough of that line to know which context will be needed, and has that created, too.

What is wrong with the command line, the model or this machine is found again, and reported, by the command itself.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from r1.fit.early_load import EarlyLoad
    from r1_quantize.errors import R1Error

_MODEL = {"-m", "--model"}
_NOT_HERE = {"-h", "--help", "--rpc"}  # no model is needed, or another machine computes
_SPARE = 1 << 30  # bytes of memory for all but the weights
_SWITCHES = {"--json", "-q", "--quiet"}  # which make no difference for the context
_TEMPLATE_TOKENS = 64  # no fewer than the template has


def preload(arguments: Sequence[str], environ: Mapping[str, str]) -> None:
    """Begins to load the model that a command line needs; does nothing where in doubt."""
    if is_run(arguments):
        with suppress(Exception):
            path = _model(_value(arguments), environ)
            load = None if path is None else _load(path)
            line = None if load is None else read(arguments)
            if load is not None and line is not None:
                _add_context(load, line, environ)


def is_run(arguments: Sequence[str]) -> bool:
    """Whether it is `r1 run …`, or `r1 "a prompt of several words" …`, and asks a model on this machine."""
    return (arguments[:1] == ["run"] or " " in "".join(arguments[:1])) and _NOT_HERE.isdisjoint(arguments)


def _value(arguments: Sequence[str]) -> str | None:
    """The model that is named last on the command line. Raises ValueError where Typer may see another one."""
    name = None
    rest = iter(arguments)
    for argument in rest:
        option, equals, value = argument.partition("=")
        if argument == "--":
            break
        if argument in _MODEL:
            name = next(rest, None)
        elif equals and option == "--model":
            name = value
        elif re.match("-[^-]*m", argument) or option == "--rpc":  # -mNAME, or several short options in one
            raise ValueError(argument)
    return name


def _model(name: str | None, environ: Mapping[str, str]) -> Path | None:
    """The file of the model with this name, or of the default one; None for the built-in model, which may not exist."""
    from r1_quantize.files import expanded, is_path

    if name is not None and is_path(name):  # the store takes a while to import
        path = expanded(name)
        return path if path.is_file() else None
    from r1 import settings
    from r1.library import BUILT_IN, open_store

    store = open_store(environ)
    name = name or settings.load({}, environ).model
    if name is None:
        newest = store.newest()
        return newest.path if newest else None
    return None if name.partition(":")[0] == BUILT_IN else store.find(name).path


def _load(path: Path) -> EarlyLoad | None:
    from r1.engine.devices import devices
    from r1.engine.read_ahead import is_cached
    from r1.fit.early_load import begin
    from r1.machine.memory import memory
    from r1_quantize.gguf import reader
    from r1_quantize.gguf.split import part_names

    parts = [Path(part) for part in part_names(str(path))]
    available = memory()
    if available.address_space or not all(map(is_cached, parts)):
        return None
    headers = [reader.read(part) for part in parts]
    weights = sum(tensor.nbytes for header in headers for tensor in header.tensors)
    if weights + _SPARE >= available.free or any(device.is_gpu for device in devices()):
        return None
    return begin(path, headers, available, _fail)


class Line(NamedTuple):
    """The settings, by name, and the complete prompt of a command line."""

    settings: dict[str, str]
    prompt: str


def read(arguments: Sequence[str]) -> Line | None:
    """What a command line for `r1 run` says about the context; None where there may be more to it."""
    from r1.settings import NAMES

    names = {"-m": "model", **{f"--{name.replace('_', '-')}": name for name in NAMES if name != "force"}}
    settings: dict[str, str] = {}
    words: list[str] = []
    reads_stdin = True
    rest = iter(arguments[1:] if arguments[:1] == ["run"] else arguments)
    for argument in rest:
        option, equals, value = argument.partition("=")
        if argument == "--":
            words += rest
        elif not argument.startswith("-"):
            words.append(argument)
        elif argument == "--no-stdin":
            reads_stdin = False
        elif option in names:
            settings[names[option]] = value if equals else next(rest, "")
        elif argument not in _SWITCHES:
            return None
    if "-" in words or (reads_stdin and not stat.S_ISCHR(os.fstat(0).st_mode)):  # not a terminal, nor /dev/null
        return None
    return Line(settings, " ".join(words))


def _add_context(load: EarlyLoad, line: Line, environ: Mapping[str, str]) -> None:
    """Has the context created that is needed however many tokens the prompt has, if it is the same one."""
    from r1 import settings
    from r1.fit.fitted_model import context_params
    from r1.fit.planner import MemoryPlanner

    chosen = settings.load(line.settings, environ)
    if chosen.votes or chosen.draft or chosen.rpc:
        return
    planner = MemoryPlanner.of(load.path, chosen, load.path.name)
    most = len(f"{chosen.system or ''}{line.prompt}".encode()) + _TEMPLATE_TOKENS  # no token is less than a byte
    fewest, longest = (planner.plan_for_prompt(tokens, loaded=0) for tokens in (1, most))
    params = context_params(longest, chosen, load.path)
    if longest.fits and params == context_params(fewest, chosen, load.path):
        load.add_context(params)


def _fail(error: R1Error) -> None:
    """Ends the process, from any thread, as the error would."""
    from r1.exit import report

    os._exit(report(error))
