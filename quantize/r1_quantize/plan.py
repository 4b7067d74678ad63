"""A checkpoint and a quantization → every byte of the result but the weights, before a weight is read.

Knows: which keys stand in a file and in which order. For plain floats that is the order of llama.cpp's
converter, for quantized types the order of its quantizer, so that files can be compared with theirs byte for
byte. The general.* naming keys are ours: the name is the catalogue's, or else the folder's. Does not know:
how anything is written (`writer`) or computed (`ggml`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from r1_quantize import catalog
from r1_quantize.architecture import Architecture, Weight, architecture_of
from r1_quantize.checkpoint import CheckpointFolder, SourceTensor
from r1_quantize.errors import BadCheckpoint
from r1_quantize.metadata import Entry, float32, int32, string, uint32
from r1_quantize.recipe import Recipe, in_file_order, type_of
from r1_quantize.tensor_type import TensorType
from r1_quantize.vocab import vocabulary

_QUANTIZATION_VERSION = 2  # GGML_QNT_VERSION of ggml.h
_IGNORED = (".attention.masked_bias", ".attention.bias", ".rotary_emb.inv_freq")  # computed, not learned
_SAMPLING = {
    # generation_config.json → general.sampling.*, in the order of the keys
    "top_k": "top_k",
    "top_p": "top_p",
    "min_p": "min_p",
    "temperature": "temp",
    "repetition_penalty": "penalty_repeat",
}


@dataclass(frozen=True, slots=True)
class PlannedTensor:
    """One tensor of the result, and where its values come from. `shape` is (rows, columns) or (values,)."""

    name: str
    shape: tuple[int, ...]
    type: TensorType
    source: SourceTensor

    @property
    def nbytes(self) -> int:
        """Its size in the result."""
        values = 1
        for dimension in self.shape:
            values *= dimension
        return self.type.bytes_of(values)


@dataclass(frozen=True, slots=True)
class Plan:
    """The result's key–value pairs and tensors, in file order."""

    entries: tuple[Entry, ...]
    tensors: tuple[PlannedTensor, ...]


def plan(folder: CheckpointFolder, recipe: Recipe, name: str, known: catalog.Checkpoint | None) -> Plan:
    """What `recipe` makes of the checkpoint in `folder`.

    `name` is used for general.name when the checkpoint is not a `known` one. Raises BadCheckpoint when the
    checkpoint is of an unknown architecture, lacks a tensor, or has one of the wrong shape or type.
    """
    architecture = architecture_of(folder.config)
    weights = in_file_order(recipe, _weights(folder, architecture))
    tied = all(weight.name != "output.weight" for weight in weights)
    tensors = tuple(
        PlannedTensor(
            weight.name,
            weight.shape,
            type_of(recipe, weight, architecture, tied=tied),
            folder.tensors[weight.source],
        )
        for weight in weights
    )
    return Plan(tuple(_entries(folder, recipe, architecture, name, known)), tensors)


def _weights(folder: CheckpointFolder, architecture: Architecture) -> list[Weight]:
    """The architecture's weights, each found and of the right shape, in the order they have in the checkpoint."""
    expected = {weight.source: weight for weight in architecture.weights}
    for source, tensor in folder.tensors.items():
        if source.endswith(_IGNORED):
            continue
        if (weight := expected.get(source)) is None:
            raise BadCheckpoint(f"{tensor.shard.path}: the tensor {source:.80} has no place in {architecture.name}")
        if tensor.stored.shape != weight.shape:
            wanted = f"config.json asks for {list(weight.shape)}"
            raise BadCheckpoint(f"{tensor.shard.path}: {source} is {list(tensor.stored.shape)}, {wanted}")
        if tensor.stored.type is None:
            raise BadCheckpoint(f"{tensor.shard.path}: {source} is {tensor.stored.dtype}, not BF16, F16 or F32")
    for source, weight in expected.items():
        if source not in folder.tensors and not (architecture.tied and weight.name == "output.weight"):
            raise BadCheckpoint(f"{folder.path}: the tensor {source} is missing")
    return [expected[source] for source in folder.tensors if source in expected]


def _entries(
    folder: CheckpointFolder, recipe: Recipe, architecture: Architecture, name: str, known: catalog.Checkpoint | None
) -> Iterator[Entry]:
    file_type = uint32("general.file_type", recipe.number)
    version = uint32("general.quantization_version", _QUANTIZATION_VERSION)
    yield string("general.architecture", architecture.name)
    yield string("general.type", "model")
    yield from _sampling(folder)
    yield from _naming(name, known)
    yield from architecture.entries
    if not recipe.quantized:
        yield from (file_type, version)
    yield from vocabulary(folder, architecture.vocab_size)
    if recipe.quantized:
        yield from (version, file_type)


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
