"""A model's shape: the sizes that decide how much memory it takes and how fast it decodes, read from its tensors."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from r1.fit import early_load
from r1_quantize.errors import BadGGUF
from r1_quantize.gguf import reader
from r1_quantize.gguf.split import part_names
from r1_quantize.source import Extent

TRAINED = 1 << 17
"""Tokens of context that all six distills were trained for; assumed where a file does not say."""


@dataclass(frozen=True, slots=True)
class Shape:
    """Bytes of weights, and numbers of values.

    `layers` are the bytes of each layer's tensors, `input` those of the token embeddings, `output` those of the output
    matrix and of the tensors outside any layer, and `largest` those of the largest tensor in a layer. With `tied`, the
    embeddings also serve as the output matrix, which then has no bytes of its own. A token has `embedding` values
    between layers and `feed_forward` inside one, and takes `keys` and `values` values in each layer's KV cache.

    `draft` is the model that drafts for this one, and is loaded beside it; None: there is none.
    """

    layers: tuple[int, ...]
    input: int
    output: int
    largest: int
    embedding: int
    feed_forward: int
    keys: int
    values: int
    vocabulary: int
    trained: int
    tied: bool = False
    draft: Shape | None = None

    @property
    def weights(self) -> int:
        """Bytes of all tensors."""
        return self.input + sum(self.layers) + self.output

    @property
    def bytes_per_token(self) -> int:
        """Bytes of weights read to decode one token: all but the embeddings, where one row is read unless tied."""
        return self.weights - (0 if self.tied else self.input)


def shape_of_file(path: Path) -> Shape:
    """The shape of the GGUF at `path`, or of all parts of a split one; reads only headers. Raises BadGGUF."""
    begun = early_load.begun(path)
    parts = begun.headers if begun else [reader.read(Path(part)) for part in part_names(str(path))]
    tensors = (Extent(info.name, info.shape[::-1], info.nbytes) for part in parts for info in part.tensors)
    trained = parts[0].metadata.get(f"{parts[0].metadata.get('general.architecture')}.context_length")
    try:
        return shape_of(tensors, trained if isinstance(trained, int) and trained > 0 else TRAINED)
    except KeyError as exc:
        raise BadGGUF(f"{path}: the tensor {exc.args[0]} is missing; `r1 list` shows what r1 runs") from exc


def shape_of(tensors: Iterable[Extent], trained: int = TRAINED) -> Shape:
    """The shape of a Llama or Qwen2 with these tensors, by llama.cpp's names. Raises KeyError for a missing name."""
    layers: dict[int, int] = defaultdict(int)
    shapes: dict[str, tuple[int, ...]] = {}
    outside = largest = embeddings = 0
    for name, shape, nbytes in tensors:
        block, _, rest = name.partition(".")
        number, _, kind = rest.partition(".")
        if block == "blk" and number.isdigit():
            layers[int(number)] += nbytes
            largest = max(largest, nbytes)
            shapes[kind] = shape
        else:
            shapes[name] = shape
            outside += nbytes
            embeddings += nbytes if name == "token_embd.weight" else 0
    vocabulary, embedding = shapes["token_embd.weight"]
    return Shape(
        layers=tuple(nbytes for _, nbytes in sorted(layers.items())),
        input=embeddings,
        output=outside - embeddings,
        largest=largest,
        embedding=embedding,
        feed_forward=shapes["ffn_up.weight"][0],
        keys=shapes["attn_k.weight"][0],
        values=shapes["attn_v.weight"][0],
        vocabulary=vocabulary,
        trained=trained,
        tied="output.weight" not in shapes,
    )
