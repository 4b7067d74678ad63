"""GBNF, llama.cpp's notation for grammars: how literals, classes of characters and repetitions are written.

https://github.com/ggml-org/llama.cpp/blob/master/grammars/README.md
"""

from __future__ import annotations

MAX_SIZE = 256 * 1024
"""Characters of a grammar."""

MAX_COUNT = 2000
"""The largest count of a repetition. llama.cpp's parser takes a larger upper bound for none at all."""

Ranges = tuple[tuple[int, int], ...]
"""Code points, as sorted ranges that do not touch. Both ends belong to a range."""

_ESCAPES = {ord("\n"): "\\n", ord("\r"): "\\r", ord("\t"): "\\t", ord('"'): '\\"', ord("\\"): "\\\\"}
_IN_CLASS = {ord(char): f"\\{char}" for char in "[]-\\"}


def literal(text: str) -> str:
    """A GBNF literal for a text, right for every code point.

    Characters that no token can contribute, NUL and halves of surrogate pairs, are written too; they never match.
    """
    return f'"{"".join(_ESCAPES.get(ord(char)) or _readable(ord(char)) for char in text)}"'


def char_class(ranges: Ranges) -> str:
    """A GBNF class of the characters in some ranges."""
    parts = (_in_class(low) if low == high else f"{_in_class(low)}-{_in_class(high)}" for low, high in ranges)
    return f"[{''.join(parts)}]"


def repetition(least: int, most: int | None) -> str:
    """The sign or the count after what is repeated; `most` None: without a bound."""
    if most is None:
        return {0: "*", 1: "+"}.get(least, f"{{{least},}}")
    return "?" if (least, most) == (0, 1) else f"{{{least}}}" if least == most else f"{{{least},{most}}}"


def _in_class(code: int) -> str:
    if code == ord("^"):  # at the beginning it would negate the class
        return "\\x5E"
    if code in _IN_CLASS:
        return _IN_CLASS[code]
    return chr(code) if 0x20 <= code < 0x7F else _escape(code)


def _readable(code: int) -> str:
    return chr(code) if chr(code).isprintable() else _escape(code)


def _escape(code: int) -> str:
    return f"\\x{code:02X}" if code < 0x100 else f"\\u{code:04X}" if code < 0x10000 else f"\\U{code:08X}"
