"""Sets of characters, as ranges of code points: unions, complements, and the classes of regular expressions.

The alphabet has no NUL and no halves of surrogate pairs, because no token of a model contributes them.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from functools import cache

from r1.forms.gbnf import Ranges

ALPHABET: Ranges = ((1, 0xD7FF), (0xE000, sys.maxunicode))

_SMALL = 64  # characters: a class that names so few means each of them
_CONTROLS: Ranges = ((1, 8), (11, 12), (14, 31), (0x7F, 0x9F))  # all but tab, line feed and carriage return


def union(*sets: Ranges) -> Ranges:
    """All characters that are in one of the sets."""
    merged: list[tuple[int, int]] = []
    for low, high in sorted(part for ranges in sets for part in ranges):
        if merged and low <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(merged[-1][1], high))
        else:
            merged.append((low, high))
    return tuple(merged)


def common(first: Ranges, second: Ranges) -> Ranges:
    """The characters that are in both sets."""
    found = []
    for low, high in first:
        found += [(max(low, other), min(high, end)) for other, end in second if other <= high and low <= end]
    return union(tuple(found))


def complement(ranges: Ranges) -> Ranges:
    """The other characters of the alphabet."""
    edges = [0, *(edge for low, high in union(ranges) for edge in (low, high + 1)), sys.maxunicode + 1]
    gaps = ((low, high - 1) for low, high in zip(edges[::2], edges[1::2], strict=True) if low < high)
    return common(tuple(gaps), ALPHABET)


def without(ranges: Ranges, others: Ranges) -> Ranges:
    """The characters of the first set that are not in the second."""
    return common(ranges, complement(others))


def size(ranges: Ranges) -> int:
    """The number of characters."""
    return sum(high - low + 1 for low, high in ranges)


def contains(ranges: Ranges, char: str) -> bool:
    """Whether a character is in the set."""
    return any(low <= ord(char) <= high for low, high in ranges)


def writable(ranges: Ranges) -> Ranges:
    """The set without control characters, if it is large: nobody means these by `.` or by `[^,]`."""
    within = common(ranges, ALPHABET)
    return within if size(within) <= _SMALL else without(within, _CONTROLS)


def of(chars: Iterable[str]) -> Ranges:
    """The set of some characters."""
    return union(tuple((ord(char), ord(char)) for char in chars))


def both_cases(ranges: Ranges) -> Ranges:
    """The set with the other case of its ASCII letters."""
    lower, upper = common(ranges, _LOWER), common(ranges, _UPPER)
    return union(ranges, _moved(lower, -32), _moved(upper, 32))


def _moved(ranges: Ranges, distance: int) -> Ranges:
    return tuple((low + distance, high + distance) for low, high in ranges)


_LOWER: Ranges = ((ord("a"), ord("z")),)
_UPPER: Ranges = ((ord("A"), ord("Z")),)
DIGITS: Ranges = ((ord("0"), ord("9")),)
SPACES = of(" \t\n\r\f\v")
WORD = union(_LOWER, _UPPER, DIGITS, of("_"))


@cache
def any_digit() -> Ranges:
    r"""What `\d` can mean somewhere: the decimal digits of all scripts."""
    return _all(str.isdecimal)


@cache
def any_space() -> Ranges:
    r"""What `\s` can mean somewhere: all white space of Unicode, and the byte order mark, as in JavaScript."""
    return union(of(filter(str.isspace, map(chr, range(0x3001)))), of("\ufeff"))  # U+3000 is the last


@cache
def any_word() -> Ranges:
    r"""What `\w` can mean somewhere: all letters, digits and numbers of Unicode, and the underscore."""
    return union(_all(lambda char: char.isalnum()), of("_"))


def _all(holds: Callable[[str], bool]) -> Ranges:
    found: list[tuple[int, int]] = []
    for code in range(sys.maxunicode + 1):
        if holds(chr(code)):
            if found and found[-1][1] == code - 1:
                found[-1] = (found[-1][0], code)
            else:
                found.append((code, code))
    return tuple(found)
