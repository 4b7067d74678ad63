"""How busy the processor is with other programs: what is measured meanwhile comes out too slow.

Knows: psutil's counters. Does not know: what is measured.
"""

from __future__ import annotations

_MOMENT = 0.15  # seconds


def load() -> float | None:
    """The share of all cores that is at work, 0 to 1; None where the system tells nobody (Android)."""
    import psutil

    try:
        return float(psutil.cpu_percent(interval=_MOMENT)) / 100
    except (OSError, RuntimeError, NotImplementedError):
        return None
