"""Objects that OpenAI's APIs have in common: usage, log-probabilities, errors; and llama-server's timings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from r1.engine.events import Finished, FinishReason, Scored, Usage
from r1.serve.errors import ApiError
from r1.serve.scores import token_object

_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
}


def error_object(error: ApiError) -> dict[str, Any]:
    kind = _TYPES.get(error.status, "server_error" if error.status >= 500 else "invalid_request_error")
    return {"error": {"message": error.message, "type": kind, "param": error.param, "code": error.code}}


def finish_reason(reason: FinishReason) -> str:
    """OpenAI's word. An answer in circles was cut off as one is that is too long."""
    return "stop" if reason == "stop" else "length"


def usage_object(usages: Sequence[Usage], count: int) -> dict[str, Any]:
    """Of all replies, `count` to each prompt, which counts once. What was thought and taken back was generated, too."""
    prompts = usages[::count]
    prompt = sum(usage.prompt_tokens for usage in prompts)
    reasoning = sum(usage.thinking_tokens + usage.discarded_tokens for usage in usages)
    completion = sum(usage.generated_tokens for usage in usages)
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": sum(usage.cached_tokens for usage in prompts)},
        "completion_tokens_details": {"reasoning_tokens": reasoning},
    }


def timings_object(finished: Finished) -> dict[str, Any]:
    """Tokens, milliseconds and rates, as llama-server has them: of the prompt, and of what was generated."""
    usage, timings, drafted = finished.usage, finished.timings, finished.drafted
    computed = usage.prompt_tokens - usage.cached_tokens
    generated = usage.thinking_tokens + usage.discarded_tokens + usage.answer_tokens
    return {
        "cache_n": usage.cached_tokens,
        **_rates("prompt", computed, timings.ttft_s),
        **_rates("predicted", generated, timings.total_s - timings.ttft_s),
        **({"draft_n": drafted.proposed, "draft_n_accepted": drafted.accepted} if drafted and drafted.proposed else {}),
    }


def _rates(name: str, tokens: int, seconds: float) -> dict[str, Any]:
    return {
        f"{name}_n": tokens,
        f"{name}_ms": round(1e3 * seconds, 3),
        f"{name}_per_token_ms": round(1e3 * seconds / tokens, 3) if tokens else 0.0,
        f"{name}_per_second": round(tokens / seconds, 3) if seconds > 0 else 0.0,
    }


def score_object(score: Scored) -> dict[str, Any]:
    return {
        **token_object(score.piece, score.logprob),
        "top_logprobs": [token_object(piece, logprob) for piece, logprob in score.top],
    }
