"""A checkpoint folder -> a source to quantize: the GGUF that llama.cpp's converter would write.

The general.* naming keys are our own: the name comes from the catalogue, else from the folder.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from gguf.constants import GGML_QUANT_VERSION, MODEL_TENSOR, TENSOR_NAMES, Keys, LlamaFileType

from r1_quantize import catalog
from r1_quantize.checkpoint import foreign
from r1_quantize.checkpoint.architecture import ARCHITECTURES, Architecture, architecture_of
from r1_quantize.checkpoint.checkpoint import CheckpointFolder
from r1_quantize.checkpoint.vocab import vocabulary
from r1_quantize.errors import BadCheckpoint
from r1_quantize.gguf.metadata import float32, int32, string, uint32
from r1_quantize.gguf.reader import Entry
from r1_quantize.gguf.tensor_type import TensorType
from r1_quantize.source import Source, Tensor

_OUTPUT = f"{TENSOR_NAMES[MODEL_TENSOR.OUTPUT]}.weight"
_ROPE_FACTORS = f"{TENSOR_NAMES[MODEL_TENSOR.ROPE_FREQS]}.weight"
_IGNORED = (".attention.masked_bias", ".attention.bias", ".rotary_emb.inv_freq")  # computed, not learned
_SAMPLING = {
    # generation_config.json -> GGUF key, in the order of the keys
    "top_k": Keys.General.SAMPLING_TOP_K,
    "top_p": Keys.General.SAMPLING_TOP_P,
    "min_p": Keys.General.SAMPLING_MIN_P,
    "temperature": Keys.General.SAMPLING_TEMP,
    "repetition_penalty": Keys.General.SAMPLING_PENALTY_REPEAT,
}


def checkpoint_source(
    folder: CheckpointFolder, name: str, known: catalog.Checkpoint | None = None, pretokenizer: str | None = None
) -> Source:
    """The tensors and metadata of a checkpoint.

    `known` is its entry in the catalogue; without one, general.name is `name`. `pretokenizer` overrides what
    `recognise` finds. Raises BadCheckpoint when r1 does not know the architecture, or a tensor is missing or of
    the wrong shape or type.
    """
    architecture = architecture_of(folder.config)
    tensors = (*_computed(architecture), *_stored(folder, architecture))
    tied = all(tensor.name != _OUTPUT for tensor in tensors)
    words = vocabulary(folder, architecture, pretokenizer)
    return Source(
        path=folder.path,
        entries=(*_entries(folder, architecture, name, known), *words.entries),
        tensors=tensors,
        traits=architecture.traits(tied=tied),
        files=tuple(shard.file for shard in folder.shards),
        digests=folder.digests,
        is_gguf=False,
        notes=words.notes,
    )


def outline(known: catalog.Checkpoint) -> Source | None:
    """A checkpoint as the catalogue describes it: its tensors, without values or a vocabulary.

    None when the catalogue does not say enough. Raises BadCheckpoint when it describes an impossible model.
    """
    named = [name for name, architecture in ARCHITECTURES.items() if architecture == known.architecture]
    if known.config is None or not named:
        return None
    config = {"max_position_embeddings": known.context_length, **known.config, "architectures": named}
    architecture = architecture_of(config)
    stored = (
        Tensor(
            name=weight.name,
            shape=weight.shape,
            type=TensorType.BF16,
            default_type=TensorType.F32,
            label=weight.name,
        )
        for weight in architecture.weights
        if not (architecture.tied and weight.name == _OUTPUT)
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
            name=_ROPE_FACTORS,
            shape=(len(factors) // 4,),
            type=TensorType.F32,
            default_type=TensorType.F32,
            label=_ROPE_FACTORS,
            data=factors,
        )


def _stored(folder: CheckpointFolder, architecture: Architecture) -> Iterator[Tensor]:
    """The architecture's weights in the order of the checkpoint, each checked for its shape and type."""
    if quantized := foreign.by_tensors(folder.config, folder.tensors.keys()):
        raise BadCheckpoint(f"{folder.path}: {quantized}")
    expected = {weight.source: weight for weight in architecture.weights}
    for source, weight in expected.items():
        if source not in folder.tensors and not (architecture.tied and weight.name == _OUTPUT):
            raise BadCheckpoint(
                f"{folder.path}: {foreign.by_config(folder.config) or f'the tensor {source} is missing'}"
            )
    for source, tensor in folder.tensors.items():
        if source.endswith(_IGNORED):
            continue
        stored, known_weight = tensor.stored, expected.get(source)
        if known_weight is None:
            raise BadCheckpoint(
                f"{tensor.shard}: unknown tensor {source:.80}; {architecture.name} has none of that name"
            )
        if stored.type is None and (quantized := foreign.by_config(folder.config, stored.dtype)):
            raise BadCheckpoint(f"{folder.path}: {quantized}")
        if stored.shape != known_weight.shape:
            shapes = (
                f"{list(stored.shape)}, but config.json requires {list(known_weight.shape)}; they are not of one model"
            )
            raise BadCheckpoint(f"{tensor.shard}: {source} is {shapes}")
        if stored.type is None:
            raise BadCheckpoint(f"{tensor.shard}: {source} is {stored.dtype}, not BF16, F16 or F32")
        yield Tensor(
            name=known_weight.name,
            shape=known_weight.shape,
            type=stored.type,
            default_type=TensorType.F32,
            label=f"{tensor.shard}: {source}",
            file=tensor.shard,
            offset=stored.offset,
            rotary_heads=known_weight.rotary_heads,
        )


def _entries(
    folder: CheckpointFolder,
    architecture: Architecture,
    name: str,
    known: catalog.Checkpoint | None,
) -> Iterator[Entry]:
    """All metadata of a BF16 file but the vocabulary; `plan` replaces the file type."""
    yield string(Keys.General.ARCHITECTURE, architecture.name)
    yield string(Keys.General.TYPE, "model")
    yield from _sampling(folder)
    yield from _naming(name, known)
    yield from architecture.entries
    yield uint32(Keys.General.FILE_TYPE, LlamaFileType.MOSTLY_BF16)
    yield from architecture.late_entries
    yield uint32(Keys.General.QUANTIZATION_VERSION, GGML_QUANT_VERSION)


def _sampling(folder: CheckpointFolder) -> Iterator[Entry]:
    """The sampling parameters that the checkpoint's publisher recommends."""
    config = folder.optional_json("generation_config.json") or {}
    for name, key in _SAMPLING.items():
        value = config.get(name)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < 1e6:
            continue
        if name == "top_k":
            yield int32(key, int(value))
        else:
            yield float32(key, value)


def _naming(name: str, known: catalog.Checkpoint | None) -> Iterator[Entry]:
    """The keys for the model's name, publisher and licence; they have no effect on how it runs."""
    yield string(Keys.General.NAME, known.title if known else name)
    if known and known.repo:
        yield string(Keys.General.ORGANIZATION, known.repo.partition("/")[0])
    if known:
        yield string(Keys.General.LICENSE, known.licences[0].lower())
    if known and known.repo:
        yield string("general.source.huggingface.repository", known.repo)
