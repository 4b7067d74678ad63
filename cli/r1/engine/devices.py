"""The devices llama.cpp can compute on: those of this build and machine, and other machines' over RPC."""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Iterable, Sequence
from typing import Any, Literal, NamedTuple

from r1.engine.llama import llama
from r1_quantize.binding import function
from r1_quantize.errors import NetworkError, R1Error, UsageError

Kind = Literal["cpu", "gpu", "igpu", "accelerator", "meta"]

_KINDS: tuple[Kind, ...] = ("cpu", "gpu", "igpu", "accelerator", "meta")  # enum ggml_backend_dev_type
_RPC, _METAL = "RPC", "MTL"  # names of backends in ggml's registry
_TIMEOUT_S = 5.0  # for a server's answer

# The handshake of ggml-rpc.cpp: the client sends a command (HELLO), a size, and its transport's capabilities (none
# here); the server answers with a size, the protocol's version (three bytes and an unused one), and its capabilities.
_PROTOCOL, _CAPABILITIES, _SIZE = 7, 24, struct.Struct("<Q")
_HELLO = bytes([14]) + _SIZE.pack(_CAPABILITIES) + bytes(_CAPABILITIES)

_connected: set[str] = set()  # servers; ggml's registry lives as long as the process


class Device(NamedTuple):
    """A device of ggml's registry. `free` and `total` are its memory in bytes (0: unknown).

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


class Placement(NamedTuple):
    """Where a model is computed: `gpu_layers` layers on these devices, by name, and the rest on the CPU.

    llama.cpp counts the output as a layer, and moves it to a GPU first. `shares` are the devices' shares of the layers.
    """

    devices: tuple[str, ...] = ()
    gpu_layers: int = 0
    shares: tuple[float, ...] = ()


def devices() -> list[Device]:
    """Every device, in ggml's order, with its memory that is free now."""
    llama()
    count = function("ggml_backend_dev_count", [], ctypes.c_size_t)
    get = function("ggml_backend_dev_get", [ctypes.c_size_t], ctypes.c_void_p)
    return [_describe(get(index)) for index in range(count())]


def handles(names: Sequence[str]) -> Any:
    """The `ggml_backend_dev_t` of each device and a final NULL, the form that llama.cpp expects."""
    by_name = function("ggml_backend_dev_by_name", [ctypes.c_char_p], ctypes.c_void_p)
    return (ctypes.c_void_p * (len(names) + 1))(*(by_name(name.encode()) for name in names), None)


def connect(servers: str) -> None:
    """Registers the rpc-servers at `HOST:PORT,…` as devices.

    Raises UsageError when this build of llama.cpp has no RPC or `servers` is not a list of addresses, NetworkError when
    a server does not answer or is not an rpc-server: llama.cpp itself would end the process, or wait forever.
    """
    addresses = [server.strip() for server in servers.split(",") if server.strip()]
    if not addresses:
        raise UsageError(f"--rpc: {servers!r} is not HOST:PORT,…")
    llama()
    try:
        add = function("ggml_backend_rpc_add_server", [ctypes.c_char_p], ctypes.c_void_p)
    except R1Error as exc:
        remedy = 'CMAKE_ARGS="-DGGML_RPC=on" pip install --force-reinstall --no-cache-dir llama-cpp-python'
        raise UsageError(f"--rpc: this build of llama-cpp-python has no RPC; reinstall it: {remedy}") from exc
    register = function("ggml_backend_register", [ctypes.c_void_p], None)
    for server in dict.fromkeys(addresses):
        if server in _connected:  # ggml would list its devices twice
            continue
        _check_server(server)
        registry = add(server.encode())
        if not registry:
            raise NetworkError(f"--rpc: {server} offers no devices; is it llama.cpp's rpc-server?")
        register(registry)
        _connected.add(server)


def select_devices(choice: str, gpu_layers: int | None, available: Sequence[Device]) -> tuple[Device, ...]:
    """The devices besides the CPU that `--device` and `--gpu-layers` select; `auto` takes every GPU.

    Servers given with `--rpc` come first, unless `choice` names some of them. Raises UsageError when a device does not
    exist, or when the two options contradict each other.
    """
    choice = choice.lower() if choice.lower() in {"auto", "cpu", "gpu"} else choice
    remote = tuple(device for device in available if device.is_remote)
    local = _gpus(device for device in available if not device.is_remote)
    if remote and gpu_layers == 0:
        raise UsageError("--rpc and --gpu-layers 0 contradict each other: no layer would go to a server")
    if choice == "cpu":
        if gpu_layers and not remote:
            raise UsageError(f"--gpu-layers {gpu_layers} and --device cpu contradict each other; leave one of them out")
        return remote
    if choice == "auto" and gpu_layers == 0:
        return ()
    if choice not in {"auto", "gpu"}:
        named = _named(choice, available)
        return named if any(device.is_remote for device in named) else remote + named
    if (choice == "gpu" or gpu_layers) and not (local or remote):
        raise UsageError(
            "this build of llama-cpp-python finds no GPU; run with --device cpu, "
            "or reinstall llama-cpp-python with CUDA or Metal (`r1 doctor` says how)"
        )
    return remote + local


def _gpus(available: Iterable[Device]) -> tuple[Device, ...]:
    """Each card once, even if several backends see it; integrated GPUs only if there is no card."""
    by_id: dict[str, Device] = {}
    for device in available:
        if device.is_gpu:
            by_id.setdefault(device.id or device.name, device)
    cards = tuple(device for device in by_id.values() if device.kind == "gpu")
    if cards:
        return cards
    first = next(iter(by_id.values()), None)
    return tuple(device for device in by_id.values() if first and device.backend == first.backend)


def _named(choice: str, available: Sequence[Device]) -> tuple[Device, ...]:
    """The GPUs that `choice` lists by name (CUDA0) or by backend (cuda, metal)."""
    names = [name.strip().lower() for name in choice.split(",") if name.strip()]
    chosen: dict[str, Device] = {}
    for name in names or [choice]:
        backend = _METAL.lower() if name == "metal" else name
        found = [device for device in available if name == device.name.lower() or backend == device.backend.lower()]
        if not found:
            known = ", ".join(device.name for device in available)
            raise UsageError(f"no device {name!r} (--device {choice}); use {known}, or auto, cpu, gpu")
        chosen |= {device.name: device for device in found if device.is_gpu}
    return tuple(chosen.values())


def _check_server(server: str) -> None:
    import socket

    host, _, port = server.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 1 << 16:
        raise UsageError(f"--rpc: {server!r} is not HOST:PORT")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), _TIMEOUT_S) as connection:
            connection.sendall(_HELLO)
            answer = connection.makefile("rb").read(_SIZE.size + 3)
    except (OSError, UnicodeError) as exc:  # UnicodeError: not a valid host name
        reason = getattr(exc, "strerror", None) or str(exc)
        raise NetworkError(f"--rpc: {server} does not answer ({reason}); is llama.cpp's rpc-server running?") from exc
    if len(answer) < _SIZE.size + 3 or _SIZE.unpack_from(answer)[0] != 4 + _CAPABILITIES:
        raise NetworkError(f"--rpc: the server at {server} is not llama.cpp's rpc-server, or is too old")
    if (version := answer[_SIZE.size]) != _PROTOCOL:
        raise NetworkError(f"--rpc: {server} speaks protocol version {version}, but this build speaks {_PROTOCOL}")


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
    properties = _Properties()
    function("ggml_backend_dev_get_props", [ctypes.c_void_p, pointer], None)(handle, ctypes.byref(properties))
    registry = function("ggml_backend_dev_backend_reg", [ctypes.c_void_p], ctypes.c_void_p)(handle)
    backend = function("ggml_backend_reg_name", [ctypes.c_void_p], ctypes.c_char_p)(registry)
    return Device(
        name=_text(properties.name),
        kind=_KINDS[properties.kind],
        description=_text(properties.description).strip(),
        backend=_text(backend),
        free=properties.free,
        total=properties.total,
        id=_text(properties.id) or None,
    )


def _text(value: bytes | None) -> str:
    return (value or b"").decode("utf-8", "replace")
