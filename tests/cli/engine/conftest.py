"""The built-in checkpoint's tokenizer, as an independent library reads it."""

from __future__ import annotations

import pytest
from tokenizers import Tokenizer

from tests.fakes.paths import TINY


@pytest.fixture(scope="session")
def tiny_tokenizer() -> Tokenizer:
    """The `tokenizers` library on tiny's tokenizer.json, independent of r1 and llama.cpp."""
    return Tokenizer.from_file(str(TINY / "tokenizer.json"))
