"""What one sequence holds of the KV cache, as a file, so that the same tokens need no prefill another time.

llama.cpp writes and reads the state itself, a part of a layer at a time, so that no second copy of it is in memory. It
begins such a file with a list of token ids, of which it reads nothing but the length. Our header is that list:

    llama.cpp's magic, its version, the length of our header in units of 4 bytes
    our magic, version, checksum of all of the header; checksum and size of the state; the lengths of what follows
    the tokens, the edges, and in JSON what else the state depends on
    the state: llama.cpp's list of cells, then keys and values by layers

llama.cpp looks at no more than a few sizes, and a wrong position can end the process. So it is given a file only when
all of it has been read and checked. The checksums are CRC-32: no program but r1 writes here, and what they have to find
is damage. A state holds no logits: what comes after it has to be prefilled, as in any cache.
"""

from __future__ import annotations

import ctypes
import json
import os
import re
import struct
import zlib
from array import array
from dataclasses import dataclass
from functools import cache
from io import FileIO
from pathlib import Path

from r1.engine.build import ggml_version
from r1.engine.context import Context
from r1.engine.devices import devices
from r1.engine.llama import llama, log
from r1.engine.sequence import Sequence
from r1_quantize.errors import R1Error

VERSION = 1
"""Of our header."""

_MAGIC = b"r1kv"
_LLAMA = struct.Struct("<III")  # magic, version, units
_FIXED = struct.Struct("<4sIIIQIIId")
_UNIT = 4  # bytes of a token id
_CRC_AT = _LLAMA.size + 8
_STATE_ENVELOPE = 8  # bytes that llama.cpp counts with a state, but writes only in memory
_BLOCK = 1 << 20  # bytes that are read at once
_LIBRARY = re.compile(r"(lib)?(llama|ggml)")
_CELL = 3  # numbers that describe a cell: its position, how many sequences have it, and which


class Damaged(Exception):
    """The file is none of ours, or not as it was written."""


@dataclass(frozen=True, slots=True)
class Header:
    """What a file says of itself. `edges` are those of `Sequence`.

    `origin` is what the state depends on beside its tokens: only a context with the same `origin_of` may read it.
    `prefill_tps` is how many tokens a second were prefilled when it was made; 0: not known. `start` is where the state
    begins, and `size` its bytes.
    """

    origin: str
    tokens: list[int]
    edges: list[int]
    prefill_tps: float
    start: int
    size: int
    checksum: int


def origin_of(context: Context, model: str) -> str:
    """What the bits of a state depend on beside its tokens, as JSON; `model` is a digest of the weights."""
    placement = context.model.placement
    described = {device.name: device.description for device in devices()} if placement.gpu_layers else {}
    facts = {
        "version": VERSION,
        "model": model,
        "kv_type": context.kv_type,
        "cut": context.cut,
        # beside others, a prompt may be cut anywhere, so its last bits may differ from those of one that is alone
        "alone": len(context.sequences) == 1,
        "gpu_layers": placement.gpu_layers,
        "devices": [(name, described.get(name, "")) for name in placement.devices if placement.gpu_layers],
        "shares": placement.shares,
        "build": _build_facts(),
    }
    return json.dumps(facts, sort_keys=True)


@cache
def _build_facts() -> dict[str, object]:
    """Another build of llama.cpp, or the same one on another processor, may compute other bits."""
    folder = Path(llama()._lib._name).parent
    try:
        found = {path.name: path.stat() for path in folder.iterdir() if _LIBRARY.match(path.name)}
        libraries = {name: [status.st_size, status.st_mtime_ns] for name, status in sorted(found.items())}
    except OSError:
        libraries = {os.urandom(8).hex(): []}  # unknown, so nothing that another process has written fits
    return {
        "ggml": ggml_version(),
        "system": llama().llama_print_system_info().decode("utf-8", "replace"),
        "libraries": libraries,
    }


def size_of(context: Context, sequence: Sequence) -> int:
    """The bytes that a file of what `sequence` holds takes, but for a few hundred."""
    state = int(llama().llama_state_seq_get_size(context.handle, sequence.number)) - _STATE_ENVELOPE
    return state + _UNIT * (len(sequence.tokens) + len(sequence.edges)) + _LLAMA.size + _FIXED.size


def write(path: Path, context: Context, sequence: Sequence, origin: str, prefill_tps: float = 0.0) -> None:
    """Writes what `sequence` holds to the file at `path`, which exists and is overwritten.

    Raises R1Error when llama.cpp cannot write it, OSError.
    """
    header = _packed(sequence, origin, prefill_tps)
    units = len(header) // _UNIT
    numbers = (ctypes.c_int32 * units).from_buffer(header)
    log.complaints.clear()
    written = llama().llama_state_seq_save_file(context.handle, os.fsencode(path), sequence.number, numbers, units)
    if not written:
        raise R1Error(f"{path}: {log.reason()}")
    with path.open("r+b", buffering=0) as file:
        if os.fstat(file.fileno()).st_size != written:
            raise R1Error(f"{path}: the disk did not take all of it")
        _seal(file, _LLAMA.size + len(header), written)


def read_header(path: Path) -> Header:
    """What the file says of itself; the state is not looked at. Raises Damaged, OSError."""
    with path.open("rb", buffering=0) as file:
        return _header(file)


def restore(path: Path, context: Context, sequence: Sequence, origin: str) -> bool:
    """Replaces what `sequence` holds by what the file does, as if that had been prefilled up to its last edge.

    False, and nothing is changed, for a file of another origin and for one that the context has no room for. Raises
    Damaged, where the sequence is empty if llama.cpp found the damage; OSError.
    """
    with path.open("rb", buffering=0) as file:
        header = _header(file)
        length = len(header.tokens)
        if header.origin != origin or not 0 < length < context.length:
            return False
        if length > context.free_cells + sequence.own_cells:
            return False
        _check_state(file, header)
    sequence.truncate(0)
    _load(path, context, sequence, header)
    sequence.extend(header.tokens, header.edges[1:])
    sequence.truncate(sequence.edges[-1])
    return True


def _load(path: Path, context: Context, sequence: Sequence, header: Header) -> None:
    units = (header.start - _LLAMA.size) // _UNIT
    numbers, count = (ctypes.c_int32 * units)(), ctypes.c_size_t()
    log.complaints.clear()
    try:
        loaded = llama().llama_state_seq_load_file(
            context.handle, os.fsencode(path), sequence.number, numbers, units, ctypes.byref(count)
        )
    except BaseException:  # an interrupt: llama.cpp may hold the cells already
        sequence.forget_undecoded()
        raise
    if loaded != header.start + header.size:
        sequence.forget_undecoded()
        raise Damaged(log.reason())


def _packed(sequence: Sequence, origin: str, prefill_tps: float) -> bytearray:
    """The header, still without what is known only once the state is written."""
    text = origin.encode()
    counts = len(sequence.tokens), len(sequence.edges), len(text)
    fixed = _FIXED.pack(_MAGIC, VERSION, 0, 0, 0, *counts, prefill_tps)
    numbers = array("i", sequence.tokens) + array("i", sequence.edges)
    return bytearray(fixed + numbers.tobytes() + text + bytes(-len(text) % _UNIT))


def _seal(file: FileIO, start: int, end: int) -> None:
    """Adds the state's checksum and size to the header, and then the header's own checksum."""
    file.seek(start)
    checksum = _crc_of_rest(file)
    file.seek(_CRC_AT + 4)
    file.write(struct.pack("<IQ", checksum, end - start))
    file.seek(0)
    sealed = _read_exactly(file, start)
    file.seek(_CRC_AT)
    file.write(struct.pack("<I", zlib.crc32(sealed)))


def _header(file: FileIO) -> Header:
    """Reads up to where the state begins."""
    total = os.fstat(file.fileno()).st_size
    first = _read_exactly(file, _LLAMA.size + _FIXED.size)
    magic, version, units = _LLAMA.unpack_from(first)
    ours = _FIXED.unpack_from(first, _LLAMA.size)
    found, number, checksum, state_checksum, size, tokens, edges, text, prefill_tps = ours
    native = llama()
    if (magic, version) != (native.LLAMA_STATE_SEQ_MAGIC, native.LLAMA_STATE_SEQ_VERSION):
        raise Damaged("llama.cpp's part of the header is not that of this version")
    if (found, number) != (_MAGIC, VERSION):
        raise Damaged("the header is not that of this version")
    start = _LLAMA.size + _UNIT * units
    if start != len(first) + _UNIT * (tokens + edges - (-text // _UNIT)) or start + size != total:
        raise Damaged("the file does not have the size that its header says")
    rest = _read_exactly(file, start - len(first))
    unsealed = first[:_CRC_AT] + bytes(4) + first[_CRC_AT + 4 :]
    if zlib.crc32(rest, zlib.crc32(unsealed)) != checksum:
        raise Damaged("the header is damaged")
    numbers = array("i")
    numbers.frombytes(rest[: _UNIT * (tokens + edges)])
    origin = rest[_UNIT * (tokens + edges) :][:text].decode("utf-8", "replace")
    header = Header(
        origin, numbers[:tokens].tolist(), numbers[tokens:].tolist(), prefill_tps, start, size, state_checksum
    )
    if header.edges[:1] != [0] or header.edges != sorted(header.edges) or header.edges[-1] > tokens:
        raise Damaged("the header makes no sense")
    return header


def _check_state(file: FileIO, header: Header) -> None:
    """Reads the state, which begins here. Raises Damaged unless it has one cell for each token, and its checksum."""
    length = len(header.tokens)
    described = _read_exactly(file, 8 + length * _CELL * 4)
    if _crc_of_rest(file, zlib.crc32(described)) != header.checksum:
        raise Damaged("the state is damaged")
    numbers = array("i")
    numbers.frombytes(described)
    streams, count, *cells = numbers
    if (streams, count) != (1, length) or sorted(cells[::_CELL]) != list(range(length)) or {*cells[1::_CELL]} != {1}:
        raise Damaged("the state is not that of these tokens")


def _crc_of_rest(file: FileIO, checksum: int = 0) -> int:
    block = memoryview(bytearray(_BLOCK))
    while count := file.readinto(block):
        checksum = zlib.crc32(block[:count], checksum)
    return checksum


def _read_exactly(file: FileIO, size: int) -> bytes:
    parts = []
    while size and (part := file.read(size)):
        parts.append(part)
        size -= len(part)
    if size:
        raise Damaged("the file is too short")
    return b"".join(parts)
