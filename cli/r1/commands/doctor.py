"""`r1 doctor`: what this machine is, what runs on it, what to take, what to mend.

Knows: whom to ask. Does not know: how anything is read (`r1.machine`, the engine), or what is said about it (`render`).
"""

from __future__ import annotations

import json
import platform

from r1 import __version__
from r1.console import Console
from r1.doctor.bandwidth import read_bandwidth
from r1.doctor.diagnosis import Diagnosis, Hardware, Versions
from r1.doctor.facts import doctor_facts
from r1.doctor.installation import installation
from r1.doctor.tables import show
from r1.doctor.terminal import terminal
from r1.engine.build import Build, binding_version, build
from r1.engine.devices import Device, chosen, devices
from r1.fit.choice import Surroundings, prospects, recommend
from r1.fit.survey import is_phone
from r1.library import open_store
from r1.machine.cores import cores, default_threads, load
from r1.machine.disk import disk, hub_cache
from r1.machine.graphics import graphics, unused
from r1.machine.memory import memory, swap_used
from r1.machine.power import power
from r1.machine.processor import processor
from r1_quantize.errors import ExitStatus, R1Error
from r1_quantize.store.store import Store

_PLAIN_WIDTH = 80  # columns of what is no terminal


def doctor(console: Console, *, as_json: bool) -> ExitStatus:
    """Tables and lines for people, also where stdout is no terminal; everything as JSON. Takes two seconds."""
    found = examine(console)
    if as_json:
        console.out(json.dumps(doctor_facts(found), indent=2, ensure_ascii=False) + "\n")
        return ExitStatus.OK
    from rich.console import Console as RichConsole

    there = found.hardware.terminal
    width = there.columns if there.is_terminal else _PLAIN_WIDTH
    rich = RichConsole(file=console.stdout, highlight=False, width=width, height=there.lines)
    with rich.capture() as shown:
        show(found, rich)
    console.stdout.write("".join(f"{line.rstrip()}\n" for line in shown.get().splitlines()))
    return ExitStatus.OK


def examine(console: Console) -> Diagnosis:
    """All that can be found out without a network. Raises UsageError when the person's own models.toml is wrong."""
    store = open_store(console.environ)
    hardware = _hardware(console, store)
    built, seen, trouble = _engine()
    usable = {device.backend for device in seen if device.is_gpu}
    around = Surroundings.of(chosen("auto", None, seen), hardware.memory, hardware.bandwidth)
    found = prospects(store.catalogue.values(), around)
    here = frozenset(model.reference for model in store.models())
    return Diagnosis(
        versions=Versions(__version__, platform.python_version(), binding_version()),
        hardware=hardware,
        installation=installation(),
        build=built,
        trouble=trouble,
        devices=seen,
        unused=unused(graphics(), usable, built.backends if built else (), console.environ),
        prospects=found,
        recommendation=recommend(found, here, hardware.home.free if hardware.home else None),
        here=here,
    )


def _hardware(console: Console, store: Store) -> Hardware:
    threads, there, busy = default_threads(), memory(), load()
    return Hardware(
        processor=processor(),
        cores=str(cores()),
        threads=threads,
        memory=there,
        swap_used=swap_used(),
        busy=busy,
        bandwidth=read_bandwidth(threads.decode, there.free),
        power=power(termux=is_phone(console.environ)),
        home=disk(store.root),
        hub_cache=disk(hub_cache(console.environ)),
        terminal=terminal(console),
    )


def _engine() -> tuple[Build | None, list[Device], str | None]:
    """The build and its devices; else why there are none."""
    try:
        return build(), devices(), None
    except R1Error as exc:
        return None, [], str(exc)
