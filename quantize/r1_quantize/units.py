"""Bytes, parameter counts and seconds in the units people read."""

from __future__ import annotations

from datetime import datetime


def size(count: int) -> str:
    """Bytes in decimal units, as disk makers and file managers count them: 1.12 GB."""
    value = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 999.5:  # more would round to 1000 at three digits
            return f"{value:.3g} {unit}"
        value /= 1000
    return f"{value:.3g} TB"


def count(number: int, noun: str) -> str:
    """`1 turn`, `2 turns`, `3,000 turns`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def minute(moment: float) -> str:
    """A time in seconds since 1970 as local date and time: 2026-01-31 14:05."""
    return datetime.fromtimestamp(moment).strftime("%Y-%m-%d %H:%M")


def part(done: int, total: int) -> str:
    """Bytes done of a total: 1.2 of 3.55 GB, or 950 kB of 3.55 GB."""
    so_far, complete = size(done), size(total)
    number, unit = so_far.split()
    return f"{number} of {complete}" if complete.endswith(f" {unit}") else f"{so_far} of {complete}"


def parameters(count: int) -> str:
    """1777088000 → 1.78 B."""
    if count < 999_500_000:
        return f"{count / 1e6:.3g} M"
    return f"{count / 1e9:.3g} B"


def duration(seconds: float) -> str:
    """`7 s`, `4 min 5 s`, `1 h 2 min`, rounded to the smaller unit."""
    total = max(0, round(seconds))
    if total < 60:
        return f"{total} s"
    minutes, rest = divmod(total, 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"
