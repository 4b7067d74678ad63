"""The control tokens that give a conversation with R1 its shape.

Imports nothing but the standard library, because `r1.engine` reads it too.
"""

from __future__ import annotations

from collections.abc import Sequence

CONTROL_TOKENS = {
    "bos": "<｜begin▁of▁sentence｜>",
    "eos": "<｜end▁of▁sentence｜>",
    "user": "<｜User｜>",
    "assistant": "<｜Assistant｜>",
    "think": "<think>",
    "end_think": "</think>",
}
"""Name → text. The ids differ between models."""


def unusable(missing: Sequence[str]) -> str:
    """Why r1 cannot run a model whose vocabulary lacks these control tokens."""
    return f"r1 cannot run it: it is no DeepSeek-R1 distill, as its vocabulary lacks {', '.join(missing)}"
