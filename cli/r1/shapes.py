"""A GGUF, a plan for one, or a checkpoint of the catalogue → what decides how much memory it takes.

Knows: which tensor says what. Does not know: what is free, or what fits (`r1.fit.plan`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from r1.fit.shape import Shape
from r1_quantize.catalog import Checkpoint
from r1_quantize.errors import BadGGUF
from r1_quantize.gguf import reader
from r1_quantize.gguf.split import part_names
from r1_quantize.source import Extent

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
