"""What a chat says about limits: the context is full, nearly full, too small; a reply is not whole.

Knows: the choices a person then has. Does not know: how a line is shown.
"""

from __future__ import annotations

from r1.chat.worker import Ready
from r1.engine.context import PromptTooLong
from r1.engine.events import Finished
from r1.settings import Settings
from r1_quantize.errors import R1Error

NEARLY_FULL = 0.85
"""The share of the context from which on people are told."""

_STEP = 256


def explained(error: Exception, ready: Ready | None) -> str:
    """What went wrong, and what can be done about it."""
    if isinstance(error, PromptTooLong):
        return (
            f"too long: {error.tokens:,} tokens, and the context holds {error.length:,}. Shorten it (up brings it "
            f"back), or make room: {_larger(ready, error.tokens)}/trim, /undo or /clear"
        )
    if isinstance(error, R1Error):
        return str(error)
    return f"unforeseen: {type(error).__name__}: {error} (R1_DEBUG=1 shows where)"


def why_it_ended(event: Finished, settings: Settings, ready: Ready | None) -> str:
    """Why a reply is not whole, and what can be done about it."""
    if event.reason == "interrupted":
        return "stopped; what was said is kept (/retry asks again)"
    what = "the answer is not whole" if event.usage.answer_tokens else "there is no answer yet"
    if event.reason == "length":
        return f"{what}: the limit of {settings.max_tokens:,} tokens was reached (/set max-tokens N, /retry)"
    if event.reason == "context":
        held = ready.ctx if ready else 0
        return (
            f"{what}: the context of {held:,} tokens is full. Make room: {_larger(ready, held)}/trim leaves out the "
            "oldest turns, /undo the last, /clear begins anew"
        )
    return "the model ended its turn without an answer (/retry asks again)"


def nearly_full(used: int, ready: Ready) -> str:
    """What is left, before there is nothing left."""
    return (
        f"the context is nearly full: {max(ready.ctx - used, 0):,} of {ready.ctx:,} tokens left. Make room: "
        f"{_larger(ready, used)}/trim leaves out the oldest turns, /clear begins anew"
    )


def _larger(ready: Ready | None, needed: int) -> str:
    """The command that makes the context larger; nothing when the model was trained for no more."""
    if ready is None or ready.ctx >= ready.trained:
        return ""
    roomy = -(-2 * max(ready.ctx, needed) // _STEP) * _STEP
    return f"/set ctx {min(roomy, ready.trained)}, "
