"""Bytes, parameters and seconds in the units people read."""

from __future__ import annotations


def size(count: int) -> str:
    """Bytes in decimal units, as shops and file managers count: 1.12 GB."""
    value = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 999.5:  # which three digits would round up to the next unit
            return f"{value:.3g} {unit}"
        value /= 1000
    return f"{value:.3g} TB"


def part(done: int, total: int) -> str:
    """Bytes of how many: 1.2 of 3.55 GB, or 950 kB of 3.55 GB."""
    some, all_of_it = size(done), size(total)
    number, unit = some.split()
    return f"{number} of {all_of_it}" if all_of_it.endswith(f" {unit}") else f"{some} of {all_of_it}"


def parameters(count: int) -> str:
    """1777088000 → 1.78 B."""
    if count < 999_500_000:
        return f"{count / 1e6:.3g} M"
    return f"{count / 1e9:.3g} B"


def duration(seconds: float) -> str:
    """7 s, 2:05 min, 1:02 h."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60}:{whole % 60:02} min"
    return f"{whole // 3600}:{whole % 3600 // 60:02} h"
