"""Which GGML type each tensor gets in a file of a given quantization, and in which order tensors then stand.

Knows: llama.cpp's rules (src/llama-quant.cpp: the choice by tensor and layer, and the fallback for rows that
do not fill whole blocks), one row of a table for each file type. Does not know: how values are turned into
blocks (`ggml`), or where the tensors come from.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from r1_quantize.architecture import Architecture, Weight
from r1_quantize.errors import UsageError
from r1_quantize.tensor_type import TensorType


@dataclass(frozen=True, slots=True)
class Rule:
    """An exception from a recipe's base type: for tensors of one kind, in the layers `when` says."""

    kind: str  # the tensor's name within its layer
    type: TensorType
    when: Callable[[int, int], bool]  # (layer, layers)


@dataclass(frozen=True, slots=True)
class Recipe:
    """One file type: `number` is its llama_ftype, `base` the type of every matrix no rule speaks of."""

    name: str
    number: int
    base: TensorType
    rules: tuple[Rule, ...] = ()

    @property
    def quantized(self) -> bool:
        """Whether values are stored in blocks; otherwise they are plain floats."""
        return self.base.block > 1


def _more_bits(layer: int, layers: int) -> bool:
    """The first and last eighth of the layers, and every third between: llama.cpp's use_more_bits."""
    eighth = layers // 8
    return layer < eighth or layer >= 7 * layers // 8 or (layer - eighth) % 3 == 2


_ALL = (
    Recipe("F32", 0, TensorType.F32),
    Recipe("F16", 1, TensorType.F16),
    Recipe("BF16", 32, TensorType.BF16),
    Recipe("Q8_0", 7, TensorType.Q8_0),
    Recipe(
        "Q4_K_M",
        15,
        TensorType.Q4_K,
        (Rule("attn_v.weight", TensorType.Q6_K, _more_bits), Rule("ffn_down.weight", TensorType.Q6_K, _more_bits)),
    ),
)
RECIPES: dict[str, Recipe] = {recipe.name: recipe for recipe in _ALL}

_FALLBACKS = {TensorType.Q4_K: TensorType.Q5_0, TensorType.Q6_K: TensorType.Q8_0}


def recipe_for(quant: str) -> Recipe:
    """The recipe called `quant`, in any case. Raises UsageError with the known ones."""
    if (found := RECIPES.get(quant.upper())) is None:
        raise UsageError(f"{quant!r:.40} is not a quantization r1 makes; known are {', '.join(RECIPES)}")
    return found


def in_file_order(recipe: Recipe, weights: Iterable[Weight]) -> list[Weight]:
    """The order of the tensors in the file: quantized, by layer and name, those outside the layers first.

    Plain floats stay in the order they come in, which is the checkpoint's.
    """
    return sorted(weights, key=lambda weight: (_layer(weight.name), weight.name)) if recipe.quantized else [*weights]


def type_of(recipe: Recipe, weight: Weight, architecture: Architecture, *, tied: bool) -> TensorType:
    """The type of one tensor. `tied`: there is no output.weight, the token embedding does its work too."""
    if len(weight.shape) < 2 or weight.name.endswith("_norm.weight"):
        return TensorType.F32
    if not recipe.quantized:
        return recipe.base
    columns = weight.shape[1]
    if weight.name == "output.weight" or (tied and weight.name == "token_embd.weight"):
        chosen = TensorType.Q8_0 if columns % recipe.base.block else _at_least_q6(recipe.base)
    else:
        chosen = _by_rule(recipe, weight.name, architecture.block_count)
    if columns % chosen.block:
        chosen = _FALLBACKS.get(chosen, TensorType.F16)
    return TensorType.F16 if columns % chosen.block else chosen


def _at_least_q6(base: TensorType) -> TensorType:
    return base if base is TensorType.Q8_0 else TensorType.Q6_K


def _by_rule(recipe: Recipe, name: str, layers: int) -> TensorType:
    layer = _layer(name)
    for rule in recipe.rules:
        if name.endswith(f".{rule.kind}") and rule.when(layer, layers):
            return rule.type
    return recipe.base


def _layer(name: str) -> int:
    """The layer a GGUF tensor name speaks of; −1 for tensors outside the layers."""
    prefix, _, rest = name.partition(".")
    return int(rest.partition(".")[0]) if prefix == "blk" else -1
