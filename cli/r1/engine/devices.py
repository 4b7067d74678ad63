"""What llama.cpp can compute on: the devices that this build and this machine have.

Knows: ggml's device interface, the cores of the processor, free memory.
Does not know: models, or how much of one fits where.
"""

from __future__ import annotations

import ctypes
import os
from dataclasses import dataclass
from typing import Literal

from r1.engine.llama import llama
from r1_quantize.binding import function
from r1_quantize.errors import UsageError

Kind = Literal["cpu", "gpu", "igpu", "accelerator", "meta"]
DeviceChoice = Literal["auto", "cpu", "gpu"]

_KINDS: tuple[Kind, ...] = ("cpu", "gpu", "igpu", "accelerator", "meta")  # enum ggml_backend_dev_type
ALL_LAYERS = -1


@dataclass(frozen=True, slots=True)
class Device:
    """One device of ggml's registry."""

    name: str
    kind: Kind

    @property
    def is_gpu(self) -> bool:
        return self.kind in {"gpu", "igpu"}


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a model is computed: `gpu_layers` layers on the GPU (ALL_LAYERS: every one), the rest on the CPU."""

    gpu_layers: int


def devices() -> list[Device]:
    """Every device, in ggml's order."""
    llama()
    count = function("ggml_backend_dev_count", [], ctypes.c_size_t)
    get = function("ggml_backend_dev_get", [ctypes.c_size_t], ctypes.c_void_p)
    return [_describe(get(index)) for index in range(count())]


def _describe(handle: int) -> Device:
    name = function("ggml_backend_dev_name", [ctypes.c_void_p], ctypes.c_char_p)(handle).decode()
    kind = function("ggml_backend_dev_type", [ctypes.c_void_p], ctypes.c_int)(handle)
    return Device(name, _KINDS[kind])


def place(choice: DeviceChoice, gpu_layers: int | None) -> Placement:
    """Turns `--device` and `--gpu-layers` into a placement.

    `auto` takes every layer to the GPU where the build and the machine have one. Raises UsageError when a GPU
    is asked for and there is none, or none is to be used.
    """
    if choice == "cpu":
        if gpu_layers:
            raise UsageError(f"--gpu-layers {gpu_layers} and --device cpu contradict each other; leave one of them out")
        return Placement(0)
    has_gpu = any(device.is_gpu for device in devices())
    if (choice == "gpu" or gpu_layers) and not has_gpu:
        raise UsageError(
            "no GPU that this build of llama-cpp-python can use; run with --device cpu, "
            "or reinstall llama-cpp-python with CUDA or Metal (the README says how)"
        )
    if not has_gpu:
        return Placement(0)
    return Placement(ALL_LAYERS if gpu_layers is None else gpu_layers)


def free_memory() -> int:
    """Bytes of main memory that can be had without swapping."""
    import psutil

    return int(psutil.virtual_memory().available)


def total_memory() -> int:
    """Bytes of main memory that this machine has."""
    import psutil

    return int(psutil.virtual_memory().total)


def default_threads() -> int:
    """The physical cores that this process may use: hyper-threads share the units that matrix products need."""
    import psutil

    physical = psutil.cpu_count(logical=False) or os.cpu_count() or 1
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else physical
    return max(1, min(physical, allowed))
