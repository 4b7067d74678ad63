"""GGUFs with the six checkpoints' real shapes and no weights, and llama.cpp's compute buffer for one."""

from __future__ import annotations

import ctypes
from dataclasses import replace
from pathlib import Path

from r1.engine.kv_types import KV_TYPES, Rows, largest_batch, most_outputs
from r1.engine.llama import llama
from r1_quantize import catalog
from r1_quantize.checkpoint.checkpoint_source import outline
from r1_quantize.gguf.metadata import string, uint32
from r1_quantize.plan import plan
from r1_quantize.recipe import RECIPES
from scripts.bench.buffers import buffers, recorded_log


def write_header(path: Path, name: str, quant: str) -> None:
    """Writes a checkpoint of the catalogue as a GGUF with a hole for the weights and no vocabulary."""
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


def compute_buffer(path: Path, cells: int, kv_type: str, rows: Rows, sequences: int = 1) -> int:
    """Bytes of the compute buffer that llama.cpp would allocate on the CPU: with `no_alloc` it plans and logs only.

    A batch is as large as the engine's largest.
    """
    library = llama()
    model_params = library.llama_model_default_params()
    no_device = (ctypes.c_void_p * 1)(None)
    model_params.devices = ctypes.addressof(no_device)
    model_params.no_alloc, model_params.load_mode, model_params.n_gpu_layers = True, 0, 0
    params = library.llama_context_default_params()
    params.n_ctx = cells
    params.n_batch = params.n_ubatch = largest_batch(rows, sequences)
    params.n_seq_max, params.n_outputs_max = sequences, most_outputs(sequences)
    params.kv_unified = sequences > 1
    params.type_k = params.type_v = KV_TYPES[kv_type]
    with recorded_log() as lines:
        model = library.llama_model_load_from_file(str(path).encode(), model_params)
        native = library.llama_init_from_model(model, params)
        library.llama_free(native)
        library.llama_model_free(model)
    sizes = [buffer.size for buffer in buffers(lines) if buffer.kind == "compute"]
    assert len(sizes) == 1, "".join(lines)
    return sizes[0]
