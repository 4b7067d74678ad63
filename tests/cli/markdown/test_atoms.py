"""`r1.markdown.atoms`: what is beside what in a formula, and the spaces between."""

from __future__ import annotations

import pytest

from r1.markdown.atoms import BOX, BOX_END, Atom, Kind, joined
from r1.markdown.latex import kind_of


def row(*texts: str) -> str:
    """Symbols side by side, each of the kind that its text has; a space is one of the source."""
    return joined([Atom(text, Kind.SOFT_SPACE if text == " " else kind_of(text)) for text in texts])


@pytest.mark.parametrize(
    ("texts", "line"),
    [
        ("x y", "xy"),  # LaTeX ignores spaces between letters
        ("2 3", "2 3"),  # but two numbers stay two
        ("x 2", "x 2"),
        ("a=b", "a = b"),
        ("a<=b", "a <= b"),
        ("a+b", "a+b"),
        ("a +b-c", "a + b - c"),  # one space asks for all
        ("a+b±c", "a + b ± c"),
        ("a+b·c", "a + b · c"),  # never tighter than the product
        ("(a+b)·c", "(a+b) · c"),
        ("a=-b", "a = -b"),
        ("- x", "-x"),
        ("(- x)", "(-x)"),
        ("a·- b", "a · -b"),
        ("a/b", "a/b"),
        ("a /b", "a / b"),  # both sides alike
        ("a/ b", "a/b"),
        ("f( x , y )", "f(x, y)"),
        ("1,2", "1,2"),
        ("a∪b", "a ∪ b"),
        ("n ! =6", "n! = 6"),
        ("x∈A,y∈B", "x ∈ A,y ∈ B"),
    ],
)
def test_spaces_are_those_of_mathematics(texts: str, line: str) -> None:
    assert row(*texts) == line


@pytest.mark.parametrize(
    ("texts", "line"),
    [
        (["2", "sin", "x"], "2 sin x"),
        (["sin", "(", "x", ")"], "sin(x)"),
        (["ln", "|", "x", "|"], "ln|x|"),
        (["(", "sin", "x", ")"], "(sin x)"),
        (["∑", "x"], "∑ x"),
        (["∑", "(", "x", ")"], "∑ (x)"),
        (["max", "{", "a", "}"], "max{a}"),
        (["x", "mod", "y"], "x mod y"),
        (["∫", "x", "d", "x"], "∫ x dx"),
    ],
)
def test_names_are_set_off_from_what_they_apply_to(texts: list[str], line: str) -> None:
    assert row(*texts) == line


@pytest.mark.parametrize(
    ("texts", "line"),
    [
        ("|x | + | y|", "|x| + |y|"),
        ("| |x|-|y| |", "||x|-|y||"),
        ("P(A | B)", "P(A | B)"),  # no pair: spaces as they were written
        ("P(A|B)", "P(A|B)"),
        ("(| )|", "(|)|"),
    ],
)
def test_bars_in_pairs_are_brackets(texts: str, line: str) -> None:
    assert row(*texts) == line


def test_a_space_stands_outside_of_a_box() -> None:
    box, end = Atom(BOX, Kind.MARK), Atom(BOX_END, Kind.MARK)
    atoms = [
        Atom("x", Kind.LETTER),
        Atom("=", Kind.RELATION),
        box,
        Atom("2", Kind.NUMBER),
        end,
        Atom("=", Kind.RELATION),
    ]
    assert joined([*atoms, Atom("y", Kind.LETTER)]) == f"x = {BOX}2{BOX_END} = y"


def test_a_subscript_comes_before_a_superscript() -> None:
    assert str(Atom("x", Kind.LETTER, upper="²", lower="₁")) == "x₁²"


@pytest.mark.parametrize(
    ("atom", "is_open"),
    [
        (Atom("√2", Kind.ROOT), True),
        (Atom("√(x)", Kind.ROOT), False),
        (Atom("x", Kind.LETTER, upper="^q"), True),
        (Atom("x", Kind.LETTER, upper="^(q)"), False),
        (Atom("x", Kind.LETTER, lower="_b"), True),
        (Atom("x", Kind.LETTER, lower="_b", upper="²"), False),
        (Atom("x", Kind.LETTER), False),
    ],
)
def test_text_may_run_on_into_what_follows(atom: Atom, is_open: bool) -> None:
    assert atom.is_open_ended == is_open
    assert joined([atom, Atom("y", Kind.LETTER)]) == f"{atom}{' ' if is_open else ''}y"
