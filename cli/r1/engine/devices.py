"""What llama.cpp can compute on: the devices that this build and this machine have, and other machines' over RPC.

Knows: ggml's device interface, and which devices a person means. Does not know: models, or how much of one fits where.
"""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from r1.engine.llama import llama
from r1_quantize.binding import function
from r1_quantize.errors import NetworkError, R1Error, UsageError

Kind = Literal["cpu", "gpu", "igpu", "accelerator", "meta"]

_KINDS: tuple[Kind, ...] = ("cpu", "gpu", "igpu", "accelerator", "meta")  # enum ggml_backend_dev_type
_RPC, _METAL = "RPC", "MTL"  # names of backends in ggml's registry
_PATIENCE = 5.0  # seconds that a server may take to answer

# The handshake of ggml-rpc.cpp: a command (HELLO), a size, and what the client's transport can do (nothing, here); back
# come a size, the protocol's version (three bytes and a fourth that is not used), and what the server's can do.
_PROTOCOL, _CAPABILITIES, _SIZE = 7, 24, struct.Struct("<Q")
_HELLO = bytes([14]) + _SIZE.pack(_CAPABILITIES) + bytes(_CAPABILITIES)


_connected: set[str] = set()  # servers; ggml's registry lives as long as the process


@dataclass(frozen=True, slots=True)
class Device:
    """One device of ggml's registry: `backend` is whose it is, `free` and `total` its memory in bytes (0: not said).

    `id` is the same where several backends see one card.
    """

    name: str
    kind: Kind
    description: str = ""
    backend: str = ""
    free: int = 0
    total: int = 0
    id: str | None = None

    @property
    def is_gpu(self) -> bool:
        return self.kind in {"gpu", "igpu"}

    @property
    def is_remote(self) -> bool:
        return self.backend == _RPC

    @property
    def shares_memory(self) -> bool:
        """Whether its memory is this machine's main memory."""
        import platform

        return self.kind == "igpu" or (self.backend == _METAL and platform.machine() == "arm64")


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a model is computed: so many layers on these devices, by name, and the rest on the CPU.

    llama.cpp counts the output as a layer, and it is the first to go. `shares`: in which proportion they are spread.
    """

    devices: tuple[str, ...] = ()
    gpu_layers: int = 0
    shares: tuple[float, ...] = ()


def devices() -> list[Device]:
    """Every device, in ggml's order, with what is free on it now."""
    llama()
    count = function("ggml_backend_dev_count", [], ctypes.c_size_t)
    get = function("ggml_backend_dev_get", [ctypes.c_size_t], ctypes.c_void_p)
    return [_describe(get(index)) for index in range(count())]


def handles(names: Sequence[str]) -> Any:
    """The `ggml_backend_dev_t` of each, and a NULL behind the last, as llama.cpp wants a list of devices."""
    by_name = function("ggml_backend_dev_by_name", [ctypes.c_char_p], ctypes.c_void_p)
    return (ctypes.c_void_p * (len(names) + 1))(*(by_name(name.encode()) for name in names), None)


def connect(servers: str) -> None:
    """Makes devices of the rpc-servers at `HOST:PORT,…`.

    Raises UsageError when this build of llama.cpp has no RPC or that is no list of addresses, NetworkError when nobody
    answers, or somebody else: llama.cpp itself would end the process, or wait for ever.
    """
    wanted = [server.strip() for server in servers.split(",") if server.strip()]
    if not wanted:
        raise UsageError(f"--rpc: {servers!r} is not HOST:PORT,…")
    llama()
    try:
        add = function("ggml_backend_rpc_add_server", [ctypes.c_char_p], ctypes.c_void_p)
    except R1Error as exc:
        remedy = 'CMAKE_ARGS="-DGGML_RPC=on" pip install --force-reinstall --no-cache-dir llama-cpp-python'
        raise UsageError(f"--rpc: this build of llama-cpp-python cannot; reinstall it: {remedy}") from exc
    register = function("ggml_backend_register", [ctypes.c_void_p], None)
    for server in dict.fromkeys(wanted):
        if server in _connected:  # ggml would list its devices once more
            continue
        _check_answers(server)
        registry = add(server.encode())
        if not registry:
            raise NetworkError(f"--rpc: {server} offers nothing to compute on; is it llama.cpp's rpc-server?")
        register(registry)
        _connected.add(server)


def chosen(choice: str, gpu_layers: int | None, found: Sequence[Device]) -> tuple[Device, ...]:
    """The devices beside the CPU that `--device` and `--gpu-layers` mean; `auto` takes what GPUs there are.

    Servers that were asked for with `--rpc` come first, unless some of them are named. Raises UsageError when a device
    that is asked for is not there, or when two wishes contradict each other.
    """
    choice = choice.lower() if choice.lower() in {"auto", "cpu", "gpu"} else choice
    remote = tuple(device for device in found if device.is_remote)
    local = _gpus(device for device in found if not device.is_remote)
    if remote and gpu_layers == 0:
        raise UsageError("--rpc and --gpu-layers 0 contradict each other: no layer would go to a server")
    if choice == "cpu":
        if gpu_layers and not remote:
            raise UsageError(f"--gpu-layers {gpu_layers} and --device cpu contradict each other; leave one of them out")
        return remote
    if choice == "auto" and gpu_layers == 0:
        return ()
    if choice not in {"auto", "gpu"}:
        named = _named(choice, found)
        return named if any(device.is_remote for device in named) else remote + named
    if (choice == "gpu" or gpu_layers) and not (local or remote):
        raise UsageError(
            "no GPU that this build of llama-cpp-python can use; run with --device cpu, "
            "or reinstall llama-cpp-python with CUDA or Metal (`r1 doctor` says how)"
        )
    return remote + local


def _gpus(found: Any) -> tuple[Device, ...]:
    """Each card once, though several backends may see it; those inside the processor only where there is no other."""
    cards: dict[str, Device] = {}
    for device in found:
        if device.is_gpu:
            cards.setdefault(device.id or device.name, device)
    apart = tuple(device for device in cards.values() if device.kind == "gpu")
    if apart:
        return apart
    first = next(iter(cards.values()), None)
    return tuple(device for device in cards.values() if first and device.backend == first.backend)


def _named(choice: str, found: Sequence[Device]) -> tuple[Device, ...]:
    known = {device.name.lower(): device for device in found}
    names = [name.strip().lower() for name in choice.split(",") if name.strip()]
    for name in names or [choice]:
        if name not in known:
            there = ", ".join(device.name for device in found)
            raise UsageError(f"device {choice!r}: there is no {name!r}; there are {there}, and auto, cpu, gpu")
    return tuple(known[name] for name in dict.fromkeys(names) if known[name].is_gpu)


def _check_answers(server: str) -> None:
    import socket

    host, _, port = server.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 1 << 16:
        raise UsageError(f"--rpc: {server!r} is not HOST:PORT")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), _PATIENCE) as connection:
            connection.sendall(_HELLO)
            said = connection.makefile("rb").read(_SIZE.size + 3)
    except (OSError, UnicodeError) as exc:  # a name that none can have
        reason = getattr(exc, "strerror", None) or str(exc)
        raise NetworkError(f"--rpc: {server} does not answer ({reason}); is llama.cpp's rpc-server running?") from exc
    if len(said) < _SIZE.size + 3 or _SIZE.unpack_from(said)[0] != 4 + _CAPABILITIES:
        raise NetworkError(f"--rpc: what answers at {server} is not llama.cpp's rpc-server, or an old one")
    if (version := said[_SIZE.size]) != _PROTOCOL:
        raise NetworkError(f"--rpc: {server} speaks version {version} of the protocol, and this build {_PROTOCOL}")


class _Properties(ctypes.Structure):
    """struct ggml_backend_dev_props, with the five flags of struct ggml_backend_dev_caps at its end."""

    _fields_ = [
        ("name", ctypes.c_char_p),
        ("description", ctypes.c_char_p),
        ("free", ctypes.c_size_t),
        ("total", ctypes.c_size_t),
        ("kind", ctypes.c_int),
        ("id", ctypes.c_char_p),
        ("flags", ctypes.c_bool * 5),
    ]


def _describe(handle: int) -> Device:
    pointer = ctypes.POINTER(_Properties)
    said = _Properties()
    function("ggml_backend_dev_get_props", [ctypes.c_void_p, pointer], None)(handle, ctypes.byref(said))
    registry = function("ggml_backend_dev_backend_reg", [ctypes.c_void_p], ctypes.c_void_p)(handle)
    backend = function("ggml_backend_reg_name", [ctypes.c_void_p], ctypes.c_char_p)(registry)
    texts = (text.decode("utf-8", "replace") if text else "" for text in (said.name, said.description, backend))
    name, description, whose = texts
    device_id = said.id.decode("utf-8", "replace") if said.id else None
    return Device(name, _KINDS[said.kind], description.strip(), whose, said.free, said.total, device_id)
