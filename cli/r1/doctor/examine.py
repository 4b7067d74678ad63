"""Gathers a diagnosis: asks `machine`, the engine, the store and the terminal. Takes about two seconds."""

from __future__ import annotations

import platform

from r1 import __version__
from r1.console import Console
from r1.doctor.bandwidth import read_bandwidth
from r1.doctor.diagnosis import Diagnosis, Hardware, Versions
from r1.doctor.installation import installation
from r1.doctor.terminal import terminal
from r1.engine.build import Build, binding_version, build
from r1.engine.devices import Device, devices, select_devices
from r1.fit.recommendation import Surroundings, comfortable, prospects, recommend
from r1.fit.survey import is_phone
from r1.fit.votes import votes_instead
from r1.library import open_store
from r1.machine.cores import Threads, busy_share, cores, default_threads
from r1.machine.disk import disk, hub_cache
from r1.machine.graphics import graphics, unused
from r1.machine.memory import memory, swap_used
from r1.machine.power import power
from r1.machine.processor import processor
from r1_quantize.errors import R1Error
from r1_quantize.store.store import Store


def examine(console: Console, threads: int | None = None) -> Diagnosis:
    """Everything that can be determined offline. Raises UsageError for an invalid `models.toml` in R1_HOME.

    `threads` is the number that the settings name; None: as many as suit this machine.
    """
    store = open_store(console.environ)
    hardware = _hardware(console, store, Threads.of(threads) if threads else default_threads())
    llama_cpp, available, error = _engine()
    usable = {device.backend for device in available if device.is_gpu}
    gpus = select_devices("auto", None, available)
    surroundings = Surroundings.of(gpus, hardware.memory, hardware.bandwidth, hardware.threads)
    candidates = prospects(store.catalogue.values(), surroundings)
    disk_free = hardware.home.free if hardware.home else None
    stored = frozenset(model.reference for model in store.models())
    return Diagnosis(
        versions=Versions(r1=__version__, python=platform.python_version(), binding=binding_version()),
        hardware=hardware,
        installation=installation(),
        build=llama_cpp,
        llama_cpp_error=error,
        devices=available,
        unused=unused(graphics(), usable, llama_cpp.backends if llama_cpp else (), console.environ),
        prospects=candidates,
        recommendation=recommend(candidates, stored, disk_free),
        votes=votes_instead(comfortable(candidates, stored, disk_free)),
        stored=stored,
    )


def _hardware(console: Console, store: Store, threads: Threads) -> Hardware:
    now, busy = memory(), busy_share()  # before the bandwidth test keeps the cores busy
    return Hardware(
        processor=processor(),
        cores=str(cores()),
        threads=threads,
        memory=now,
        swap_used=swap_used(),
        busy=busy,
        bandwidth=read_bandwidth(threads.decode, now.free),
        power=power(termux=is_phone(console.environ)),
        home=disk(store.root),
        hub_cache=disk(hub_cache(console.environ)),
        terminal=terminal(console),
    )


def _engine() -> tuple[Build | None, list[Device], str | None]:
    """The build of llama.cpp and its devices, or the reason why it cannot be loaded."""
    try:
        return build(), devices(), None
    except R1Error as exc:
        return None, [], str(exc)
