"""What came of drafts: in words, and as a JSON object."""

from __future__ import annotations

from typing import Any

from r1.engine.events import Drafted
from r1_quantize import units


def drafts_in_words(drafted: Drafted) -> str:
    """`31 of 40 tokens accepted, 2.3 a pass, 1.6 × as fast`."""
    if not drafted.proposed:
        return "none"
    accepted = f"{drafted.accepted:,} of {units.count(drafted.proposed, 'token')} accepted"
    words = f"{accepted}, {drafted.tokens_per_pass:.1f} a pass"
    return words if drafted.speedup is None else f"{words}, {drafted.speedup:.1f} × as fast"


def drafts_object(drafted: Drafted | None) -> dict[str, Any] | None:
    """None without speculation."""
    if drafted is None:
        return None
    return {
        "proposed": drafted.proposed,
        "accepted": drafted.accepted,
        "tokens_per_pass": round(drafted.tokens_per_pass, 4),
        "speedup": None if drafted.speedup is None else round(drafted.speedup, 4),
    }
