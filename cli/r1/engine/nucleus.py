"""Top-p over a large vocabulary, in a fraction of the time that llama.cpp's sampler takes.

llama.cpp's computes the probabilities of 150,000 tokens one by one, and sorts all tokens if more than 256 are needed.
Here NumPy computes them, and only tokens that can be among the first are sorted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from r1.engine.candidates import Logits

if TYPE_CHECKING:
    from numpy.typing import NDArray

_LIKELY = 1e-4
"""As a share of the likeliest token's probability. Mostly the tokens above it are enough."""

_TOKEN_DATA = [("id", "i4"), ("logit", "f4"), ("p", "f4")]  # struct llama_token_data


def nucleus(logits: Logits, temperature: float, top_p: float) -> NDArray[Any]:
    """The fewest of the likeliest tokens whose probabilities at this temperature, above 0, add up to `top_p`.

    An array of `llama_token_data`, the likeliest token first. The logits are divided by the temperature, and the first
    one is 0; `p` is not set.
    """
    import numpy as np

    with np.errstate(all="ignore"):  # a damaged model's may be infinite
        scaled = np.asarray(logits, np.float32) / np.float32(temperature)
        scaled -= scaled.max()
    weights = np.exp(scaled)
    total = float(weights.sum())
    rare = (1 - top_p) * total / len(weights)  # without all tokens below it, `top_p` is still reached
    for least in (_LIKELY, rare, 0.0):
        tokens = np.flatnonzero(~(weights < least))  # with those of a damaged model that are no numbers
        if float(weights[tokens].sum()) >= top_p * total:
            break
    tokens = tokens[np.argsort(-weights[tokens])]
    reached = int(np.searchsorted(np.cumsum(weights[tokens], dtype=np.float64), top_p * total))
    tokens = tokens[: reached + 1]
    table = np.zeros(len(tokens), _TOKEN_DATA)
    table["id"], table["logit"] = tokens, scaled[tokens]
    return table


def likeliest(logits: Logits) -> int:
    """The token with the highest logit, the first of them if several have it."""
    import numpy as np

    return int(np.asarray(logits, np.float32).argmax())
