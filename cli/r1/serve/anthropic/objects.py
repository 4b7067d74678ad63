"""Objects of Anthropic's API: messages, usage, errors."""

from __future__ import annotations

from secrets import token_hex
from typing import Any

from r1.engine.events import Finished, FinishReason, Usage
from r1.serve.errors import ApiError

SIGNATURE = "cjE="
"""Of thinking blocks. Clients send it back without looking at it, and some drop a block that has an empty one."""

_OVERLOADED = 529
_TOO_LONG = "context_length_exceeded"  # `ApiError.code`

_ERROR_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    408: "timeout_error",
    413: "request_too_large",
    429: "rate_limit_error",
    _OVERLOADED: "overloaded_error",
}

_STOP_REASONS: dict[FinishReason, str] = {
    "stop": "end_turn",
    "length": "max_tokens",
    "context": "model_context_window_exceeded",
    "loop": "max_tokens",  # cut off, as one that is too long
    "interrupted": "pause_turn",  # sent back as it is, the answer goes on
}


def status_of(error: ApiError) -> int:
    """Anthropic's status for a server with too much to do has an exception class of its own in the client."""
    return _OVERLOADED if error.code == "overloaded" else error.status


def error_object(error: ApiError, request_id: str | None = None) -> dict[str, Any]:
    """Clients that shorten a conversation look for Anthropic's words for a prompt that is too long."""
    status = status_of(error)
    kind = _ERROR_TYPES.get(status, "api_error" if status >= 500 else "invalid_request_error")
    message = f"prompt is too long: {error.message}" if error.code == _TOO_LONG else error.message
    return {
        "type": "error",
        "error": {"type": kind, "message": message},
        "request_id": request_id or new_id("req"),
    }


def new_id(kind: str) -> str:
    """Such as `msg_1f0c…`."""
    return f"{kind}_{token_hex(12)}"


def stop_object(finished: Finished, stop_text: str | None) -> dict[str, Any]:
    """Why the reply ended, and at which stop sequence, if it did."""
    reason = _STOP_REASONS[finished.reason] if stop_text is None else "stop_sequence"
    return {"stop_reason": reason, "stop_sequence": stop_text}


def usage_object(usage: Usage) -> dict[str, Any]:
    """The prompt's tokens are the sum of those that were computed and those that were in the KV cache."""
    thinking = usage.thinking_tokens + usage.discarded_tokens
    return {
        "input_tokens": usage.prompt_tokens - usage.cached_tokens,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": usage.cached_tokens,
        "output_tokens": thinking + usage.answer_tokens,
        "output_tokens_details": {"thinking_tokens": thinking},
    }


def thinking_block(thinking: str, signature: str = SIGNATURE) -> dict[str, Any]:
    return {"type": "thinking", "thinking": thinking, "signature": signature}


def text_block(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}


def message_object(
    message_id: str, model: str, content: list[dict[str, Any]], stop: dict[str, Any], usage: dict[str, Any]
) -> dict[str, Any]:
    return {
        "id": message_id,
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": content,
        **stop,
        "usage": usage,
    }
