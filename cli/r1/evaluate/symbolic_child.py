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
from typing import Any

_DIGITS = 100  # in which numbers have to be equal that cannot be shown to be


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

    def read(formula: str) -> list[Any]:
        return list(parse(f"${formula}$", config, fallback_mode="no_fallback", parsing_timeout=0, raise_on_error=True))

    def is_equal(gold: list[Any], answer: list[Any]) -> bool:
        exact = {"float_rounding": _DIGITS, "numeric_precision": _DIGITS}
        return bool(verify(gold, answer, **exact, allow_set_relation_comp=True, timeout_seconds=0, raise_on_error=True))

    def compare(one: str, other: str) -> bool | None:
        try:
            first = read(one)
            progress(1)
            second = read(other)
            progress(2)
            return is_equal(first, second) and is_equal(second, first) if first and second else None
        except MemoryError:
            os._exit(1)  # the next process starts with all its memory
        except Exception:  # any fault in sympy, for a formula that it does not expect
            return None

    return compare


if __name__ == "__main__":
    main(float(sys.argv[1]), int(sys.argv[2]))
