"""GGUFs of the six checkpoints' true shapes with nothing in them, and what llama.cpp would take for one."""

from __future__ import annotations

import ctypes
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from r1.engine.kv_cache import KV_TYPES
from r1.engine.llama import llama, log
from r1_quantize import catalog
from r1_quantize.checkpoint.checkpoint_source import outline
from r1_quantize.gguf.metadata import string, uint32
from r1_quantize.plan import plan
from r1_quantize.recipe import RECIPES

_BUFFER = re.compile(r" +(\S+) +(model|KV|compute|output) buffer size = +([\d.]+) MiB")


def write_header(path: Path, name: str, quant: str) -> None:
    """A checkpoint of the catalogue as a GGUF of the right size, which is a hole in the file, without a vocabulary."""
    known = catalog.load()[name]
    source = outline(known)
    assert source is not None
    assert known.config is not None
    entries = [
        string("general.architecture", known.architecture),
        *(entry for entry in source.entries if entry.key != f"{known.architecture}.vocab_size"),
        string("tokenizer.ggml.model", "no_vocab"),
        uint32(f"{known.architecture}.vocab_size", known.config["vocab_size"]),
    ]
    planned = plan(replace(source, entries=tuple(entries)), RECIPES[quant])
    with path.open("wb") as file:
        file.write(planned.header)
        file.truncate(planned.size)


def compute_buffer(path: Path, context: int, kv_type: str, chunk: int) -> float:
    """Bytes of the compute buffer that llama.cpp would allocate on the CPU, by its own word: `no_alloc` only plans."""
    library = llama()
    model_params = library.llama_model_default_params()
    no_device = (ctypes.c_void_p * 1)(None)
    model_params.devices = ctypes.addressof(no_device)
    model_params.no_alloc, model_params.load_mode, model_params.n_gpu_layers = True, 0, 0
    params = library.llama_context_default_params()
    params.n_ctx, params.n_batch, params.n_ubatch = context, chunk, chunk
    params.n_seq_max = params.n_outputs_max = 1
    params.type_k = params.type_v = KV_TYPES[kv_type]
    with _logged() as lines:
        model = library.llama_model_load_from_file(str(path).encode(), model_params)
        made = library.llama_init_from_model(model, params)
        library.llama_free(made)
        library.llama_model_free(model)
    sizes = [float(size) * 2**20 for _, what, size in _BUFFER.findall("".join(lines)) if what == "compute"]
    assert len(sizes) == 1, "".join(lines)
    return sizes[0]


@contextmanager
def _logged() -> Iterator[list[str]]:
    lines: list[str] = []
    write = log.write
    log.write = lambda level, text: (lines.append(text), write(level, text))[1]  # type: ignore[method-assign]
    try:
        yield lines
    finally:
        del log.write
