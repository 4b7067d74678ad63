r"""`r1.markdown.precedence`: a formula on one line has the value that it has in LaTeX, and no bracket too many.

Random expressions are written as LaTeX, by a printer here and by sympy's, and rendered. `Reader` then calculates the
value of what is on the screen. It knows Unicode's small signs and the usual precedence, and nothing of our own code:

    scripts, √ and ! bind tightest; then factors side by side; then · × ÷ and /, from left to right; then + and -.

Where readers are known to differ, the reader refuses: `a/bc`, `√a/b`, `√a²`, `sin x/y`, `-a` behind an operator.
"""

from __future__ import annotations

import cmath
import math as numbers
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

import pytest
import sympy
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from r1.markdown.math import math

VALUES = {
    "e": numbers.e,
    "i": 1j,
    "x": 1.37,
    "y": 0.83,
    "z": 2.21,
    "a": 1.91,
    "b": 0.59,
    "n": 3.0,
    "k": 2.0,
    "π": cmath.pi,
    "θ": 0.71,
}
NAMED = {"sin": cmath.sin, "cos": cmath.cos, "tan": cmath.tan, "ln": cmath.log, "exp": cmath.exp}
ROOTS = {"√": 2, "∛": 3, "∜": 4}
PAIRS = {"(": ")", "|": "|", "[": "]"}


class Ambiguous(Exception):
    """People would not agree on the value."""


class Reader:
    """The value of a formula of one line."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.in_bars = False  # the next bar is the closing one

    @classmethod
    def value(cls, text: str) -> complex:
        reader = cls(text)
        result = reader.sum()
        if reader.at < len(text):
            raise Ambiguous(f"{text[reader.at :]!r} at the end of {text!r}")
        return result

    def take(self, pattern: str) -> str:
        match = re.compile(pattern).match(self.text, self.at)
        self.at = match.end() if match else self.at
        return match[0] if match else ""

    def sees(self, pattern: str) -> bool:
        return re.compile(pattern).match(self.text, self.at) is not None

    def sum(self) -> complex:
        sign = -1 if self.take("-") else 1
        total = sign * self.term()
        while sign := self.take(r" [+-] |[+-]"):
            total += self.term() * (-1 if "-" in sign else 1)
        return total

    def term(self) -> complex:
        product = self.factors()
        while operator := self.take(r" ?[·×÷] ?|/").strip():
            if self.sees("-"):
                raise Ambiguous(self.text[self.at :])
            factor = self.factors(is_divisor=operator == "/")
            product = product / factor if operator in {"/", "÷"} else product * factor
        return product

    def factors(self, *, is_divisor: bool = False) -> complex:
        """Factors side by side. Before a `/` they are without a space, behind it there is only one."""
        if mixed := re.compile(r"(\d+) (\d+)/(\d+)").match(self.text, self.at):
            self.at = mixed.end()
            return int(mixed[1]) + int(mixed[2]) / int(mixed[3])
        begin = self.at
        product = self.factor()
        count = 1
        while self.sees(r" ?[a-z0-9πθ(\[√∛∜|]| [⁰¹²³⁴-⁹]+√") and not (self.in_bars and self.sees(r" ?\|")):
            self.take(" ")
            product *= self.factor()
            count += 1
        written = self.text[begin : self.at]
        outside = re.sub(r"\(.*\)|\[.*\]|\|.*\|", "", written)
        if is_divisor and count > 1:
            raise Ambiguous(f"/{written}")
        if self.sees("/") and (" " in outside or re.search(r"[√∛∜]\w+$", written)):
            raise Ambiguous(f"{written}/")
        return product

    def factor(self) -> complex:
        if name := self.take("sin|cos|tan|ln|exp"):
            return self.function(name)
        begin = self.text[self.at : self.at + 1]
        value = self.atom()
        if begin in ROOTS and self.sees(r"[!^⁰-⁹ⁿᵃ-ᶻ²³¹]") and self.text[self.at - 1] != ")":
            raise Ambiguous(self.text[self.at - 2 :])
        value = (value + 0j) ** self.power() if self.has_power() else value  # + 0j: no negative zero
        while self.take("!"):
            value = numbers.factorial(round(value.real))
        return value

    def function(self, name: str) -> complex:
        power = self.power() if self.has_power() else 1
        if self.sees(r"[(|]"):
            value = NAMED[name](self.atom()) + 0j
            power = self.power() if self.has_power() else power
        else:
            self.take(" ")
            value = NAMED[name](self.factors())
            if self.sees("/"):
                raise Ambiguous(f"{name} x/y")
        return complex((value + 0j) ** power)

    def atom(self) -> complex:
        if digits := self.take(r"\d+(?:\.\d+)?"):
            return complex(float(digits))
        if degree := self.take("[⁰¹²³⁴-⁹]+(?=√)"):
            self.take("√")
            return (self.atom() + 0j) ** (1 / int(unicodedata.normalize("NFKD", degree)))
        if sign := self.take("[√∛∜]"):
            return (self.atom() + 0j) ** (1 / ROOTS[sign])
        if bracket := self.take(r"[(\[|]"):
            outer, self.in_bars = self.in_bars, bracket == "|"
            value = self.sum()
            self.in_bars = outer
            if not self.take(re.escape(PAIRS[bracket])):
                raise Ambiguous(f"{self.text} lacks {PAIRS[bracket]}")
            return complex(abs(value)) if bracket == "|" else value
        letter = self.take(r"[^\W\d_]")
        if letter not in VALUES:
            raise Ambiguous(f"{letter!r} in {self.text!r}")
        return complex(VALUES[letter])

    def has_power(self) -> bool:
        return self.sees(r"\^") or bool(small(self.text[self.at : self.at + 1]))

    def power(self) -> complex:
        if self.take(r"\^"):
            return self.atom()
        raised = ""
        while sign := small(self.text[self.at : self.at + 1]):
            raised += sign
            self.at += 1
        return Reader.value(raised)


def small(sign: str) -> str:
    """What a superscript stands for, by Unicode's database; empty for any other character."""
    form, _, code = unicodedata.decomposition(sign).partition(" ") if sign else ("", "", "")
    return chr(int(code, 16)).replace("−", "-") if form == "<super>" else ""


@dataclass(frozen=True)
class Written:
    """An expression in LaTeX, with its value and how tightly its last operation binds."""

    latex: str
    value: Callable[[], complex]
    tight: int  # 0: a sum, 1: a sign, 2: × ÷ and /, 3: factors side by side, 4: a power or root, 5: a symbol or group

    def within(self, tight: int, brackets: str = "()") -> str:
        """Its LaTeX, in brackets if it binds less tightly than `tight`."""
        left, right = {"()": "()", "big": (r"\left(", r"\right)"), "[]": "[]", "big[]": (r"\left[ ", r" \right]")}[
            brackets
        ]
        return self.latex if self.tight >= tight else f"{left}{self.latex}{right}"


def principal(value: complex) -> complex:
    """`value`, unless powers and logarithms jump there."""
    if value.real <= 0 and abs(value.imag) < 1e-9:
        raise ValueError("on the branch cut")
    return complex(value)


BRACKETS = st.sampled_from(["()", "big", "()", "big", "big[]"])
SYMBOLS = {"x": "x", "y": "y", "a": "a", "b": "b", "n": "n", "π": r"\pi", "θ": r"\theta"}


@cache
def symbol(name: str) -> Written:
    return Written(SYMBOLS[name], lambda: VALUES[name], 5)


def number(value: int) -> Written:
    return Written(str(value), lambda: value, 5)


@st.composite
def sums(draw: st.DrawFn, inner: st.SearchStrategy[Written]) -> Written:
    parts = draw(st.lists(inner, min_size=2, max_size=3))
    signs = draw(st.lists(st.sampled_from(["+", "-", " + ", " - "]), min_size=len(parts) - 1, max_size=len(parts) - 1))
    brackets = draw(BRACKETS)
    latex = parts[0].within(1, brackets)
    for sign, part in zip(signs, parts[1:], strict=True):
        latex += sign + part.within(2, brackets)
    factors = [1, *(-1 if "-" in sign else 1 for sign in signs)]
    return Written(latex, lambda: sum(f * part.value() for f, part in zip(factors, parts, strict=True)), 0)


@st.composite
def signs(draw: st.DrawFn, inner: st.SearchStrategy[Written]) -> Written:
    part = draw(inner)
    return Written("-" + draw(st.sampled_from(["", " "])) + part.within(2, draw(BRACKETS)), lambda: -part.value(), 1)


@st.composite
def fractions(draw: st.DrawFn, inner: st.SearchStrategy[Written]) -> Written:
    above, below = draw(inner), draw(inner)
    command = draw(st.sampled_from(["frac", "dfrac", "tfrac", "cfrac", "over", "short"]))
    if command == "over":
        latex = rf"{{{above.latex} \over {below.latex}}}"
    elif command == "short" and len(above.latex) == len(below.latex) == 1:
        latex = rf"\frac {above.latex}{below.latex}"
    else:
        latex = rf"\{command if command != 'short' else 'frac'}{{{above.latex}}}{{{below.latex}}}"
    return Written(latex, lambda: above.value() / below.value(), 5)


@st.composite
def divisions(draw: st.DrawFn, inner: st.SearchStrategy[Written]) -> Written:
    above, below, brackets = draw(inner), draw(inner), draw(BRACKETS)
    sign = draw(st.sampled_from(["/", r" \div "]))
    return Written(
        above.within(4 if sign == "/" else 3, brackets) + sign + below.within(4, brackets),
        lambda: above.value() / below.value(),
        2,
    )


@st.composite
def products(draw: st.DrawFn, inner: st.SearchStrategy[Written]) -> Written:
    parts = draw(st.lists(inner, min_size=2, max_size=3))
    sign = draw(st.sampled_from(["", "", " ", r"\cdot ", r" \times ", r"\,"]))
    brackets = draw(BRACKETS)
    if "c" in sign or "t" in sign:
        latex, tight = sign.join(part.within(3, brackets) for part in parts), 2
    else:
        latex, tight = parts[0].within(4, brackets), 3
        for part in parts[1:]:
            piece = part.within(4, brackets)
            is_number = re.match(r"\d|\\[dtc]?frac|\{", piece) and re.search(r"\d\}*$", latex)
            latex += (r"\cdot " if is_number else sign or " ") + piece
    return Written(latex, lambda: numbers.prod(part.value() for part in parts), tight)


@st.composite
def powers(draw: st.DrawFn, inner: st.SearchStrategy[Written], exponents: st.SearchStrategy[Written]) -> Written:
    base, power = draw(inner), draw(exponents)
    group = draw(st.booleans())
    if base.tight == 5 and not base.latex.startswith("{"):
        below = base.latex
    else:
        below = f"{{{base.latex}}}" if group else base.within(6, draw(BRACKETS))
    return Written(f"{below}^{{{power.latex}}}", lambda: principal(base.value()) ** power.value(), 4)


@st.composite
def roots(draw: st.DrawFn, inner: st.SearchStrategy[Written]) -> Written:
    radicand = draw(inner)
    degree = draw(st.sampled_from([2, 2, 2, 3, 4]))
    command = r"\sqrt" if degree == 2 else rf"\sqrt[{degree}]"
    return Written(f"{command}{{{radicand.latex}}}", lambda: principal(radicand.value()) ** (1 / degree), 4)


@st.composite
def functions(draw: st.DrawFn, inner: st.SearchStrategy[Written]) -> Written:
    name, argument = draw(st.sampled_from(sorted(NAMED))), draw(inner)
    power = draw(st.sampled_from([1, 1, 2, 3]))
    is_plain = re.fullmatch(r"\w|\\(?:pi|theta)|\\frac\{\w\}\{\w\}", argument.latex)
    left, right = draw(st.sampled_from([("(", ")"), (r"\left(", r"\right)"), (r"{\left(", r" \right)}")]))
    written = f" {argument.latex}" if is_plain and draw(st.booleans()) else left + argument.latex + right
    command = rf"\{name}" + (f"^{power}" if power > 1 else "")
    return Written(
        command + written, lambda: NAMED[name](principal(argument.value())) ** power, 2 if written[0] == " " else 4
    )


@st.composite
def sizes(draw: st.DrawFn, inner: st.SearchStrategy[Written]) -> Written:
    part = draw(inner)
    assume("|" not in part.latex and "vert" not in part.latex)  # which bar belongs to which is not to be seen
    left, right = draw(st.sampled_from([("|", "|"), (r"\left|", r"\right|"), (r"\lvert ", r" \rvert")]))
    return Written(f"{left}{part.latex}{right}", lambda: complex(abs(part.value())), 5)


@st.composite
def factorials(draw: st.DrawFn) -> Written:
    count = draw(st.integers(0, 6))
    return Written(f"{count}!", lambda: numbers.factorial(count), 4)


@st.composite
def mixed_numbers(draw: st.DrawFn) -> Written:
    whole, above = draw(st.integers(1, 20)), draw(st.integers(1, 8))
    below = draw(st.integers(above + 1, 9))
    return Written(rf"{whole}\frac{{{above}}}{{{below}}}", lambda: whole + above / below, 3)


LEAVES = st.one_of(st.sampled_from(sorted(SYMBOLS)).map(symbol), st.integers(0, 12).map(number))
EXPONENTS = st.one_of(LEAVES, signs(LEAVES), sums(LEAVES), products(LEAVES), fractions(LEAVES), powers(LEAVES, LEAVES))


def _grown(inner: st.SearchStrategy[Written]) -> st.SearchStrategy[Written]:
    return st.one_of(
        fractions(inner),
        *(make(inner) for make in (sums, signs, fractions, divisions, products, roots, functions, sizes)),
        powers(inner, EXPONENTS),
    )


EXPRESSIONS = st.recursive(st.one_of(LEAVES, LEAVES, factorials(), mixed_numbers()), _grown, max_leaves=9)


def calculated(value: Callable[[], complex]) -> complex:
    """The value, if it is an ordinary number."""
    try:
        result = complex(value())
    except (ArithmeticError, ValueError):
        assume(False)
    assume(cmath.isfinite(result) and 1e-9 < abs(result) < 1e12)
    return result


@settings(max_examples=3 * settings().max_examples)
@given(EXPRESSIONS)
def test_a_rendered_formula_has_the_value_of_its_source(written: Written) -> None:
    value = calculated(written.value)
    text = math(written.latex).plain
    assert Reader.value(text) == pytest.approx(value, rel=1e-6), f"{written.latex} shows {text}"


def rows(names: Sequence[str]) -> st.SearchStrategy[sympy.Expr]:
    """Expressions as sympy orders and simplifies them."""
    leaves = st.one_of(
        st.sampled_from([sympy.Symbol(name) for name in names]),
        st.integers(-6, 9).map(sympy.Integer),
        st.tuples(st.integers(-9, 9), st.integers(1, 9)).map(lambda pair: sympy.Rational(*pair)),
        st.just(sympy.pi),
    )
    small_powers = st.sampled_from(
        [sympy.Rational(*pair) for pair in ((2, 1), (3, 1), (-1, 1), (1, 2), (-1, 2), (2, 3))]
    )

    def grown(inner: st.SearchStrategy[sympy.Expr]) -> st.SearchStrategy[sympy.Expr]:
        pairs, pairs_of_leaves = st.tuples(inner, inner), st.tuples(leaves, leaves)
        return st.one_of(
            pairs.map(lambda pair: pair[0] + pair[1]),
            pairs.map(lambda pair: pair[0] * pair[1]),
            pairs.map(lambda pair: pair[0] / pair[1] if pair[1] != 0 else pair[0]),
            st.tuples(inner, small_powers).map(lambda pair: pair[0] ** pair[1] if pair[0] != 0 else pair[0]),
            st.tuples(st.sampled_from([sympy.sin, sympy.cos, sympy.Abs]), inner).map(lambda pair: pair[0](pair[1])),
            pairs_of_leaves.map(lambda pair: sympy.Integer(2) ** (pair[0] + pair[1])),  # no towers: sympy would hang
            st.tuples(leaves, st.integers(-3, 3)).map(lambda pair: sympy.exp(sympy.Rational(pair[1], 10) * pair[0])),
        )

    return st.recursive(leaves, grown, max_leaves=8)


STYLES = st.fixed_dictionaries(
    {
        "mul_symbol": st.sampled_from([None, "dot", "times"]),
        "fold_frac_powers": st.booleans(),
        "root_notation": st.booleans(),
        "order": st.sampled_from([None, "rev-lex", "none"]),
    }
)


@settings(max_examples=2 * settings().max_examples)
@given(rows(["x", "y", "a", "b", "theta"]), STYLES)
def test_so_has_a_formula_that_sympy_wrote(expression: sympy.Expr, style: dict[str, object]) -> None:
    assume(expression.atoms(sympy.Function) <= expression.atoms(sympy.sin, sympy.cos, sympy.exp, sympy.Abs))
    value = calculated(lambda: complex(expression.evalf(subs={"theta": VALUES["θ"], **VALUES})))
    latex = sympy.latex(expression, **style)
    text = math(latex).plain
    assert Reader.value(text) == pytest.approx(value, rel=1e-6), f"{latex} shows {text}"


def brackets(text: str) -> list[tuple[int, int]]:
    """Where each round bracket opens and closes."""
    opened, found = [], []
    for index, sign in enumerate(text):
        if sign == "(":
            opened.append(index)
        elif sign == ")":
            found.append((opened.pop(), index))
    return found


@given(EXPRESSIONS)
def test_no_brackets_are_doubled(written: Written) -> None:
    found = set(brackets(math(written.latex).plain))
    assert not {(first + 1, last - 1) for first, last in found} & found


@given(EXPRESSIONS)
def test_every_letter_digit_and_operator_of_the_source_is_shown(written: Written) -> None:
    signs = {r"\pi": "π", r"\theta": "θ", r"\cdot": "·", r"\times": "×", r"\div": "÷", r"\over": "/"}
    source = re.sub(r"\\sqrt(?:\[[34]\])?|\\[dtc]?frac|\\left|\\right|\\[lr]vert", "", written.latex)
    for command, sign in signs.items():
        source = source.replace(command, sign)
    shown = unicodedata.normalize("NFKD", math(written.latex).plain).replace("−", "-")
    wanted = Counter(sign for sign in source if sign.isalnum() or sign in "+-·×÷/!")
    assert not wanted - Counter(shown)


COMMON = {
    # fractions
    r"\frac{a+b}{c}": "(a+b)/c",
    r"\frac{a}{bc}": "a/(bc)",
    r"\frac{a}{b+c}": "a/(b+c)",
    r"\frac{ab}{c}": "ab/c",
    r"\frac{n(n+1)}{2}": "n(n+1)/2",
    r"\frac{n(n+1)(2n+1)}{6}": "n(n+1)(2n+1)/6",
    r"\frac{1}{n(n+1)}": "1/(n(n+1))",
    r"\frac{(a+b)}{2}": "(a+b)/2",
    r"\frac{2\pi r}{3}": "2πr/3",
    r"\frac{-1}{2}": "-1/2",
    r"-\frac{a}{b}": "-a/b",
    r"x + \frac{-1}{2}": "x + (-1/2)",
    r"\frac{a}{-b}": "a/(-b)",
    r"\frac{1}{2}x": "(1/2)x",
    r"x\frac{1}{2}": "x(1/2)",
    r"\frac{a}{b}\frac{c}{d}": "(a/b)(c/d)",
    r"\frac{a}{b}\cdot\frac{c}{d}": "a/b · c/d",
    r"a \div \frac{b}{c}": "a ÷ (b/c)",
    r"\frac{\frac{a}{b}}{c}": "(a/b)/c",
    r"\frac{a}{\frac{b}{c}}": "a/(b/c)",
    r"1 + \cfrac{1}{1 + \cfrac{1}{x}}": "1 + 1/(1 + 1/x)",
    r"\frac{a}{b}^2": "(a/b)²",
    r"\left(\frac{a}{b}\right)^2": "(a/b)²",
    r"\frac{3 \cdot 4}{2}": "(3 · 4)/2",
    r"\tfrac12 + \dfrac13": "1/2 + 1/3",
    r"{a \over b}": "a/b",
    r"3\frac{1}{2}": "3 1/2",
    r"3\frac{1}{2}x": "(3 1/2)x",
    r"3\frac{5}{2}": "3(5/2)",
    r"2^3\frac{1}{2}": "2³(1/2)",
    r"\frac{n!}{k!(n-k)!}": "n!/(k!(n-k)!)",
    r"\frac{|x|}{x}": "|x|/x",
    r"\frac{1}{|x|}": "1/|x|",
    r"\frac{10{,}000}{25}": "10,000/25",
    # roots
    r"\frac{\sqrt{\pi}}{2}": "(√π)/2",
    r"\frac{2\sqrt{3}}{3}": "(2√3)/3",
    r"\frac{1}{\sqrt{2}}": "1/√2",
    r"\frac{1}{2\sqrt{x}}": "1/(2√x)",
    r"\frac{\sqrt{x+1}}{2}": "√(x+1)/2",
    r"\sqrt{\frac{a}{b}}": "√(a/b)",
    r"\sqrt{x}y": "√x y",
    r"2\sqrt{3}": "2√3",
    r"\sqrt{2}\sqrt{3}": "√2√3",
    r"\sqrt{x}^2": "(√x)²",
    r"\sqrt{x^2}": "√(x²)",
    r"\sqrt{(x+1)}": "√(x+1)",
    r"\sqrt{|x|}": "√|x|",
    r"\sqrt[3]{x}": "∛x",
    r"\sqrt[n]{x+1}": "ⁿ√(x+1)",
    # scripts
    r"x^{n+1}": "xⁿ⁺¹",
    r"x^{y^2}": "x^(y²)",
    r"{x^y}^2": "(xʸ)²",
    r"{-1}^2": "(-1)²",
    r"(-1)^n": "(-1)ⁿ",
    r"e^{-x^2/2}": "e^(-x²/2)",
    r"x^{\frac{1}{2}}": "x^(1/2)",
    r"x^\frac{1}{2}": "x^(1/2)",
    r"x^{(a+b)/2}": "x^((a+b)/2)",
    r"a_{i,j}": "a_(i,j)",
    r"x_1^2": "x₁²",
    r"x^2_1": "x₁²",
    r"f'(x)": "f'(x)",
    r"\frac{1}{f'(x)}": "1/f'(x)",
    r"f^{(n)}(x)": "f⁽ⁿ⁾(x)",
    r"x'^2": "x'²",
    # functions
    r"\sin^2 x": "sin² x",
    r"\sin\frac{x}{2}": "sin(x/2)",
    r"\frac{\sin x}{x}": "(sin x)/x",
    r"\frac{\sin(x)}{x}": "sin(x)/x",
    r"2\sin x\cos x": "2 sin x cos x",
    r"\log_2 x": "log₂ x",
    r"\log_b(x)": "log_b(x)",
    r"\frac{\ln x}{\ln 2}": "(ln x)/(ln 2)",
    r"\ln\left|x\right|": "ln|x|",
    r"\frac{P(A \cap B)}{P(B)}": "P(A ∩ B)/P(B)",
    r"P(A|B)": "P(A|B)",
    r"\frac{1}{g(x)}": "1/g(x)",
    r"\frac{1}{a(1\frac{1}{2})}": "1/(a(1 1/2))",
    r"\frac{1}{x(x^2)^n}": "1/(x(x²)ⁿ)",
    r"\frac{1}{f(x+1)}": "1/f(x+1)",
    r"\frac{f(b)-f(a)}{b-a}": "(f(b)-f(a))/(b-a)",
    r"\frac{2A}{h(a+b)}": "2A/(h(a+b))",
    r"\frac{P(A \cap B)}{P(A \cup B)}": "P(A ∩ B)/P(A ∪ B)",
    r"\lfloor x \rfloor": "⌊x⌋",
    r"|x-1|": "|x-1|",
    r"\binom{n}{k}": "C(n, k)",
    # sums, integrals, derivatives
    r"\sum_{k=1}^{n} \frac{1}{k}": "∑ₖ₌₁ⁿ 1/k",
    r"\prod_{i=1}^n x_i": "∏ᵢ₌₁ⁿ xᵢ",
    r"\frac{1}{n}\sum_{i=1}^{n} x_i": "(1/n) ∑ᵢ₌₁ⁿ xᵢ",
    r"\int_0^1 x^2 dx": "∫₀¹ x² dx",
    r"\int \frac{1}{x} \, dx": "∫ (1/x) dx",
    r"\int \frac{dx}{x}": "∫ dx/x",
    r"\lim_{x \to 0} \frac{\sin x}{x} = 1": "lim_(x→0) (sin x)/x = 1",
    r"\frac{d}{dx}": "d/dx",
    r"\frac{d}{dx} x^2": "(d/dx) x²",
    r"\frac{\Delta y}{\Delta x}": "Δy/Δx",
    r"\frac{1}{dx}": "1/(dx)",
    r"\frac{dy}{du}\frac{du}{dx}": "(dy/du)(du/dx)",
    r"\frac{d^2y}{dx^2}": "d²y/dx²",
    r"\frac{\partial f}{\partial x}": "∂f/∂x",
    r"\frac{\mathrm{d}y}{\mathrm{d}x}": "dy/dx",
    # operators
    "2+3\\cdot 4": "2 + 3 · 4",
    r"x = \pm 2": "x = ±2",
    r"x=-1": "x = -1",
    r"{a+b}^2": "(a+b)²",
    # words and units
    r"\text{The answer is } \frac{3}{4}": "The answer is 3/4",
    r"\frac{3}{4}\text{ of it}": "3/4 of it",
    r"5 \, \text{m/s}": "5 m/s",
    r"5\,\frac{\text{m}}{\text{s}}": "5 m/s",
    r"\frac{60 \text{ miles}}{2 \text{ hours}}": "(60 miles)/(2 hours)",
    r"12\frac{3}{4}\text{ cm}": "12 3/4 cm",
    r"\boxed{\frac{3}{4}}": "3/4",
    r"\boxed{\frac{1}{2}}x": "(1/2)x",
    r"\boxed{a+b}^2": "(a+b)²",
    r"\frac{AB}{CD}": "AB/CD",
    r"\overline{AB}^2": "A\u0305B\u0305²",
}
"""What a mathematician writes on one line."""


@pytest.mark.parametrize("latex", COMMON)
def test_common_forms_have_the_brackets_they_need_and_no_others(latex: str) -> None:
    assert math(latex).plain == COMMON[latex]


def test_the_reader_refuses_what_people_read_differently() -> None:
    for text in ("a/bx", "√a/b", "√a²", "sin x/y", "a/b c", "x · -y"):
        with pytest.raises(Ambiguous):
            Reader.value(text)
