"""A token and its log-probability, as OpenAI and Ollama write them."""

from __future__ import annotations

from typing import Any


def token_object(piece: bytes, logprob: float) -> dict[str, Any]:
    """With its bytes, because a token can be a part of a character."""
    return {"token": piece.decode("utf-8", "replace"), "logprob": round(logprob, 6), "bytes": list(piece)}
