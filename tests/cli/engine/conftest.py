"""The built-in checkpoint's tokenizer, as an independent library reads it; tokens chosen by llama.cpp and by NumPy."""

from __future__ import annotations

import pytest
from tokenizers import Tokenizer

from r1.engine import sampler
from tests.fakes.paths import TINY


@pytest.fixture(scope="session")
def tiny_tokenizer() -> Tokenizer:
    """The `tokenizers` library on tiny's tokenizer.json, independent of r1 and llama.cpp."""
    return Tokenizer.from_file(str(TINY / "tokenizer.json"))


@pytest.fixture(params=[False, True], ids=["by llama.cpp", "by NumPy"])
def either_sampler(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """All vocabularies are small ones, or large ones."""
    monkeypatch.setattr(sampler, "_LARGE", 0 if request.param else 1 << 30)
