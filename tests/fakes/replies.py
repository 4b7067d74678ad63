"""Finished replies with given texts and counts."""

from __future__ import annotations

from r1.engine.events import Finished, FinishReason, Timings, Usage
from r1.render.reply_text import Reply


def reply(answer: str, *, thinking: int = 10, tokens: int = 3, reason: FinishReason = "stop") -> Reply:
    """A reply with so many `thinking` tokens, and so many `tokens` in its answer."""
    return Reply(Finished(reason, Usage(5, thinking, tokens), Timings(0.1, 90.0, 30.0, 1.0)), "Hm.", answer)
