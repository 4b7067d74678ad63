"""llama.cpp's own quantizer, as a reference; it is part of the loaded library."""

from __future__ import annotations

import ctypes
import re
from array import array
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import gguf
import numpy as np

from r1.engine import llama
from r1_quantize.checkpoint.architecture import architecture_of
from r1_quantize.gguf.tensor_type import TensorType
from r1_quantize.recipe import RECIPES, in_file_order, types_of
from r1_quantize.source import Source
from tests.fakes.checkpoints import Shape, weights

TEXT, NUMBER = 3, 0  # enum llama_model_kv_override_type: a string, an integer
DATASET, CHUNKS = "a made-up text", 7
Weights = Mapping[str, "array[float]"]


def quantized(
    source: Path,
    quant: str,
    imatrix: tuple[str, Weights] | None = None,
    overrides: Sequence[tuple[str, TensorType]] = (),
    *,
    allow_requantize: bool = False,
) -> Path | None:
    """The file llama_model_quantize makes from a GGUF; None when it refuses. `imatrix` is a name and weights."""
    target = source.with_suffix(f".{quant}.reference")
    with _log() as lines:
        params = _params(quant, imatrix, overrides)
        params.allow_requantize = allow_requantize
        refused = llama.llama().llama_model_quantize(bytes(source), bytes(target), ctypes.byref(params))
    assert not refused or any("failed to quantize" in line for line in lines)
    return None if refused else target


def copied(source: Path) -> Path:
    """The file llama_model_quantize makes with only_copy from a GGUF or the first part of a split one."""
    target = source.with_suffix(".copy.reference")
    library = llama.llama()
    with _log() as lines:
        params = library.llama_model_quantize_default_params()
        params.only_copy, params.nthread = True, 2
        refused = library.llama_model_quantize(bytes(source), bytes(target), ctypes.byref(params))
    assert not refused, "".join(lines)
    return target


def types(
    source: Path, quant: str, overrides: Sequence[tuple[str, TensorType]] = (), *, imatrix: bool = False
) -> dict[str, str]:
    """Name → type of each tensor that llama.cpp's dry run would change."""
    found = ("x", {"x": array("f", [1])}) if imatrix else None  # llama.cpp reads it where it is, so it must stay
    with _log() as lines:
        params = _params(quant, found, overrides)
        params.dry_run = True
        assert llama.llama().llama_model_quantize(bytes(source), b"", ctypes.byref(params)) == 0
    said = re.findall(r"\] (\S+) +- \[.*?size = .*? MiB(?: -> .*? MiB \((\w+)\))?\n", "".join(lines))
    return {name: kind.upper() for name, kind in said if kind}


def our_types(source: Source, quant: str, *, imatrix: bool) -> dict[str, str]:
    """Name → type of each tensor that r1 would change."""
    recipe = RECIPES[quant]
    chosen = types_of(recipe, in_file_order(source.tensors), source.traits, imatrix=imatrix)
    stored = {tensor.name: tensor.type for tensor in source.tensors}
    return {name: kind.name for name, kind in chosen.items() if kind is not stored[name]}


def write_imatrix(path: Path, shape: Shape, *, left_out: str = "") -> Path:
    """An importance matrix in llama.cpp's GGUF form, with entries for all matrices except the token embedding."""
    writer = gguf.GGUFWriter(path, "imatrix")
    writer.add_array("imatrix.datasets", [DATASET])
    writer.add_uint32("imatrix.chunk_count", CHUNKS)
    writer.add_uint32("imatrix.chunk_size", 512)
    for weight in architecture_of(shape.config).weights:
        if len(weight.shape) == 2 and weight.name not in {"token_embd.weight", left_out}:
            sums = np.abs(weights(weight.name, (weight.shape[1],))).reshape(1, -1) + np.float32(0.25)
            writer.add_tensor(f"{weight.name}.in_sum2", sums)
            writer.add_tensor(f"{weight.name}.counts", np.array([[3.0]], "<f4"))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def read_imatrix(path: Path) -> Weights:
    """The weights as llama.cpp's tool computes them: sums over counts in single precision, read with gguf-py."""
    tensors = {tensor.name: tensor.data.astype("<f4").ravel() for tensor in gguf.GGUFReader(path).tensors}
    names = [name.removesuffix(".in_sum2") for name in tensors if name.endswith(".in_sum2")]
    return {name: array("f", tensors[f"{name}.in_sum2"] / tensors[f"{name}.counts"][0]) for name in names}


def _params(quant: str, imatrix: tuple[str, Weights] | None, overrides: Sequence[tuple[str, TensorType]]) -> Any:
    library = llama.llama()
    params = library.llama_model_quantize_default_params()
    params.ftype, params.nthread = RECIPES[quant].number, 2
    if imatrix:
        name, found = imatrix
        data = (library.llama_model_imatrix_data * (len(found) + 1))()
        for slot, (tensor, values) in zip(data, found.items(), strict=False):
            slot.name, slot.size = tensor.encode(), len(values)
            slot.data = ctypes.cast(values.buffer_info()[0], type(slot.data))
        params.imatrix = ctypes.cast(data, type(params.imatrix))
        params.kv_overrides = ctypes.cast(_keys(name, len(found)), type(params.kv_overrides))
    if overrides:
        wanted = (library.llama_model_tensor_override * (len(overrides) + 1))()
        for slot, (pattern, kind) in zip(wanted, overrides, strict=False):
            slot.pattern, slot.type = pattern.encode(), int(kind)
        params.tt_overrides = ctypes.cast(wanted, type(params.tt_overrides))
    return params


def _keys(name: str, entries: int) -> Any:
    """The quantize.imatrix.* keys, which llama.cpp's tool adds and its library does not."""
    keys = (llama.llama().llama_model_kv_override * 5)()
    values = (("file", name), ("dataset", DATASET), ("entries_count", entries), ("chunks_count", CHUNKS))
    for slot, (key, value) in zip(keys, values, strict=False):
        slot.key = f"quantize.imatrix.{key}".encode()
        if isinstance(value, str):
            slot.tag, slot.value.val_str = TEXT, value.encode()
        else:
            slot.tag, slot.value.val_i64 = NUMBER, value
    return keys


@contextmanager
def _log() -> Iterator[list[str]]:
    """llama.cpp's log lines; restores the log callback afterwards."""
    lines: list[str] = []
    library = llama.llama()
    callback = library.llama_log_callback(lambda _level, text, _data: lines.append(text.decode("utf-8", "replace")))
    library.llama_log_set(callback, None)
    try:
        yield lines
    finally:
        library.llama_log_set(llama._log_callback, None)
