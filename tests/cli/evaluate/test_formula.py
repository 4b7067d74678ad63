r"""An answer without its decoration, and the content of its last box."""

from __future__ import annotations

import pytest

from r1.evaluate.formula import CURRENCY, formula, key, last_boxed


@pytest.mark.parametrize(
    ("text", "content"),
    [
        (r"So \boxed{42}.", "42"),
        (r"\boxed{1}, no: \boxed{2} it is; I checked it with care, and I am sure now. \boxed{3}", "3"),
        (r"\boxed{\frac{1}{\sqrt{2}}}", r"\frac{1}{\sqrt{2}}"),
        (r"\boxed{\{1, 2\}}", r"\{1, 2\}"),
        (r"\boxed{\text{a } b}", r"\text{a } b"),
        (r"\fbox{7}", "7"),
        (r"\boxed {7}", "7"),
        (r"\boxed 7", "7"),
        (r"$\boxed 7$", "7"),
        (r"\boxed{5} and then \boxed{6", "5"),
        (r"\boxed{5} { \boxed{6}", "6"),
        (r"\boxed{5", None),
        (r"\boxed{}", None),
        (r"\boxed{4}, in \boxed{}", "4"),
        (r"\boxed{\fbox{8}}", r"\fbox{8}"),
        (r"\boxed{a \fbox{b} c}", r"a \fbox{b} c"),
        (r"\\boxed{9}", "9"),
        (r"} \boxed{3}", "3"),
        ("no box", None),
        ("", None),
    ],
)
def test_the_last_box_that_is_closed_and_not_empty(text: str, content: str | None) -> None:
    assert last_boxed(text) == content


@pytest.mark.parametrize(
    ("text", "content"),
    [
        (r"\boxed{2}, \boxed{3}", "2, 3"),
        (r"$\boxed{(2, 2)} \quad \text{and} \quad \boxed{(6, 2)}$", "(2, 2), (6, 2)"),
        (r"\(\boxed{1}\) or \(\boxed{-2}\)", "1, -2"),
        (r"\boxed{2}\boxed{2}", "2"),
        (r"\boxed{1} is wrong, it is \boxed{2}", "2"),
        (rf"\boxed{{1}}{' ' * 100}\boxed{{2}}", "2"),
    ],
)
def test_boxes_in_a_row_are_a_list(text: str, content: str) -> None:
    assert last_boxed(text) == content


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (r"$\boxed{\frac{1}{2}}$", r"\frac{1}{2}"),
        (r"\[ \left( \dfrac12 , 3 \right] \]", r"( \frac12 , 3 ]"),
        (r"\textbf{(\text{C})}\ 42.", "( C ) 42"),
        (r"12{,}345{,}678\,000", "12345678000"),
        (r"1,\!234", "1234"),
        (r"x \le 3, y \ge 4, z != 5", r"x \leq 3, y \geq 4, z \neq 5"),
        ("5!=120", "5!=120"),
        (r"90^{\circ}", "90 degrees"),
        (r"\sin 30^{\circ} + 1", r"\sin 30^\circ + 1"),
        ("10²³", "10^{23}"),
        ("10⁻³", "10^{-3}"),
        ("−3 × 4", r"-3 \times 4"),
        ("**42**", "42"),
        ("2**3", "2**3"),
        ("$12", f"{CURRENCY}12"),
        (r"\$12", f"{CURRENCY}12"),
        (r"\begin{pmatrix} 1 \\ 2 \end{pmatrix}", r"\begin{pmatrix} 1 \\ 2 \end{pmatrix}"),
        (r"\leftarrow", r"\leftarrow"),
        (r"\{\}", r"\emptyset"),
        ("= 3,", "3"),
        ("1, 2, ...", "1, 2, ..."),
        ("  ", ""),
    ],
)
def test_leaves_the_formula(text: str, expected: str) -> None:
    assert formula(text) == expected


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (r"\frac12x", r"\frac{1}{2} x"),
        (r"\sqrt2", r"\sqrt{2}"),
        ("x_{1}", "x_1"),
        (r"2 \cdot x", "2x"),
        ("a + b", "a+b"),
    ],
)
def test_ways_to_write_the_same_latex_have_one_key(one: str, other: str) -> None:
    assert key(one) == key(other)
