"""Numbers between two bounds, as GBNF: by their digits, because a grammar cannot compare."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from decimal import Decimal

from r1.forms.bounds import LARGEST, Bounds

_WITH_ZERO = ' (".0")?'


def integers_between(bounds: Bounds) -> str:
    """The integers between two bounds, both included: from 0 to 12 they are `[0-9] | "1" [0-2]`."""
    low, high = int(bounds.low), int(bounds.high)
    parts = [f'"-" ({_join(_naturals(max(1, -high), -low))})'] if low < 0 else []
    if high >= 0:
        parts += _naturals(max(low, 0), high)
    return _join(parts)


def numbers_between(bounds: Bounds) -> str:
    """The numbers between two bounds, with some digits after the point, so that none is rounded to a bound."""
    places = max(0, *(-int(bound.as_tuple().exponent) for bound in (bounds.low, bounds.high)))
    given = [abs(bound) for bound in (bounds.low, bounds.high) if abs(bound) < LARGEST]
    # a double holds 15 digits
    magnitudes = _Magnitudes(places, max(1, 15 - places - len(str(int(max(given, default=Decimal(0)))))))
    parts = []
    if bounds.low < 0:
        is_below = bounds.high < 0
        near = (-bounds.high, bounds.is_high_open) if is_below else (Decimal(0), True)  # no -0
        parts.append(f'"-" ({_join(magnitudes.between(near, (-bounds.low, bounds.is_low_open)))})')
    if bounds.high > 0 or (bounds.high == 0 and not bounds.is_high_open):
        near = (bounds.low, bounds.is_low_open) if bounds.low >= 0 else (Decimal(0), False)
        parts += magnitudes.between(near, (bounds.high, bounds.is_high_open))
    return _join(parts)


@dataclass(frozen=True, slots=True)
class _Magnitudes:
    """Numbers from 0 on, with up to `places + more` digits after the point."""

    places: int
    """Digits after the point that the bounds have."""
    more: int

    def between(self, low: tuple[Decimal, bool], high: tuple[Decimal, bool]) -> Iterator[str]:
        """The numbers between two, each with whether it is left out."""
        (least, is_low_open), (most, is_high_open) = low, high
        start, end = self._scaled(least), self._scaled(most)
        if is_low_open and start < end:
            yield f"{self._exactly(start)} {self._a_little}"
            start += 1
        if start < end:
            yield from self._steps(start, end - 1)
        if not is_high_open and start <= end:
            yield f"{self._exactly(end)}{'' if self.places else _WITH_ZERO}"

    def _scaled(self, value: Decimal) -> int:
        return int(value.scaleb(self.places))

    def _exactly(self, scaled: int) -> str:
        whole, part = divmod(scaled, 10**self.places)
        return f'"{whole}.{part:0{self.places}d}"' if self.places else f'"{whole}"'

    @property
    def _a_little(self) -> str:
        point = "" if self.places else '"." '
        return f"{point}[0-9]{{0,{self.more - 1}}} [1-9]"

    def _steps(self, start: int, end: int) -> Iterator[str]:
        """The numbers from `start` to less than `end + 1`, in units of the last place."""
        if not self.places:
            yield f'({_join(_naturals(start, end))}) ("." [0-9]{{1,{self.more}}})?'
            return
        unit = 10**self.places
        first, last = -(-start // unit), (end + 1) // unit - 1  # whole numbers that have all their parts
        if first > last:
            yield from self._parts(start, min(end, (start // unit) * unit + unit - 1))
            if end // unit > start // unit:
                yield from self._parts((end // unit) * unit, end)
            return
        if start < first * unit:
            yield from self._parts(start, first * unit - 1)
        yield f'({_join(_naturals(first, last))}) ("." [0-9]{{1,{self.places + self.more}}})?'
        if end >= (last + 1) * unit:
            yield from self._parts((last + 1) * unit, end)

    def _parts(self, start: int, end: int) -> Iterator[str]:
        """Numbers of one whole part."""
        whole, low = divmod(start, 10**self.places)
        high = end % 10**self.places
        digits = _join(_of_one_length(f"{low:0{self.places}d}", f"{high:0{self.places}d}"))
        yield f'"{whole}." ({digits}) [0-9]{{0,{self.more}}}'


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


def _join(parts: Iterable[str]) -> str:
    return " | ".join(parts)
