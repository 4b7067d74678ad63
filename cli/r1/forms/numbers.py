"""Numbers between two bounds, as GBNF: by their digits, because a grammar cannot compare."""

from __future__ import annotations

from collections.abc import Iterator

from r1.forms.bounds import LARGEST, Bounds


def integers_between(bounds: Bounds) -> str:
    """The integers between two bounds, both included: `integers_between(Bounds(0, 12))` is `[0-9] | "1" [0-2]`."""
    parts = []
    if bounds.low < 0:
        parts += [f'"-" ({_join(_naturals(max(1, -bounds.high), -bounds.low))})']
    if bounds.high >= 0:
        parts += list(_naturals(max(bounds.low, 0), bounds.high))
    return _join(parts)


def numbers_between(bounds: Bounds) -> str:
    """The numbers between two whole bounds, with some digits after the point, so that none is rounded to a bound."""
    given = [abs(bound) for bound in (bounds.low, bounds.high) if abs(bound) < LARGEST]
    digits = max(1, 15 - len(str(max(given, default=0))))
    parts = []
    if bounds.low < 0:
        low, high = max(0, -bounds.high), -bounds.low
        is_low_open = bounds.is_high_open if bounds.high < 0 else True  # no -0
        parts += [f'"-" ({_join(_magnitudes((low, is_low_open), (high, bounds.is_low_open), digits))})']
    if bounds.high > 0 or (bounds.high == 0 and not bounds.is_high_open):
        low, is_open = max(bounds.low, 0), bounds.is_low_open and bounds.low >= 0
        parts += list(_magnitudes((low, is_open), (bounds.high, bounds.is_high_open), digits))
    return _join(parts)


def _magnitudes(low: tuple[int, bool], high: tuple[int, bool], digits: int) -> Iterator[str]:
    """The numbers between two natural ones, each with whether it is left out."""
    (least, is_low_open), (most, is_high_open) = low, high
    start = least
    if is_low_open and least < most:  # a little more than the bound
        yield f'"{least}." [0-9]{{0,{digits - 1}}} [1-9]'
        start = least + 1
    if start < most:
        yield f'({_join(_naturals(start, most - 1))}) ("." [0-9]{{1,{digits}}})?'
    if not is_high_open and (start <= most):
        yield f'"{most}" (".0")?'


def _naturals(low: int, high: int) -> Iterator[str]:
    """The natural numbers from `low` to `high`: one alternative for each number of digits and common beginning."""
    while len(str(low)) < len(str(high)):
        length = len(str(low))
        if low == 10 ** (length - 1) and low > 0:
            most = len(str(high + 1)) - 1  # digits of the largest 99…9
            yield f"[1-9]{_any(length - 1)}" if most == length else f"[1-9] [0-9]{{{length - 1},{most - 1}}}"
            low = 10**most
        else:
            yield from _of_one_length(str(low), "9" * length)
            low = 10**length
    if low <= high:
        yield from _of_one_length(str(low), str(high))


def _of_one_length(low: str, high: str) -> Iterator[str]:
    if not low:
        return
    if set(low[1:]) <= {"0"} and set(high[1:]) <= {"9"}:
        yield f"{_digit(low[0], high[0])}{_any(len(low) - 1)}"
    elif low[0] == high[0]:
        yield f'"{low[0]}" ({_join(_of_one_length(low[1:], high[1:]))})'
    else:
        rest = len(low) - 1
        first, last = int(low[0]), int(high[0])
        if low[1:].strip("0"):
            yield f'"{first}" ({_join(_of_one_length(low[1:], "9" * rest))})'
            first += 1
        is_partial = bool(high[1:].strip("9"))
        if first <= last - is_partial:
            yield f"{_digit(str(first), str(last - is_partial))}{_any(rest)}"
        if is_partial:
            yield f'"{last}" ({_join(_of_one_length("0" * rest, high[1:]))})'


def _digit(low: str, high: str) -> str:
    return f'"{low}"' if low == high else f"[{low}-{high}]"


def _any(count: int) -> str:
    return f" [0-9]{{{count}}}" if count > 1 else " [0-9]" * count


def _join(parts: Iterator[str] | list[str]) -> str:
    return " | ".join(parts)
