"""Objects that Ollama's routes have in common: moments, the figures of a reply, log-probabilities, errors."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from r1.engine.events import Finished, FinishReason, Scored
from r1.serve.errors import ApiError
from r1.serve.scores import token_object

_NS = 1_000_000_000


def error_object(error: ApiError) -> dict[str, Any]:
    return {"error": error.message}


def moment(ns: int) -> str:
    """Nanoseconds since 1970 as RFC 3339 has them: 2026-01-31T14:05:00.123456789Z."""
    seconds, rest = divmod(ns, _NS)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest:09d}Z"


def done_reason(reason: FinishReason) -> str:
    """Ollama's word. An answer in circles was cut off as one is that is too long."""
    return "stop" if reason == "stop" else "length"


def figures(finished: Finished, load_s: float, total_ns: int) -> dict[str, int]:
    """Tokens and nanoseconds of one reply."""
    usage, timings = finished.usage, finished.timings
    return {
        "total_duration": total_ns,
        "load_duration": round(load_s * _NS),
        "prompt_eval_count": usage.prompt_tokens,
        "prompt_eval_duration": round(timings.ttft_s * _NS),
        "eval_count": usage.generated_tokens,
        "eval_duration": round((timings.total_s - timings.ttft_s) * _NS),
    }


def logprobs(scores: Iterable[Scored]) -> list[dict[str, Any]]:
    return [
        {
            **token_object(score.piece, score.logprob),
            **({"top_logprobs": [token_object(piece, logprob) for piece, logprob in score.top]} if score.top else {}),
        }
        for score in scores
    ]
