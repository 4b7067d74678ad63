"""Bars of a chart, and whether a stream can show them."""

from __future__ import annotations

_BLOCKS = " ▏▎▍▌▋▊▉█"


def bar(share: float, columns: int, *, is_ascii: bool) -> str:
    """A bar of `share` (0 to 1) of `columns`, to an eighth of a column where blocks can be shown; 0 is empty."""
    if is_ascii:
        return "#" * round(share * columns)
    full, eighths = divmod(round(share * columns * 8), 8)
    return "█" * full + (_BLOCKS[eighths] if eighths else "")


def can_show(encoding: str | None) -> bool:
    """Whether blocks and ± can be encoded; None is a stream in memory."""
    try:
        f"±{_BLOCKS}".encode(encoding or "utf-8")
    except (UnicodeEncodeError, LookupError):
        return False
    return True
