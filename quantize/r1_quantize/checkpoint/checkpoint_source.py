"""A checkpoint folder → what there is to quantize: the GGUF that llama.cpp's converter would make of it, unwritten.

Knows: which keys stand in such a file and in which order. The general.* naming keys are ours: the name is the
catalogue's, or else the folder's. Does not know: which types tensors get (`plan`), or how anything is written.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from r1_quantize import catalog
from r1_quantize.checkpoint.architecture import ARCHITECTURES, Architecture, architecture_of
from r1_quantize.checkpoint.checkpoint import CheckpointFolder
from r1_quantize.checkpoint.vocab import vocabulary
from r1_quantize.errors import BadCheckpoint
from r1_quantize.gguf.metadata import Entry, float32, int32, string, uint32
from r1_quantize.gguf.tensor_type import TensorType
from r1_quantize.recipe import QUANTIZATION_VERSION, RECIPES
from r1_quantize.source import Source, Tensor

_IGNORED = (".attention.masked_bias", ".attention.bias", ".rotary_emb.inv_freq")  # computed, not learned
_SAMPLING = {
    # generation_config.json → general.sampling.*, in the order of the keys
    "top_k": "top_k",
    "top_p": "top_p",
    "min_p": "min_p",
    "temperature": "temp",
    "repetition_penalty": "penalty_repeat",
}


def checkpoint_source(
    folder: CheckpointFolder, name: str, known: catalog.Checkpoint | None = None, pretokenizer: str | None = None
) -> Source:
    """`name` is used for general.name when the checkpoint is not a `known` one; see `pretokenizer_of` for the last.

    Raises BadCheckpoint when the checkpoint is of an unknown architecture, lacks a tensor, or has one of the wrong
    shape or type.
    """
    architecture = architecture_of(folder.config)
    tensors = (*_computed(architecture), *_stored(folder, architecture))
    tied = all(tensor.name != "output.weight" for tensor in tensors)
    return Source(
        path=folder.path,
        entries=tuple(_entries(folder, architecture, name, known, pretokenizer)),
        tensors=tensors,
        traits=architecture.traits(tied=tied),
        files=tuple(shard.file for shard in folder.shards),
        digests=folder.digests,
        is_gguf=False,
    )


def outline(known: catalog.Checkpoint) -> Source | None:
    """A checkpoint of the catalogue as far as that says what it is: its tensors, without values or a vocabulary.

    None when the catalogue does not say enough. Raises BadCheckpoint when what it says is impossible.
    """
    named = [name for name, architecture in ARCHITECTURES.items() if architecture == known.architecture]
    if known.config is None or not named:
        return None
    config = {"max_position_embeddings": known.context_length, **known.config, "architectures": named}
    architecture = architecture_of(config)
    stored = (
        Tensor(weight.name, weight.shape, TensorType.BF16, TensorType.F32, weight.name)
        for weight in architecture.weights
        if not (architecture.tied and weight.name == "output.weight")
    )
    return Source(
        path=Path(known.name),
        entries=architecture.entries,
        tensors=(*_computed(architecture), *stored),
        traits=architecture.traits(tied=architecture.tied),
        files=(),
        digests={},
        is_gguf=False,
    )


def _computed(architecture: Architecture) -> Iterator[Tensor]:
    if factors := architecture.rope_factors:
        yield Tensor(
            *("rope_freqs.weight", (len(factors) // 4,), TensorType.F32, TensorType.F32),
            label="rope_freqs.weight",
            data=factors,
        )


def _stored(folder: CheckpointFolder, architecture: Architecture) -> Iterator[Tensor]:
    """The architecture's weights, each found and of the right shape, in the order they have in the checkpoint."""
    expected = {weight.source: weight for weight in architecture.weights}
    for source, weight in expected.items():
        if source not in folder.tensors and not (architecture.tied and weight.name == "output.weight"):
            raise BadCheckpoint(f"{folder.path}: the tensor {source} is missing")
    for source, tensor in folder.tensors.items():
        if source.endswith(_IGNORED):
            continue
        stored, found = tensor.stored, expected.get(source)
        if found is None:
            raise BadCheckpoint(f"{tensor.shard}: the tensor {source:.80} has no place in {architecture.name}")
        if stored.shape != found.shape:
            wanted = f"config.json asks for {list(found.shape)}"
            raise BadCheckpoint(f"{tensor.shard}: {source} is {list(stored.shape)}, {wanted}")
        if stored.type is None:
            raise BadCheckpoint(f"{tensor.shard}: {source} is {stored.dtype}, not BF16, F16 or F32")
        yield Tensor(
            *(found.name, found.shape, stored.type, TensorType.F32),
            label=f"{tensor.shard}: {source}",
            file=tensor.shard,
            offset=stored.offset,
            rotary_heads=found.rotary_heads,
        )


def _entries(
    folder: CheckpointFolder,
    architecture: Architecture,
    name: str,
    known: catalog.Checkpoint | None,
    pretokenizer: str | None,
) -> Iterator[Entry]:
    yield string("general.architecture", architecture.name)
    yield string("general.type", "model")
    yield from _sampling(folder)
    yield from _naming(name, known)
    yield from architecture.entries
    yield uint32("general.file_type", RECIPES["BF16"].number)
    yield from architecture.late_entries
    yield uint32("general.quantization_version", QUANTIZATION_VERSION)
    yield from vocabulary(folder, architecture, pretokenizer)


def _sampling(folder: CheckpointFolder) -> Iterator[Entry]:
    """The sampling parameters the checkpoint's makers recommend."""
    config = folder.optional_json("generation_config.json") or {}
    for key, name in _SAMPLING.items():
        value = config.get(key)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < 1e6:
            continue
        if key == "top_k":
            yield int32(f"general.sampling.{name}", int(value))
        else:
            yield float32(f"general.sampling.{name}", value)


def _naming(name: str, known: catalog.Checkpoint | None) -> Iterator[Entry]:
    """What a person calls the model; of these keys nothing depends on any."""
    yield string("general.name", known.title if known else name)
    if known and known.repo:
        yield string("general.organization", known.repo.partition("/")[0])
    if known:
        yield string("general.license", known.licences[0].lower())
    if known and known.repo:
        yield string("general.source.huggingface.repository", known.repo)
