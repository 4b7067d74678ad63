"""`r1.serve.scores`: a token and its log-probability."""

from __future__ import annotations

from r1.serve.scores import token_object


def test_a_part_of_a_character_has_its_bytes() -> None:
    """Fields as https://platform.openai.com/docs/api-reference/chat/object names them."""
    first = "é".encode()[:1]
    assert token_object(first, -0.12345678) == {"token": "\ufffd", "logprob": -0.123457, "bytes": [0xC3]}
