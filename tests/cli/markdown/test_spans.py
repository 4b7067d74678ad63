"""`r1.markdown.spans`: links, escapes, code and characters inside a paragraph."""

from __future__ import annotations

import pytest

from r1.markdown.grammar import parse_inline
from r1.markdown.inline import inline
from r1.markdown.latex import ALIGNED, MATRICES
from r1.markdown.spans import MAX_SPAN, formula_span


def plain(source: str) -> str:
    return inline(parse_inline(source)).text.plain


@pytest.mark.parametrize(
    "source",
    [
        *[
            "f[i](x)",
            "f(x)[i](y)",
            "[i](j)",
            "[0, 1](x)",
            "[](int n) { return n; }",
            "[&](int n)",
            "[1]",
            "[^1]",
            "a[](x.y)",
        ],
        *[
            "vector<std::string> v",
            "<stdio.h>",
            "a<b>c",
            "p = &sum;",
            "&x;",
            "R&D;",
            "&#0;",
            "&#9999999;",
            "&#x110000;",
        ],
        *[
            r"C:\new\table",
            r"\\server\share",
            r"C:\_build\_a",
            r"\d+\.\d+",
            r"\d\*",
            r"say \"hi\"",
            r"a\|b",
            "ends\\",
            r"\n",
        ],
        *[
            "$HOME/$USER",
            "$5 and $10",
            "$5 and 10$",
            "US$5",
            "5$ or 10$",
            "$A:$B",
            "$(ls) and $",
            "echo $",
            "\\(x",
            "\\boxed{x",
        ],
        *["a`b", "``a`", "<https://x.org", "[a](b", "![a", "2 \\- 1", "see 3\\.14"],
    ],
)
def test_what_is_no_markup_is_shown_as_written(source: str) -> None:
    assert plain(source) == source


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ('[a page](u "its title")', 'a page (u "its title")'),
        ("[a page](<my file.txt>)", "a page (my file.txt)"),
        ("[wiki](https://x.org/a_(b))", "wiki (https://x.org/a_(b))"),
        ("[ü](https://x.org/ü%20)", "ü (https://x.org/ü%20)"),
        ("[![logo](a.png)](b.org)", "logo (a.png) (b.org)"),
        ("[1](https://x.org)", "1 (https://x.org)"),
        ("<mailto:me@x.org>", "me@x.org"),
        ("&amp;&lt;&gt;&quot;&#65;&#x42;", '&<>"AB'),
        (r"\*a\* \_b\_ \`c\` \$5 50\% \# \~", "*a* _b_ `c` $5 50% # ~"),
        (r"snake\_case", "snake_case"),
        (r"\- no item", "- no item"),
        (r"1\. no item", "1. no item"),
        ("``a`b``", "a`b"),
        ("` `` `", "``"),
        ("`a\nb`", "a b"),
        ("the $n$th and 设$x$为", "the nth and 设x为"),
    ],
)
def test_markup_is_replaced(source: str, text: str) -> None:
    assert plain(source) == text


@pytest.mark.parametrize("opening", ["\\(", "\\[", "$$", "$", "\\boxed{", "`", "[", "[a](", "*", "**", "~~", "_"])
def test_an_opening_mark_is_undecided_for_a_limited_distance(opening: str) -> None:
    near = inline(parse_inline(f"so {opening}word"))
    assert near.text.plain[: near.open] == "so "
    assert inline(parse_inline(f"so {opening}word " + "word " * (MAX_SPAN // 5 + 2))).open is None


@pytest.mark.parametrize(
    "source", ["`a`", "\\(a\\)", "$a$", "\\boxed{a}", "[a page](b.c)", "**a**", "a ` b`", "2 * 3", "[1]"]
)
def test_text_without_an_open_mark_is_decided(source: str) -> None:
    assert inline(parse_inline(source)).open is None


@pytest.mark.parametrize("name", sorted({*MATRICES, *ALIGNED} - {"math"}))
@pytest.mark.parametrize("star", ["", "*"])
def test_an_environment_of_formulas_is_one_without_delimiters(name: str, star: str) -> None:
    r"""`math` is an inline formula in LaTeX, and no model writes it."""
    source = f"\\begin{{{name}{star}}} x = 1 \\end{{{name}{star}}}"
    assert formula_span(f"so {source}.", 3, len(source) + 4) == (3, len(source) + 3, len(source) + 3)
