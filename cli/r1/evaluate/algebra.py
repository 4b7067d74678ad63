r"""Which formulas math-verify reads as they are meant, and how they are given to it.

It never says that it did not understand: what it does not know, it leaves out, as a prime, a unit or the base of 101_2,
and reads words as products of letters. So a formula has to consist of what is known to be read rightly. Decimals become
fractions, because it rounds them.
"""

from __future__ import annotations

import re
from fractions import Fraction
from functools import lru_cache

_REMEMBERED = 1_000  # formulas, each of which is compared with many others

_GREEK = (
    "alpha|beta|gamma|delta|epsilon|varepsilon|zeta|eta|theta|kappa|lambda|mu|nu|xi|rho|sigma|tau|phi|varphi|chi|psi"
    "|omega|Gamma|Delta|Theta|Lambda|Sigma|Phi|Psi|Omega"
)
_FUNCTIONS = "sin|cos|tan|cot|sec|csc|arcsin|arccos|arctan|sinh|cosh|tanh|ln|exp"
_OTHERS = "frac|sqrt|binom|cdot|times|div|pi|infty|leq|geq|neq|cup|cap|in|lfloor|rfloor|lceil|rceil"
_SUBSCRIPT = r"_(?:[A-Za-z0-9]|\{[A-Za-z0-9]{1,3}\})"

_PRODUCT = (  # of variables, and no word
    r"(?!if|is|in|or|to|of|no|on|by|lg)[A-Za-z]{2}|[abc]{3}|[xyz]{3}|[A-Z]{2}[a-z]|[A-Z][a-z][A-Z]|[A-Za-z]"
)
_TOKEN = re.compile(
    rf"\s+|\d+(?![\d.])|[-+*/=<>()|\[\]{{}}^,!:]|\\[{{}}]|\\\\|&|\\(?:begin|end)\{{[pb]matrix\}}"
    rf"|\\(?:{_FUNCTIONS}|{_OTHERS})(?![A-Za-z])"
    rf"|\\log(?:{_SUBSCRIPT})?(?![A-Za-z])"
    rf"|\\(?:{_GREEK})(?![A-Za-z])(?:{_SUBSCRIPT})?"
    r"|\\(?:hat|vec|bar)\s?\{[A-Za-z]\}"
    rf"|[A-Za-z]{{1,2}}{_SUBSCRIPT}(?!\s*\d)|(?:{_PRODUCT})(?![A-Za-z_]|\s*\d)"  # nor A1
)
_MISREAD = re.compile(
    r":.*:"
    r"|\^\s*\{?\s*(?:T|\*)"  # a transpose
    r"|\\frac\s*\{\s*d\s*\w?\s*\}\s*\{\s*d"  # a derivative
    r"|[-+*/=<>^,:]\s*$"
    r"|\^\s*\{?\s*(?:\d{5}|\d+\s*\^)|\d{5}\s*\}?\s*!|!\s*!"  # numbers of more digits than there is room for
)
_DECIMAL = re.compile(r"(?<![\d.])\d*\.\d+(?![\d.])")
_PLAIN = re.compile(rf"(?<![\\A-Za-z])(log|pi|{_FUNCTIONS})(?![A-Za-z])")
_PLAIN_ROOT = re.compile(r"(?<![\\A-Za-z])sqrt\s*\(([^()]*)\)")
_ARRAY = re.compile(r"[(\[]\s*\\begin\{array\}\s*\{[clr]+\}((?:(?!\\(?:begin|end)).)*)\\end\{array\}\s*[)\]]")
_PLUS_MINUS = re.compile(r"\\pm(?![A-Za-z])")
_NAME = re.compile(r"\\[A-Za-z]+|[A-Za-z]")
_CAPITAL = re.compile(r"\\[A-Za-z]+|[A-Z](?!_)")
_INVERSE = re.compile(r"(?<![\\A-Za-z])[fgh]\s*\^\s*(?:\{\s*-\s*1\s*\}|-\s*1)\s*\(")
_SIMPLE = r"\s*(?:\\?[A-Za-z]+|\d+)\s*\)"  # an argument that math-verify knows for one
_OF_SIMPLE = re.compile(rf"(?<![\\A-Za-z])([fgh])\s*\({_SIMPLE}")
_OF_MORE = re.compile(rf"(?<![\\A-Za-z])([fgh])\s*\((?!{_SIMPLE})")
_FRACTION = re.compile(r"\\frac|[/.]")
_DEGREES = re.compile(r"(\d+)\s*\^\\circ")


def for_algebra(one: str, other: str) -> tuple[str, str] | None:
    """Two formulas, as `formula.formula` leaves them, for math-verify; None if it would read something else in them.

    It takes no notice of case, so capitals get other names where it matters.
    """
    first, second = _readable(one), _readable(other)
    if first is None or second is None or _is_function_of_more(one, other) or _is_one_ratio(one, other):
        return None
    if _has_both_cases(first, second):
        first, second = (_CAPITAL.sub(_renamed, formula) for formula in (first, second))
    return None if _has_both_cases(first, second) else (first, second)


def _is_function_of_more(one: str, other: str) -> bool:
    """Whether a function would be taken for a factor, as in f(x+1), and in the inverse of f.

    g and h are gravity and height, too, as in h(a+b), unless one of the formulas has them as functions of something.
    """
    if _INVERSE.search(one) or _INVERSE.search(other):
        return True
    functions = {"f", *_OF_SIMPLE.findall(one), *_OF_SIMPLE.findall(other)}
    return not functions.isdisjoint([*_OF_MORE.findall(one), *_OF_MORE.findall(other)])


def _is_one_ratio(one: str, other: str) -> bool:
    """Whether one is a ratio, and the other neither that nor a fraction: 5:1 is not 5."""
    ratio, second = (one, other) if ":" in one else (other, one)
    return ":" in ratio and ":" not in second and _FRACTION.search(second) is None


def _has_both_cases(first: str, second: str) -> bool:
    names = {*_NAME.findall(first), *_NAME.findall(second)}
    return len({name.casefold() for name in names}) < len(names)


def _renamed(match: re.Match[str]) -> str:
    name = match.group()
    return name if name.startswith("\\") else f"q_{{9{name.casefold()}}}"


@lru_cache(_REMEMBERED)
def _readable(formula: str) -> str | None:
    formula = _PLAIN_ROOT.sub(r"\\sqrt{\1}", formula)
    formula = _PLAIN.sub(r"\\\1", formula)
    formula = _DECIMAL.sub(_as_fraction, formula)
    formula = _DEGREES.sub(r"(\1 \\cdot \\frac{\\pi}{180})", formula)
    if len(_PLUS_MINUS.findall(formula)) == 1:
        formula = ", ".join(_PLUS_MINUS.sub(sign, formula) for sign in "+-")
    formula = _ARRAY.sub(r"\\begin{pmatrix}\1\\end{pmatrix}", formula)
    return formula if _is_known(formula) and _is_closed(formula) and not _MISREAD.search(formula) else None


def _as_fraction(match: re.Match[str]) -> str:
    value = Fraction(match.group())
    return rf"{{\frac{{{value.numerator}}}{{{value.denominator}}}}}"


def _is_known(formula: str) -> bool:
    at = 0
    while (token := _TOKEN.match(formula, at)) is not None:
        at = token.end()
    return at == len(formula)


def _is_closed(formula: str) -> bool:
    """Whether all brackets are closed; `[0, 1)` is."""
    depth = 0
    for bracket in re.findall(r"[()\[\]{}]", formula):
        depth += -1 if bracket in ")]}" else 1
        if depth < 0:
            return False
    return depth == 0
