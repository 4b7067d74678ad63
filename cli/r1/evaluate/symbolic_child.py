r"""The program that `symbolic.Verifier` starts: whether two formulas are equal, by math-verify, one pair a line.

    python -P symbolic_child.py SECONDS BYTES

First it writes `null`: it is ready. Then, for each JSON array of two formulas on stdin, it writes `1` and `2` when it
has read so many of them, and `true`, `false`, or `null` for formulas that math-verify cannot read. A comparison that
takes longer than SECONDS, or needs more memory than BYTES, ends the process; the end of stdin ends it too. It imports
nothing of r1, and runs from where r1 is installed.
"""

from __future__ import annotations

import contextlib
import faulthandler
import json
import logging
import os
import sys
from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple
from zlib import crc32

_DIGITS = 100  # in which numbers have to be equal that cannot be shown to be
_VALUE_DIGITS = 50  # of a formula's value
_INEXACT = 1e-12  # share of a value that may be wrong in it
_REMEMBERED = 500  # formulas


def main(limit_s: float, memory: int) -> None:
    """Answers until stdin ends."""
    replies = sys.stdout
    sys.stdout = sys.stderr  # for what sympy and antlr print
    logging.disable()
    compare = _comparison(lambda read: _write(replies, read))
    _limit_memory(memory)
    _write(replies, None)
    for line in sys.stdin:
        # The watching thread is in C and does not wait for Python's lock: a single huge power can hold that for hours.
        faulthandler.dump_traceback_later(limit_s, exit=True)
        result = compare(*json.loads(line))
        faulthandler.cancel_dump_traceback_later()
        _write(replies, result)


def _write(replies: Any, result: bool | int | None) -> None:
    replies.write(f"{json.dumps(result)}\n")
    replies.flush()


def _limit_memory(size: int) -> None:
    """Of the address space; where there is no such limit (Windows, partly macOS), the time limit has to do."""
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        if sys.platform != "win32":
            resource.setrlimit(resource.RLIMIT_AS, (size, size))


def _comparison(progress: Callable[[int], None]) -> Callable[[str, str], bool | None]:
    """`progress` gets the number of formulas that were read, after each."""
    from math_verify import LatexExtractionConfig, LatexNormalizationConfig, parse, verify

    # No units are taken off: math-verify takes `t` and `h` for units, and so 2t for 2.
    normalization = LatexNormalizationConfig(malformed_operators=True, nits=True, boxed="none")
    config = [LatexExtractionConfig(boxed_match_priority=-1, normalization_config=normalization)]

    @lru_cache(_REMEMBERED)
    def read(formula: str) -> list[Any]:
        return list(parse(f"${formula}$", config, fallback_mode="no_fallback", parsing_timeout=0, raise_on_error=True))

    value = _values(read)

    def is_equal(gold: list[Any], answer: list[Any]) -> bool:
        exact = {"float_rounding": _DIGITS, "numeric_precision": _DIGITS}
        return bool(verify(gold, answer, **exact, allow_set_relation_comp=True, timeout_seconds=0, raise_on_error=True))

    def compare(one: str, other: str) -> bool | None:
        try:
            first = read(one)
            progress(1)
            second = read(other)
            progress(2)
            if not first or not second:
                return None
            if _differ(value(one), value(other)):
                return False
            return is_equal(first, second) and is_equal(second, first)
        except MemoryError:
            os._exit(1)  # the next process starts with all its memory
        except Exception:  # any fault in sympy, for a formula that it does not expect
            return None

    return compare


class _Value(NamedTuple):
    """The number that a formula is where each variable is one. `name` is what it is of, as in y = 2x."""

    name: str | None
    real: Any
    imaginary: Any


def _values(read: Callable[[str], list[Any]]) -> Callable[[str], _Value | None]:
    """A function that tells the value of a formula, where each variable has a number of its own.

    Two formulas with different values are different, which is found out far faster than by simplifying them. The
    numbers are positive: there, what is equal stays equal, whatever simplifying assumes of a variable. None for other
    equations, sets, single variables, unknown functions, and where there is no finite value.
    """
    from sympy import Eq, Expr, Float, Rational, Symbol
    from sympy.core.function import AppliedUndef

    @lru_cache(_REMEMBERED)
    def value(formula: str) -> _Value | None:
        forms = read(formula)
        with contextlib.suppress(ArithmeticError, ValueError, TypeError, RecursionError):  # too large, or no value
            return evaluated(*without_name(forms[0])) if len(forms) == 1 else None
        return None

    def without_name(read: Any) -> tuple[str | None, Any]:
        if isinstance(read, Eq) and isinstance(read.lhs, Symbol | AppliedUndef) and not read.rhs.has(read.lhs):
            return str(read.lhs), read.rhs
        return None, read

    def evaluated(name: str | None, read: Any) -> _Value | None:
        is_plain = isinstance(read, Expr) and not isinstance(read, Symbol) and not read.is_Matrix
        if not is_plain or read.has(AppliedUndef):
            return None
        numbers = {symbol: number(symbol.name) for symbol in read.free_symbols}
        real, imaginary = read.subs(numbers).evalf(_VALUE_DIGITS).as_real_imag()
        are_finite = all(part.is_Number and part.is_finite for part in (real, imaginary))
        return _Value(name, real, imaginary) if are_finite else None

    def number(name: str) -> Any:
        return Float(1 + Rational(crc32(name.encode()), 1 << 32), _DIGITS)

    return value


def _differ(one: _Value | None, other: _Value | None) -> bool:
    """Whether two values differ by more than any inexactness in them. y = 2x and x = y/2 can be the same."""
    if one is None or other is None or (one.name and other.name and one.name != other.name):
        return False
    pairs = ((one.real, other.real), (one.imaginary, other.imaginary))
    return any(bool(abs(first - second) > _INEXACT * (1 + abs(first) + abs(second))) for first, second in pairs)


if __name__ == "__main__":
    main(float(sys.argv[1]), int(sys.argv[2]))
