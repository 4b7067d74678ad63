"""`--tensor-type PATTERN=TYPE`: a type for some tensors that is not the recipe's.

Knows: how such a wish is written, and that the first one that fits a name counts. Does not know: recipes.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

from r1_quantize.errors import UsageError
from r1_quantize.gguf.tensor_type import TensorType
from r1_quantize.recipe import TENSOR_TYPES


@dataclass(frozen=True, slots=True)
class Override:
    """A type for every tensor whose name the expression is found in, instead of what the recipe says."""

    pattern: re.Pattern[str]
    type: TensorType

    @classmethod
    def parse(cls, text: str) -> Override:
        """`PATTERN=TYPE`, as in `ffn_down=q6_k`. Raises UsageError."""
        pattern, separator, name = text.rpartition("=")
        if not (pattern and separator):
            raise UsageError(f"--tensor-type {text!r:.80}: expected PATTERN=TYPE, as in ffn_down=Q6_K")
        if (found := TENSOR_TYPES.get(name.upper())) is None:
            raise UsageError(f"--tensor-type {text!r:.80}: {name!r:.40} is none of {', '.join(TENSOR_TYPES)}")
        try:
            with warnings.catch_warnings(action="ignore"):  # of what may mean something else one day
                return cls(re.compile(pattern), found)
        except (re.error, OverflowError, RecursionError) as exc:
            raise UsageError(f"--tensor-type {text!r:.80}: not a regular expression ({exc})") from exc

    def __str__(self) -> str:
        return f"{self.pattern.pattern}={self.type.name}"


def override_for(overrides: Sequence[Override], name: str) -> TensorType | None:
    """The type of the first override that fits a tensor's name."""
    return next((override.type for override in overrides if override.pattern.search(name)), None)
