"""Which GGML type each tensor gets in each file type, and the order of the tensors in the file.

The rules are llama.cpp's (src/llama-quant.cpp): the choice by tensor and layer, the fallback for rows that do not fill
complete blocks, and the types that need an importance matrix. The file types' numbers are not taken from the gguf
package, because `r1 list` and `r1 show` read this table; a test compares them.
"""

from __future__ import annotations

import difflib
import re
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from r1_quantize.catalog import as_quant
from r1_quantize.errors import UsageError
from r1_quantize.gguf.tensor_type import TensorType

F32, F16, BF16 = TensorType.F32, TensorType.F16, TensorType.BF16
Q4_0, Q4_1, Q5_0, Q5_1, Q8_0 = TensorType.Q4_0, TensorType.Q4_1, TensorType.Q5_0, TensorType.Q5_1, TensorType.Q8_0
Q2_K, Q3_K, Q4_K, Q5_K, Q6_K = TensorType.Q2_K, TensorType.Q3_K, TensorType.Q4_K, TensorType.Q5_K, TensorType.Q6_K
IQ1_S, IQ1_M, IQ2_XXS, IQ2_XS = TensorType.IQ1_S, TensorType.IQ1_M, TensorType.IQ2_XXS, TensorType.IQ2_XS
IQ2_S, IQ3_XXS, IQ3_S = TensorType.IQ2_S, TensorType.IQ3_XXS, TensorType.IQ3_S
IQ4_NL, IQ4_XS = TensorType.IQ4_NL, TensorType.IQ4_XS


@dataclass(frozen=True, slots=True)
class Traits:
    """The facts about a model that the rules depend on."""

    layers: int
    heads_per_kv_head: int
    is_70b: bool
    tied: bool  # no output.weight: the token embedding is used for the output too

    @classmethod
    def of(cls, architecture: str, layers: int, heads: int, kv_heads: int, *, tied: bool) -> Traits:
        """llama.cpp treats a model of 80 layers as a 70B; a Llama must also have grouped heads."""
        is_70b = layers == 80 and (architecture != "llama" or heads > kv_heads)
        return cls(layers=layers, heads_per_kv_head=heads // kv_heads, is_70b=is_70b, tied=tied)


@dataclass(frozen=True, slots=True)
class Place:
    """The inputs of a rule: the tensor is number `index` of the `count` of its kind, and facts about the file."""

    index: int
    count: int
    grouped: bool  # four or more query heads share a KV head
    imatrix: bool


When = Callable[[Place], bool]
Choice = tuple[TensorType, When]
_Kinds = dict[str, TensorType | tuple[Choice, ...]]


@dataclass(frozen=True, slots=True)
class Recipe:
    """One file type: `number` is its llama_ftype, `base` the type of every matrix without an exception.

    `choices` maps a kind of tensor, by its name within a layer, to its exceptions; the first that applies counts.
    """

    name: str
    number: int
    base: TensorType
    choices: Mapping[str, tuple[Choice, ...]]
    embedding: TensorType  # of the token embedding
    output: TensorType  # of output.weight

    @property
    def quantized(self) -> bool:
        """True when values are stored in blocks, false when they are plain floats."""
        return self.base.block > 1

    @property
    def smallest(self) -> bool:
        """The one- and two-bit types, which have no special rule for a 70B model."""
        return self.base in {IQ1_S, IQ1_M, IQ2_XXS, IQ2_XS, IQ2_S}


@dataclass(frozen=True, slots=True)
class Copy:
    """Copies every tensor of a GGUF unchanged; joins a split GGUF into one file."""

    name: str = "COPY"


COPY = Copy()


def _recipe(
    name: str,
    number: int,
    base: TensorType,
    kinds: _Kinds | None = None,
    *,
    embedding: TensorType | None = None,
    output: TensorType = Q6_K,
) -> Recipe:
    """A row of the table. A kind of tensor has one type everywhere, or choices."""
    choices = {
        f"{kind}.weight": ((chosen, _always),) if isinstance(chosen, TensorType) else chosen
        for kind, chosen in (kinds or {}).items()
    }
    return Recipe(name=name, number=number, base=base, choices=choices, embedding=embedding or base, output=output)


def _always(_: Place) -> bool:
    return True


def _grouped(place: Place) -> bool:
    return place.grouped


def _more_bits(place: Place) -> bool:
    """The first and last eighth of the layers, and every third layer between: llama.cpp's use_more_bits."""
    eighth = place.count // 8
    return place.index < eighth or place.index >= 7 * place.count // 8 or (place.index - eighth) % 3 == 2


def _first(count: int) -> When:
    return lambda place: place.index < count


def _first_part(divisor: int) -> When:
    return lambda place: place.index < place.count // divisor


def _middle(place: Place) -> bool:
    return place.count // 8 <= place.index < 7 * place.count // 8


def _without_imatrix(place: Place) -> bool:
    return not place.imatrix


def _first_eighth_with(*, imatrix: bool) -> When:
    return lambda place: place.imatrix is imatrix and place.index < place.count // 8


_K_M: _Kinds = {"attn_v": ((Q6_K, _more_bits),), "ffn_down": ((Q6_K, _more_bits),)}
_Q3_K_M: _Kinds = {
    "attn_v": ((Q5_K, _first(2)), (Q4_K, _always)),
    "ffn_down": ((Q5_K, _first_part(16)), (Q4_K, _always)),
    "attn_output": Q4_K,
}
_IQ4: _Kinds = {"attn_v": ((Q5_K, _grouped),), "ffn_down": ((Q5_K, _first_eighth_with(imatrix=False)),)}
_IQ3_XS: _Kinds = {
    **{"attn_v": ((Q4_K, _grouped),), "attn_q": IQ3_XXS, "attn_k": IQ3_XXS},
    **{"ffn_gate": ((IQ3_XXS, _middle),), "ffn_up": ((IQ3_XXS, _middle),)},
}
_IQ3_XXS: _Kinds = {
    **{"attn_v": ((Q4_K, _grouped), (IQ3_S, _without_imatrix)), "attn_q": IQ2_S, "attn_k": IQ2_S},
    **{"ffn_down": ((Q4_K, _first_eighth_with(imatrix=False)), (Q3_K, _without_imatrix)), "attn_output": IQ3_S},
}
_IQ2_S: _Kinds = {"attn_v": ((Q4_K, _grouped), (IQ3_S, _always)), "ffn_down": ((IQ3_S, _first_part(8)),)}
_IQ2_X: _Kinds = {"attn_v": ((Q4_K, _grouped), (Q2_K, _always)), "ffn_down": ((Q2_K, _first_part(8)),)}

_ALL = (
    _recipe("F32", 0, F32),
    _recipe("F16", 1, F16),
    _recipe("BF16", 32, BF16),
    _recipe("Q8_0", 7, Q8_0, output=Q8_0),
    _recipe("Q6_K", 18, Q6_K),
    _recipe("Q5_K_M", 17, Q5_K, _K_M),
    _recipe("Q5_K_S", 16, Q5_K),
    _recipe("Q5_1", 9, Q5_1),
    _recipe("Q5_0", 8, Q5_0, {"ffn_down": ((Q5_1, _first_eighth_with(imatrix=True)),)}),
    _recipe("Q4_K_M", 15, Q4_K, _K_M),
    _recipe("Q4_K_S", 14, Q4_K, {"attn_v": ((Q5_K, _first(4)),), "ffn_down": ((Q5_K, _first_part(8)),)}),
    _recipe("Q4_1", 3, Q4_1),
    _recipe("Q4_0", 2, Q4_0, {"ffn_down": ((Q4_1, _first_eighth_with(imatrix=True)),)}),
    _recipe("IQ4_NL", 25, IQ4_NL, _IQ4),
    _recipe("IQ4_XS", 30, IQ4_XS, _IQ4),
    _recipe("Q3_K_L", 13, Q3_K, {"attn_v": Q5_K, "ffn_down": Q5_K, "attn_output": Q5_K}),
    _recipe("Q3_K_M", 12, Q3_K, _Q3_K_M),
    _recipe("IQ3_M", 27, IQ3_S, {"attn_v": Q4_K, "ffn_down": ((Q4_K, _first_part(8)),), "attn_output": Q4_K}),
    _recipe("Q3_K_S", 11, Q3_K),
    _recipe("IQ3_S", 26, IQ3_S, {"attn_v": ((Q4_K, _grouped),)}),
    _recipe("Q2_K", 10, Q2_K, {"attn_v": ((Q4_K, _grouped), (Q3_K, _always)), "ffn_down": Q3_K, "attn_output": Q3_K}),
    # These need an importance matrix.
    _recipe("IQ3_XS", 22, IQ3_S, _IQ3_XS),
    _recipe("IQ3_XXS", 23, IQ3_XXS, _IQ3_XXS, embedding=IQ3_S, output=Q5_K),
    _recipe("Q2_K_S", 21, Q2_K, {"attn_v": ((Q4_K, _grouped),), "ffn_down": ((Q4_K, _first_part(8)),)}),
    _recipe("IQ2_M", 29, IQ2_S, {**_IQ2_S, "attn_output": IQ3_S}, embedding=IQ3_S, output=Q5_K),
    _recipe("IQ2_S", 28, IQ2_XS, {**_IQ2_S, "attn_output": IQ3_S}, embedding=IQ3_S, output=Q5_K),
    _recipe("IQ2_XS", 20, IQ2_XS, _IQ2_X, embedding=Q2_K, output=Q5_K),
    _recipe("IQ2_XXS", 19, IQ2_XXS, _IQ2_X, embedding=Q2_K, output=Q5_K),
    _recipe("IQ1_M", 31, IQ1_M, {**_IQ2_X, "attn_output": IQ2_XXS}, embedding=Q2_K, output=Q5_K),
    _recipe("IQ1_S", 24, IQ1_S, {**_IQ2_X, "attn_output": IQ2_XXS}, embedding=Q2_K, output=Q5_K),
)
RECIPES: dict[str, Recipe] = {recipe.name: recipe for recipe in _ALL}
"""By name: first those that need no importance matrix, largest first, then those that do."""

ALIASES = {"Q3_K": "Q3_K_M", "Q4_K": "Q4_K_M", "Q5_K": "Q5_K_M"}
"""Short names that llama.cpp's own tool accepts."""

TENSOR_TYPES: dict[str, TensorType] = {
    kind.name: kind
    for kind in (
        *(F32, BF16, F16, Q8_0, Q6_K, Q5_K, Q5_1, Q5_0, Q4_K, Q4_1, Q4_0, IQ4_NL, IQ4_XS, Q3_K, IQ3_S, IQ3_XXS),
        *(Q2_K, IQ2_S, IQ2_XS, IQ2_XXS, IQ1_M, IQ1_S),
    )
}
"""The types a single tensor can be converted to."""

_FALLBACKS = {
    # a type with blocks of 256 values → the type for rows that are only a multiple of 32
    **dict.fromkeys((IQ1_S, IQ1_M, IQ2_XXS, IQ2_XS, IQ2_S, IQ3_XXS, IQ3_S, IQ4_XS), IQ4_NL),
    **dict.fromkeys((Q2_K, Q3_K), Q4_0),
    Q4_K: Q5_0,
    Q5_K: Q5_1,
    Q6_K: Q8_0,
}
_KERNEL_NEEDS_IMATRIX = {IQ2_XXS, IQ2_XS, IQ1_S}  # ggml aborts the process without one
_NEEDS_IMATRIX = {IQ3_XXS, IQ2_XXS, IQ2_XS, IQ2_S, IQ1_M, IQ1_S}
_OUTSIDE_LAYERS = {"token_embd.weight", "output.weight"}


def recipe_for(quant: str) -> Recipe:
    """The recipe named `quant`, in upper or lower case. Raises UsageError for an unknown one."""
    name = as_quant(quant)
    if (recipe := RECIPES.get(ALIASES.get(name, name))) is None:
        near = difflib.get_close_matches(name[:20], RECIPES, n=3) or ["Q4_K_M"]
        raise UsageError(
            f"unknown type {quant!r:.40}; did you mean {' or '.join(near)}? r1 quantize SOURCE --list-types shows all"
        )
    return recipe


def recipe_or_copy(quant: str) -> Recipe | Copy:
    """Like `recipe_for`, but also accepts COPY."""
    return COPY if quant.upper() == COPY.name else recipe_for(quant)


@dataclass(frozen=True, slots=True)
class Override:
    """Overrides the recipe: a type for every tensor whose name matches a regular expression."""

    pattern: re.Pattern[str]
    type: TensorType

    @classmethod
    def parse(cls, text: str) -> Override:
        """`PATTERN=TYPE`, as in `ffn_down=q6_k`. Raises UsageError."""
        pattern, separator, name = text.rpartition("=")
        if not (pattern and separator):
            raise UsageError(f"--tensor-type {text!r:.80}: expected PATTERN=TYPE, as in ffn_down=Q6_K")
        if (type_ := TENSOR_TYPES.get(name.upper())) is None:
            raise UsageError(
                f"--tensor-type {text!r:.80}: unknown type {name!r:.40}; choose one of {', '.join(TENSOR_TYPES)}"
            )
        try:
            with warnings.catch_warnings(action="ignore"):  # about syntax whose meaning may change
                return cls(pattern=re.compile(pattern), type=type_)
        except (re.error, OverflowError, RecursionError) as exc:
            raise UsageError(f"--tensor-type {text!r:.80}: not a regular expression ({exc})") from exc

    def __str__(self) -> str:
        return f"{self.pattern.pattern}={self.type.name}"


def override_for(overrides: Sequence[Override], name: str) -> TensorType | None:
    """The type of the first override that matches a tensor's name; None when none does."""
    return next((override.type for override in overrides if override.pattern.search(name)), None)


class Named(Protocol):
    """Has a tensor's GGUF name."""

    @property
    def name(self) -> str: ...


class Shaped(Named, Protocol):
    """A tensor as the rules see it; `shape` is (rows, columns) or (values,)."""

    @property
    def shape(self) -> tuple[int, ...]: ...


_T = TypeVar("_T", bound=Named)


def in_file_order(tensors: Iterable[_T]) -> list[_T]:
    """Tensors in the order of llama.cpp's quantizer: those outside the layers first, then by layer and name."""
    return sorted(tensors, key=lambda tensor: (_layer(tensor.name), tensor.name))


def is_matrix(tensor: Shaped) -> bool:
    """True when a recipe chooses the type. Norms, biases and factors keep their default type."""
    return len(tensor.shape) == 2 and tensor.name.endswith(".weight") and not tensor.name.endswith("_norm.weight")


def types_of(
    recipe: Recipe,
    tensors: Sequence[Shaped],
    traits: Traits,
    override: Callable[[str], TensorType | None] = lambda _: None,
    *,
    imatrix: bool,
) -> dict[str, TensorType]:
    """Name → type of every matrix (see `is_matrix`) among `tensors`, which are in file order.

    The rules count the tensors of each kind. Like llama.cpp, they do not count a tensor with an override, which moves
    the exceptions to other layers. Without that, the bytes would differ from llama.cpp's.
    """
    matrices = [tensor for tensor in tensors if is_matrix(tensor)]
    if not recipe.quantized:
        return {tensor.name: recipe.base for tensor in matrices}
    seen: Counter[str] = Counter()
    types = {}
    for tensor in matrices:
        chosen = override(tensor.name)
        if chosen is None:
            chosen = _by_recipe(recipe, tensor, traits, seen, imatrix=imatrix)
        types[tensor.name] = _or_fallback(chosen, tensor.shape[1])
    return types


def needs_imatrix(recipe: Recipe, name: str, kind: TensorType) -> bool:
    """True when llama.cpp converts this tensor to that type only with an importance matrix."""
    if name in _OUTSIDE_LAYERS:
        return kind in _KERNEL_NEEDS_IMATRIX
    return kind in _NEEDS_IMATRIX or (kind is Q2_K and recipe.name == "Q2_K_S")


def _by_recipe(recipe: Recipe, tensor: Shaped, traits: Traits, seen: Counter[str], *, imatrix: bool) -> TensorType:
    if tensor.name == "output.weight" or (traits.tied and tensor.name == "token_embd.weight"):
        return Q8_0 if tensor.shape[1] % recipe.base.block else recipe.output
    if tensor.name == "token_embd.weight":
        return recipe.embedding
    kind = tensor.name.split(".", 2)[-1]
    place = Place(index=seen[kind], count=traits.layers, grouped=traits.heads_per_kv_head >= 4, imatrix=imatrix)
    seen[kind] += 1
    chosen = next((choice for choice, when in recipe.choices.get(kind, ()) if when(place)), recipe.base)
    if traits.is_70b and kind == "attn_v.weight" and chosen in {Q3_K, Q4_K} and not recipe.smallest:
        return Q5_K  # eight query heads share it, so it is small and important
    return chosen


def _or_fallback(chosen: TensorType, columns: int) -> TensorType:
    """The type, or its fallback when a row does not fill complete blocks."""
    if columns % chosen.block:
        chosen = _FALLBACKS.get(chosen, chosen)
    return F16 if columns % chosen.block else chosen


def _layer(name: str) -> int:
    """The layer in a GGUF tensor name; −1 for tensors outside the layers."""
    prefix, _, rest = name.partition(".")
    number = rest.partition(".")[0]
    return int(number) if prefix == "blk" and number.isdecimal() else -1
