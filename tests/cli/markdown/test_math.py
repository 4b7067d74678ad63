"""`r1.markdown.math`: the LaTeX that R1 writes, as people would write it without LaTeX."""

from __future__ import annotations

import re
import sys
import time
import unicodedata
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.style import Style

from r1.markdown.math import math

ON_ONE_LINE = {
    r"\frac{1}{2}": "1/2",
    r"\dfrac12": "1/2",
    r"\frac{a+b}{c+d}": "(a+b)/(c+d)",
    r"\frac{\frac{1}{2}}{3}": "(1/2)/3",
    r"\frac{1}{2x}": "1/(2x)",
    r"\frac{1}{2}x": "(1/2)x",
    r"2\frac{1}{2}": "2 1/2",
    r"\left(\frac{a}{b}\right)^2": "(a/b)²",
    r"\frac{dy}{dx}": "dy/dx",
    r"\frac{\text{distance}}{\text{time}}": "distance/time",
    r"x = \frac{-b \pm \sqrt{b^2 - 4ac}}{2a}": "x = (-b ± √(b² - 4ac))/(2a)",
    r"\sqrt[3]{x}": "∛x",
    r"\sqrt{12} + \sqrt{x+1}": "√12 + √(x+1)",
    r"x^2 + x^{n+1}": "x² + xⁿ⁺¹",
    r"x^{2^n}": "x^(2ⁿ)",
    r"x^q": "x^q",
    r"e^{-x^2/2}": "e^(-x²/2)",
    r"a_{ij} + a_1": "aᵢⱼ + a₁",
    r"5\text{ cm}": "5 cm",
    r"\text{if } x=1\text{ then}": "if x = 1 then",
    r"a\times b\cdot c\implies d": "a × b · c ⟹ d",
    r"x\leq5, y \neq 3": "x ≤ 5, y ≠ 3",
    r"\left( x \right)": "(x)",
    r"\left\{ x \right.": "{x",
    r"\left|x\right|": "|x|",
    r"\lfloor x \rfloor": "⌊x⌋",
    r"\binom{n}{k}": "C(n, k)",
    r"\sum_{i=1}^{n} i": "∑ᵢ₌₁ⁿ i",
    r"\int_0^1 x\,dx": "∫₀¹ x dx",
    r"\lim_{x \to 0} \sin x": "lim_(x→0) sin x",
    r"\sin^2\theta+\cos^2\theta=1": "sin²θ+cos²θ = 1",
    r"\mathbb{R}": "ℝ",
    r"a \quad b\;c": "a  b c",
    r"90^\circ": "90°",
    r"\overline{AB}": "A\u0305B\u0305",
    r"0.\overline{3}": "0.3\u0305",
    r"x \equiv 3 \pmod 7": "x ≡ 3 (mod 7)",
    r"1, 2, \ldots, n": "1, 2, …, n",
    r"10{,}000": "10,000",
    "50% of \\$5": "50% of $5",
    r"\text{$18}": "$18",
    r"f'(x)": "f'(x)",
    r"\operatorname{lcm}(4, 6)": "lcm(4, 6)",
    r"\begin{pmatrix} 1 & 2 \\ 3 & 4 \end{pmatrix}": "(1 2; 3 4)",
    r"\begin{aligned} a &= b \\ c &= d \end{aligned}": "a = b; c = d",
}
ON_ONE_LINE |= {
    r"\begin{pmatrix} x + 1 & 2 \\ 3 & 4 \end{pmatrix}^2": "(x + 1, 2; 3, 4)²",
    r"f(x) = \begin{cases} 1 & x > 0 \\ 0 & x = 0 \end{cases}": "f(x) = {1, x > 0; 0, x = 0",
    r"\sum_{\substack{i<j \\ k>0}} a_i": "∑_(i<j; k>0) aᵢ",
    r"x^\frac{1}{2}": "x^(1/2)",
    r"\frac\pi2": "π/2",
    r"\frac{1}\sqrt{2}": "1/√2",
    r"5^\text{th}": "5ᵗʰ",
    r"2\sqrt[6]{2}": "2 ⁶√2",
    r"5{}^nC_r": "5 ⁿCᵣ",
    r"{}^{14}_{6}\text{C}": "₆¹⁴C",
    r"x_{\text{new}} = x_{\text{old}} t": "x_new = x_old t",
    r"f_b(x) + v_{avg}(t)": "f_b(x) + v_avg(t)",
    r"2\text{H}_2 + \text{SO}_4^{2-} \rightarrow 3": "2H₂ + SO₄²⁻ → 3",
    r"\{ x \in \mathbb{R} \mid x > 0 \}": "{x ∈ ℝ ∣ x > 0}",
    r"P(A | B) + |x| \cdot ||y| - 1|": "P(A | B) + |x| · ||y| - 1|",
    r"\left. \frac{dy}{dx} \right|_{x=0}": "dy/dx|ₓ₌₀",
    r"\underbrace{1+1}_{\text{two}}": "(1+1)_two",
    r"a \stackrel{?}{=} b": "a =^? b",
    r"A \xrightarrow{f} B": "A →ᶠ B",
    r"{n \choose k}": "C(n, k)",
    r"\not= \not\in": "≠ ∉",
    r"50\% of 20": "50% of 20",
    r"Total cost = 5 \times 3 or x": "Total cost = 5 × 3 or x",
    r"\int f(x)dx": "∫ f(x) dx",
    r"f \circ g": "f ∘ g",
    r"n! = 120": "n! = 120",
    r"\mathrm{lcm}(4,6) = 9.8\,\mathrm{m/s^2}": "lcm(4,6) = 9.8 m/s²",
    r"\hat{\imath} + \hat{\foo}": "ı̂ + \\hat{\\foo}",
    r"\foo{bar}{2} x \today": "\\foo{bar}2x \\today",
    r"\text{max_value, A & B, m^2, x_{i}}": "max_value, A & B, m², xᵢ",
    r"\mathbb{N} \'\dfrac12 \mathbb{\frac12}": r"ℕ\'\dfrac12 \mathbb{\frac12}",
    r"\text{Poincar\'e: $x^2$ \& co}": "Poincaré: x² & co",
}
ON_MANY_LINES = {
    r"\begin{align*} x + 1 &= 2 \\ x &= 1 \end{align*}": ["x + 1 = 2", "    x = 1"],
    r"a = b \\ c = d": ["a = b", "c = d"],
    r"f(x) = \begin{cases} 1 & x > 0 \\ 0 & \text{otherwise} \end{cases}": [
        "f(x) = ⎧ 1  x > 0",
        "       ⎩ 0  otherwise",
    ],
    r"A = \begin{pmatrix} 1 & 2 \\ 3 & 40 \\ 5 & 6 \end{pmatrix} B": [
        "    ⎛ 1  2  ⎞",
        "A = ⎜ 3  40 ⎟ B",
        "    ⎝ 5  6  ⎠",
    ],
}
ON_MANY_LINES |= {
    r"\left(\begin{array}{cc} a & b \\ c & d \end{array}\right)^2 x": ["⎛ a  b ⎞² x", "⎝ c  d ⎠"],
    r"\left\{ \begin{array}{l} x + y = 1 \\ x = 2 \end{array} \right.": ["⎧ x + y = 1", "⎩ x = 2"],
    r"\left. \begin{aligned} x + 1 &= 2 \\ x &= 1 \end{aligned} \right\}": ["x + 1 = 2 ⎫", "    x = 1 ⎭"],
    r"\begin{array}{r} 12 \\ +30 \\ \hline 42 \end{array}": [" 12", "+30", " 42"],
    r"a &= b + c \\ &= d": ["a = b + c", "  = d"],
    r"f(x) &= \begin{cases} 1 & x > 0 \\ 0 & x = 0 \end{cases}": ["f(x) = ⎧ 1  x > 0", "       ⎩ 0  x = 0"],
    r"\frac{1}{2} \begin{pmatrix} 1 \\ 2 \end{pmatrix}": ["(1/2) ⎛ 1 ⎞", "      ⎝ 2 ⎠"],
    r"\begin{vmatrix} a & b \\ c & d \end{vmatrix} = ad - bc": ["│ a  b │ = ad - bc", "│ c  d │"],
    r"\begin{aligned} f &= \begin{cases} 1 & x \\ 2 & y \end{cases} \\ g + h &= 2 \end{aligned}": [
        "    f = ⎧ 1  x",
        "        ⎩ 2  y",
        "g + h = 2",
    ],
    r"x &= \frac{a}{b} \\[4pt] y &= 1": ["x = a/b", "y = 1"],
}
SOURCE = [r"\frac{1", "{", "}", "x^", r"\begin{aligned} x", r"\foo{bar} + \baz", r"\begin{what} x \end{what}", r"\left"]


@pytest.mark.parametrize("latex", ON_ONE_LINE)
def test_a_formula_on_one_line(latex: str) -> None:
    assert math(latex).plain == ON_ONE_LINE[latex]


@pytest.mark.parametrize("latex", ON_MANY_LINES)
def test_rows_are_below_each_other_and_beside_the_text_before_them(latex: str) -> None:
    assert [line.rstrip() for line in math(latex, display=True).plain.split("\n")] == ON_MANY_LINES[latex]


@pytest.mark.parametrize(("latex", "boxed"), [(r"\boxed{42}", "42"), (r"x = \boxed{\frac{1}{2}}\text{ m}", "1/2")])
def test_a_boxed_result_stands_out(latex: str, boxed: str) -> None:
    text = math(latex)
    (span,) = text.spans
    assert text.plain[span.start : span.end] == boxed
    assert isinstance(span.style, Style)
    assert span.style.bold
    assert span.style.reverse
    assert span.style.color is None


@pytest.mark.parametrize("latex", SOURCE)
def test_invalid_latex_comes_back_unchanged(latex: str) -> None:
    assert math(latex).plain == latex


@pytest.mark.parametrize(
    "latex",
    [
        "{" * 10_000,
        "{" * 3000 + "}" * 3000,
        "x^" * 1900,
        r"\frac" * 700,
        r"\left(" * 600,
        r"a & b \\" * 400,
        "$" * 3999,
        "\\" * 3999,
        "x" * 3_000_000,
        r"\begin{cases}" * 290,
        r"\begin{cases} a \\ " * 130 + "1" + r"\end{cases}" * 130,
        r"\sqrt{" * 29 + "x" + "}" * 29,
    ],
    ids=lambda latex: f"{latex[:8]}, {len(latex)}",
)
def test_a_hostile_formula_is_converted_quickly(latex: str) -> None:
    began = time.process_time()
    assert math(latex, display=True).plain
    assert time.process_time() - began < 10  # it takes milliseconds; parsing the longest takes half a minute


FRAGMENTS = [
    *ON_ONE_LINE,
    *ON_MANY_LINES,
    *SOURCE,
    *(
        "&",
        r"\\",
        "%",
        "$",
        "_",
        "^",
        "{",
        "}",
        "[",
        "]",
        "(",
        ")",
        "|",
        "'",
        "~",
        "#",
        "/",
        "!",
        "=",
        "+",
        "-",
        ",",
        " ",
        "\n",
    ),
    *("x", "ab", "word", "7", "3.5", "1,000", "中", "é", "\x02", "\x05", "\x07", "\ud7ff"),
    *(
        r"\frac",
        r"\sqrt",
        r"\left",
        r"\right",
        r"\left(",
        r"\right)",
        r"\text{",
        r"\boxed{",
        r"\over",
        r"\choose",
        r"\middle|",
    ),
    *(
        r"\begin{cases}",
        r"\end{cases}",
        r"\begin{pmatrix}",
        r"\end{pmatrix}",
        r"\begin{what}",
        r"\end{what}",
        r"\begin",
    ),
    *(
        r"\foo",
        r"\foo{z}",
        r"\section{q}",
        r"\item",
        r"\today",
        r"\footnote{w}",
        r"\cite{k}",
        r"\'e",
        r"\c c",
        r"\not",
        r"\hat",
    ),
    *(
        r"\mathbb",
        r"\mathbb{R}",
        r"\mathrm{d}",
        r"\operatorname{f}",
        r"\,",
        r"\;",
        r"\!",
        r"\quad",
        r"\sum",
        r"\limits",
        "\\",
    ),
]
WHOLE = st.sampled_from(
    [*ON_ONE_LINE, *"xy7=+-|',/!:", "word", "3.5", " ", r"\foo{z}", r"\cdot", r"\to ", r"\sum", r"\quad"]
)
NESTED = st.recursive(
    WHOLE,
    lambda inner: st.one_of(
        st.lists(inner, max_size=5).map(" ".join),
        st.tuples(
            st.sampled_from(
                [r"\frac{%s}{2}", r"\frac{3}{%s}", r"\sqrt{%s}", "x^{%s}", "y_{%s}", "{%s}^2", r"\boxed{%s}"]
            )
            | st.sampled_from(
                [r"\text{as $%s$}", r"\hat{%s}", r"\left(%s\right)", r"\mathrm{%s}", r"\begin{cases}%s\end{cases}"]
            )
            | st.sampled_from(
                [r"{%s \over 5}", r"\sum_{%s}", r"\overline{%s}", r"\not{%s}", r"\operatorname{%s}", r"\tag{%s}"]
            ),
            inner,
        ).map(lambda pair: pair[0].replace("%s", pair[1])),
    ),
    max_leaves=8,
)
JUNK = st.one_of(st.lists(st.sampled_from(FRAGMENTS), max_size=14).map("".join), NESTED)


@settings(max_examples=2 * settings().max_examples)
@given(JUNK, st.booleans())
def test_junk_never_raises_and_loses_no_letter_or_digit(latex: str, display: bool) -> None:
    shown = math(latex, display=display).plain
    assert not re.search("[\x02-\x05]", shown)
    source = re.sub(r"\\(?:begin|end)\{\w+\*?\}(?:\{[lcr]*\})?|\\[a-zA-Z]+|\\\\\[4pt\]", " ", latex)
    visible = unicodedata.normalize("NFKD", shown.replace("∛", "3").replace("∜", "4"))
    wanted = Counter(sign for sign in unicodedata.normalize("NFKD", source) if sign.isalnum())
    assert not wanted - Counter(visible)


@given(st.text(max_size=200))
def test_any_text_is_shown(text: str) -> None:
    visible = Counter(unicodedata.normalize("NFKD", math(text).plain))
    source = re.sub(r"\\[a-zA-Z]+", " ", text)
    assert not Counter(sign for sign in unicodedata.normalize("NFKD", source) if sign.isalnum()) - visible


def calls_of(latex: str) -> int:
    """How many functions the conversion of a formula calls, at home and in libraries."""
    count = 0

    def count_call(_frame: object, event: str, _argument: object) -> None:
        nonlocal count
        count += event in {"call", "c_call"}

    sys.setprofile(count_call)
    try:
        math(latex, display=True)
    finally:
        sys.setprofile(None)
    return count


@pytest.mark.parametrize(
    "piece",
    [
        *("{x}", "x^", "_", "^", "&", r"a & b \\ ", r"\\", "|x", "(", "(x)", "'", "x+", " x", "x_1", "^{a}"),
        *(
            r"\frac",
            r"\frac{1}{2}",
            r"1\frac{1}{2}",
            r"\left",
            r"\left( x ",
            r"\foo{a}",
            r"\over ",
            r"\text{a }",
            r"\hat",
        ),
        *(r"\begin{cases} ", r"\begin{cases}1&2\end{cases}", r"\sqrt[", r"\boxed{x}", r"\left.\right."),
    ],
)
def test_twice_the_source_takes_at_most_about_twice_the_work(piece: str) -> None:
    count = 300 // len(piece)
    math(piece)  # builds the tables
    assert calls_of(piece * 2 * count) < 2.3 * calls_of(piece * count) + 1000


def test_nothing_is_printed(capfd: pytest.CaptureFixture[str]) -> None:
    math(r"\frac{1}{2} \input{/etc/passwd} \not x \href{a}")
    assert capfd.readouterr() == ("", "")
