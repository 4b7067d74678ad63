"""`r1.markdown.latex`: the commands that the parser and the converter must both know."""

from __future__ import annotations

import pytest

from r1.markdown.latex import ALIGNED, FUNCTIONS, MATRICES, layouts, symbol, syntax
from r1.markdown.math import math

SHAPED = ["frac", "dfrac", "binom", "boxed", "sqrt", "text", "overline", "xrightarrow", "operatorname", "left"]
INVISIBLE = ["displaystyle", "limits", "nonumber", "hline"]


@pytest.mark.parametrize("name", [*SHAPED, *INVISIBLE, *sorted(FUNCTIONS)])
def test_a_command_is_known_to_parser_and_converter(name: str) -> None:
    assert syntax().get_macro_spec(name) is not None
    assert name in layouts() or symbol(name) is not None


@pytest.mark.parametrize("name", INVISIBLE)
def test_layout_commands_disappear(name: str) -> None:
    assert math(rf"x + \{name} y").plain == "x + y"


@pytest.mark.parametrize(("name", "brackets"), [(name, MATRICES[name]) for name in MATRICES])
def test_every_matrix_has_its_brackets(name: str, brackets: tuple[str, str]) -> None:
    text = math(rf"\begin{{{name}}} 1 & 2 \\ 3 & 4 \end{{{name}}}").plain
    assert text.startswith(brackets[0])
    assert text.endswith(brackets[1])
    assert "begin" not in text


@pytest.mark.parametrize("name", sorted(ALIGNED - {"alignat"}))
def test_every_aligned_environment_is_converted(name: str) -> None:
    assert math(rf"\begin{{{name}}} a &= b \\ c &= d \end{{{name}}}").plain == "a = b; c = d"


@pytest.mark.parametrize("size", ["big", "Bigl", "biggr", "Biggm", "left"])
def test_sizes_of_brackets_are_dropped(size: str) -> None:
    assert math(rf"\{size}( x \{size}.").plain.replace(" ", "") == "(x"
