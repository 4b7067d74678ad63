"""What of a model decides how much memory it takes, and how fast it can be.

Knows: sizes. Does not know: where they were read (`r1.shapes`), or what is free (`fit`).
"""

from __future__ import annotations

from dataclasses import dataclass


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
