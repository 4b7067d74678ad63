"""How the next token is chosen: temperature, top-p, seed."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

MAX_SEED = 0xFFFF_FFFE  # 0xFFFFFFFF asks llama.cpp for a random seed


def random_seed() -> int:
    """A seed from the system's random numbers. The module `secrets` would load OpenSSL for it."""
    return int.from_bytes(os.urandom(8), "little") % (MAX_SEED + 1)


@dataclass(frozen=True, slots=True)
class SamplingParams:
    """The defaults are DeepSeek's advice for R1. Temperature 0 always takes the likeliest token."""

    temperature: float = 0.6
    top_p: float = 0.95
    seed: int = field(default_factory=random_seed)
    max_tokens: int = 32_768
