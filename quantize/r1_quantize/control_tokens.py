"""The control tokens that give a conversation with R1 its shape.

Imports nothing but the standard library, because `r1.engine` reads it too.
"""

from __future__ import annotations

CONTROL_TOKENS = {
    "bos": "<｜begin▁of▁sentence｜>",
    "eos": "<｜end▁of▁sentence｜>",
    "user": "<｜User｜>",
    "assistant": "<｜Assistant｜>",
    "think": "<think>",
    "end_think": "</think>",
}
"""Name → text. The ids differ between models."""
