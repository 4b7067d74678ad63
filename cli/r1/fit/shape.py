"""What of a model decides how much memory it takes, and how fast it can be.

Knows: sizes. Does not know: where they were read (`r1.fit.shape`), or what is free (`fit`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from r1_quantize.catalog import Checkpoint
from r1_quantize.errors import BadGGUF
from r1_quantize.gguf import reader
from r1_quantize.gguf.split import part_names
from r1_quantize.source import Extent


@dataclass(frozen=True, slots=True)
class Shape:
    """Bytes of weights, and numbers of values.

    `layers` has the bytes of each layer's tensors, `input` those of the token embeddings, `output` those of the output
    matrix (none of its own where the embeddings serve as it: `tied`) and of whatever belongs to no layer; `largest` are
    those of a layer's largest tensor. A token has `embedding` values between layers, `feed_forward` inside one, and
    takes `keys` and `values` of them in each layer's KV cache.
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

    @property
    def weights(self) -> int:
        """Bytes of all tensors."""
        return self.input + sum(self.layers) + self.output

    @property
    def bytes_per_token(self) -> int:
        """Bytes of weights that are read to decode one token; of the embeddings it is one row, unless they are tied."""
        return self.weights - (0 if self.tied else self.input)


_LONG = 1 << 17  # tokens: what all six distills were trained for


def shape_of_file(path: Path) -> Shape:
    """That of the GGUF at `path`, or of all the parts that lie beside it; only headers are read. Raises BadGGUF."""
    parts = [reader.read(Path(part)) for part in part_names(str(path))]
    tensors = (Extent(info.name, info.shape[::-1], info.nbytes) for part in parts for info in part.tensors)
    trained = parts[0].metadata.get(f"{parts[0].metadata.get('general.architecture')}.context_length")
    try:
        return shape_of(tensors, trained if isinstance(trained, int) and trained > 0 else _LONG)
    except KeyError as exc:
        raise BadGGUF(f"{path}: the tensor {exc.args[0]} is missing; `r1 list` shows what r1 runs") from exc


def shape_of_checkpoint(known: Checkpoint, quant: str) -> Shape | None:
    """That of what `r1 pull` would make of it; None when the catalogue does not say enough of it.

    Raises UsageError when there is no such quantization.
    """
    # what a model that is here does not need
    from r1_quantize.checkpoint.checkpoint_source import outline
    from r1_quantize.plan import extents_of
    from r1_quantize.recipe import recipe_for

    source = outline(known)
    if source is None:
        return None
    return shape_of(extents_of(source, recipe_for(quant)), known.context_length or _LONG)


def shape_of(tensors: Iterable[Extent], trained: int = _LONG) -> Shape:
    """What the tensors of a Llama or a Qwen2 say, by llama.cpp's names. Raises KeyError for a name that is missing."""
    layers: dict[int, int] = defaultdict(int)
    shapes: dict[str, tuple[int, ...]] = {}
    outside = largest = 0
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
            if name == "token_embd.weight":
                embeddings = nbytes
    rows, columns = shapes["token_embd.weight"]
    return Shape(
        layers=tuple(nbytes for _, nbytes in sorted(layers.items())),
        input=embeddings,
        output=outside - embeddings,
        largest=largest,
        embedding=columns,
        feed_forward=shapes["ffn_up.weight"][0],
        keys=shapes["attn_k.weight"][0],
        values=shapes["attn_v.weight"][0],
        vocabulary=rows,
        trained=trained,
        tied="output.weight" not in shapes,
    )
