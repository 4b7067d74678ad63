"""The built-in checkpoint's tokenizer, as an independent library reads it."""

from __future__ import annotations

from pathlib import Path

import pytest
from tokenizers import Tokenizer

import r1_quantize

TINY = Path(r1_quantize.__path__[0]) / "store" / "tiny"


@pytest.fixture(scope="session")
def tiny_tokenizer() -> Tokenizer:
    """`tokenizers` on tiny's tokenizer.json: no code of ours or of llama.cpp."""
    return Tokenizer.from_file(str(TINY / "tokenizer.json"))
