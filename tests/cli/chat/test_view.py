"""`r1.chat.view`: the names of models as the chat shows them."""

from __future__ import annotations

import pytest

from r1.chat.view import name_of


@pytest.mark.parametrize(
    ("reference", "name"),
    [("qwen-7b:Q4_K_M", "qwen-7b:Q4_K_M"), ("/models/my model.gguf", "my model.gguf"), ("tiny.gguf", "tiny.gguf")],
)
def test_a_path_is_shown_by_its_last_part(reference: str, name: str) -> None:
    assert name_of(reference) == name
