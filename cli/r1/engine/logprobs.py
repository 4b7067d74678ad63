"""The log-probabilities of a reply's tokens, as the model itself gives them.

They are the logarithms of the softmax over its logits, before temperature, top-p, biases and filters: what OpenAI's API
and llama.cpp's server mean by `logprobs`. For 150,000 logits that takes about a millisecond a token, so it is done only
for replies that ask for it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

from r1.engine.events import Scored

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from r1.engine.candidates import Logits


class Scorer:
    """Scores the tokens of one reply: `look` at the logits before they are changed, then `score` the chosen token.

    Threads may look at once, each with a scorer of its own.
    """

    def __init__(self, piece: Callable[[int], bytes], count: int) -> None:
        """`piece` gives the bytes of a token; `count` of the likeliest tokens are listed at each place."""
        import numpy as np

        self._piece = piece
        self._count = count
        self._logprobs: NDArray[np.float32] = np.empty(0, np.float32)  # of the whole vocabulary
        self._likeliest: list[int] = []

    def look(self, logits: Logits) -> None:
        """Takes the logits from which the next token will be chosen."""
        import numpy as np

        row = np.array(logits, np.float32)
        row -= row.max()
        row -= np.float32(math.log(np.exp(row).sum(dtype=np.float64)))
        self._logprobs, self._likeliest = row, _first(row, self._count)

    def score(self, token: int, *, is_thinking: bool) -> Scored:
        """The score of the token that was chosen."""
        top = tuple((self._piece(each), float(self._logprobs[each])) for each in self._likeliest)
        return Scored(self._piece(token), float(self._logprobs[token]), top, is_thinking)


def _first(row: NDArray[np.float32], count: int) -> list[int]:
    """The `count` likeliest tokens, the likeliest first, and equal ones in the order of the vocabulary."""
    import numpy as np

    if not count:
        return []
    found = np.sort(np.argpartition(row, -count)[-count:])
    return [int(token) for token in found[np.argsort(-row[found], kind="stable")]]
