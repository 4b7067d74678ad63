"""What holds for every answer: finished lines never change, and no word, number, path or name is lost."""

from __future__ import annotations

import itertools
import re
import unicodedata

from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len

from r1.markdown.stream import Markdown, render

LINE_STARTS = ["", "- ", "* ", "+ ", "1. ", "7) ", "12. ", "> ", ">", "    ", "   ", "  ", "\t", "# ", "### ", "| "]
BLOCKS = [
    *[
        "```\n",
        "```py\n",
        "~~~\n",
        "````\n",
        "``` a b=1\n",
        "---\n",
        "===\n",
        "***\n",
        "--\n",
        "- - -\n",
        "-\n",
        "1.\n",
    ],
    *["\\[\n", "\\]\n", "$$\n", "\\boxed{\n", "}\n", "|---|---|\n", "| :-- | --: |\n", "|\n", "| a | b |\n", "a | b\n"],
    *[
        "\\[ x \\] and so on\n",
        "\\[ x = 1 \\].\n",
        "$$ y $$ z\n",
        "[a]: http://x.org\n",
        "\\begin{cases}\n",
        "\\end{cases}\n",
        "\\begin{align*} x &= 1 \\\\\n",
        "\\end{align*} ",
    ],
]
SPANS = [
    *["*", "**", "***", "_", "__", "~~", "~", "`", "``", "$", "$$", "\\(", "\\)", "\\[", "\\]", "\\boxed{", "{", "}"],
    *["\\b", "\\*", "\\_", "\\|", "\\\\", "\\$", "\\`", "\\", "[", "![", "](", "](u", ")", "](http://x.org)", "<", ">"],
    *["&amp;", "&lt;", "&#65;", "&", ";", "&sum;", "<br>", "<b>", "<http://x.org>", "<me@x.org>", "|", "||", ":", '"'],
    *["x^2", "\\frac{1}{2}", "a_b", "2*3", "$x$", "\\(y\\)", "$5", "`a|b`", "**bold**", "*soft*", "[a link](x.org)"],
]
WORDS = [
    *["word", "two words", "a", "x = 1,", "42", "3.14", "def f(x): return 's'", "'''", '"""', "/*", "#", "+", "-", "="],
    *[
        "中文",
        "，",
        "。",
        "（",
        "）",
        "かな",
        "한국어",
        "é",
        "e\u0301",
        "😀",
        "👩\u200d🚀",
        "\u200b",
        "\u00a0",
        "\u3000",
    ],
    *[
        "a line that keeps going on and on past the sixtieth character of it and more",
        "w" * 90,
        "https://x.org/a_b/c*d",
    ],
    *["many words that go on and on until the line is longer than a title may be, *then more and $more ", "b* and c$ "],
    *["\x0b", "\x0c", "\x1c", "\x85", "\u2028", "\x1b[31m", "\x07"],
]
ENDS = ["", " ", "  ", "\n", "\n", "\n\n", "\r\n", "\n\n\n", "\n  ", "\n    "]


def _of(*lists: list[str]) -> st.SearchStrategy[str]:
    return st.sampled_from([piece for pieces in lists for piece in pieces])


LINE = st.builds(
    "{}{}{}".format,
    st.lists(_of(LINE_STARTS), max_size=3).map("".join),
    st.lists(_of(SPANS, WORDS, [" ", " "]), max_size=8).map("".join),
    _of(ENDS),
)
FRAGMENTS = st.lists(st.one_of(LINE, _of(BLOCKS), _of(BLOCKS, SPANS, WORDS, ENDS)), max_size=14)
ANSWERS = FRAGMENTS.map("".join)


@st.composite
def pieces(draw: st.DrawFn, answers: st.SearchStrategy[str] = ANSWERS) -> list[str]:
    """An answer in pieces: one character at a time, of equal length, or cut anywhere."""
    answer = draw(answers)
    length = draw(st.sampled_from([1, 1, 2, 3, 5, 17, 0]))
    if length:
        return [answer[index : index + length] for index in range(0, len(answer), length)]
    cuts = sorted({0, len(answer), *draw(st.lists(st.integers(0, len(answer)), max_size=12))})
    return [answer[begin:end] for begin, end in itertools.pairwise(cuts)]


@given(pieces(), st.sampled_from([1, 4, 20, 40, 80, 200]), st.booleans())
def test_finished_lines_are_a_prefix_of_the_complete_answer(parts: list[str], width: int, colour: bool) -> None:
    complete = render("".join(parts), width, colour=colour)
    markdown, shown = Markdown(width, colour=colour), ""
    for part in parts:
        shown += markdown.feed(part)
        assert complete.startswith(shown), repr("".join(parts))
    assert shown + markdown.end() == complete, repr("".join(parts))
    assert max(map(cell_len, re.sub(r"\x1b\[[\d;]*m", "", complete).split("\n"))) <= max(width, 2)


MARGINS = [
    "",
    "- ",
    "> ",
    "12. ",
    "- x\n  - ",
    "- a\n\n  ",
    "> - ",
    "\\[ x \\] ",
    "- " + "many words " * 20 + "\n\n  ",
    "# T\n",
]
LONG = st.builds(
    "{}{}{}".format,
    st.sampled_from(MARGINS),
    st.lists(_of(SPANS, WORDS, [" "] * 40, ["\n", "\n  ", "\n> "]), min_size=20, max_size=60).map("".join),
    st.sampled_from(["", "\n", "\n- y\n", "\n\n  more of the same item\n", "\n\nend\n"]),
)


@settings(max_examples=60)
@given(pieces(LONG), st.sampled_from([4, 20, 40, 80]))
def test_a_long_paragraph_in_a_list_or_quote_is_the_same_in_pieces(parts: list[str], width: int) -> None:
    complete, markdown = render("".join(parts), width), Markdown(width)
    shown = ""
    for part in parts:
        shown += markdown.feed(part)
        assert complete.startswith(shown), repr("".join(parts))
    assert shown + markdown.end() == complete, repr("".join(parts))


@given(FRAGMENTS)
def test_every_word_is_on_the_screen(fragments: list[str]) -> None:
    """A plain word after any fragment is found in the lines."""
    words = [chr(0x561 + index) for index in range(len(fragments))]  # Armenian letters: no rule or command knows them
    answer = "".join(fragment + word for fragment, word in zip(fragments, words, strict=True))
    shown = unicodedata.normalize("NFD", render(answer, 80, colour=False))
    shown = "".join(sign for sign in shown if not unicodedata.combining(sign))  # accents of LaTeX
    assert [word for word in words if word not in shown] == [], repr(answer)


LITERALS = [
    *[
        "2*3*4 = 24",
        "5 * 3 * 2",
        "a*b*c",
        "x_1*y_2*z",
        "2**3**4",
        "(a)*(b)*(c)",
        "x^2*y^2*z",
        "-5 + 3",
        "+1",
        "1,000.50",
    ],
    *[
        "3 < 5 > 2",
        "p <= q && r >= s",
        "a || b",
        "~5",
        "a~b~c",
        "~~",
        "50%",
        "1/2",
        "5!",
        "#7",
        "x[0]",
        "f[i](x)",
        "[1]",
    ],
    *[
        "[0, 1)",
        "[i](j)",
        "[](int n) { return n; }",
        "vector<std::string>",
        "<div>",
        "#include <stdio.h>",
        "&x",
        "p = &sum;",
    ],
    *[
        "snake_case_name",
        "__init__.py",
        '__name__ == "__main__"',
        "__all__",
        "_foo_bar_",
        "*args, **kwargs",
        "**kwargs",
    ],
    *[
        "def f(*args, **kwargs):",
        "int *p, *q;",
        "char **argv",
        "/*comment*/",
        "x = *p + *q",
        "@property",
        "-*- coding -*-",
    ],
    *[
        "$HOME/$USER",
        "$PATH:$HOME",
        "$5 and $10",
        "$5 and 10$",
        "US$5",
        "5$",
        "~/a and ~/b",
        "/usr/lib/python3.11/a_b.py",
    ],
    *["C:\\new\\table", "\\\\server\\share", "src/**/a/**/b.py", "file*.txt *.py", "*.txt,*.py", "*_test and test_*"],
    *[r"\d+\.\d+", r"^a\.b\?c\{2\}[x-z]+$", r"\n and \t", r"\"hi\"", r"C:\_build\_a", "user@host:~/x", "2019-01-01"],
    *[
        "https://x.org/a_b_c/d*e*f?g=1&h=2",
        "man(1)",
        "3.14e-5",
        "0x1F",
        "10:30",
        "1.2.3",
        "a->b",
        "x=y;",
        "{a: 1, b_c: 2}",
    ],
    *['the "*" key and the "*" sign', "(*) and (*)", "2 *x*y* 3", "ls *.py", "x^{2}", "a_{1}*b_{2}"],
]
NUMBERS = st.builds("{}{}".format, st.sampled_from(["", "-", "+"]), st.decimals(-1000, 1000, places=2))
NAMES = st.from_regex(r"_{0,2}[a-z]{1,5}(_[a-z0-9]{1,4}){0,3}_{0,2}", fullmatch=True).filter(
    lambda name: not re.fullmatch(r"_[a-z]+_", name)
)
OPERANDS = st.one_of(NUMBERS, st.sampled_from("abcxyz"), st.integers(0, 99).map(str))
EXPRESSIONS = st.lists(OPERANDS, min_size=2, max_size=5).flatmap(
    lambda operands: st.sampled_from(["*", " * ", "**", "+", " - ", "/", "^", "=", " < "]).map(
        lambda operator: operator.join(operands)
    )
)
PATHS = st.lists(NAMES, min_size=2, max_size=4).flatmap(
    lambda names: st.sampled_from(["/", ".", ":\\", ":", "::", "->", ".*", "/*"]).map(
        lambda between: between.join(names)
    )
)
CONTEXTS = [
    "{}",
    "so {} is",
    "- {}",
    "1. see {} here",
    "> {} there",
    "# About {} here",
    "| {} | 7 |\n|---|---|\n| x | {} |",
]
MARKS = ["**bold** ", "*soft* ", "`code` ", "\\(n\\) ", "$m$ ", "~~old~~ ", "a * ", "a_ ", "[1] "]
"""Text with marks of its own that comes before a literal in the same paragraph."""


@given(
    st.one_of(st.sampled_from(LITERALS), NAMES, EXPRESSIONS, PATHS),
    st.sampled_from(CONTEXTS),
    st.one_of(st.just(""), st.sampled_from(MARKS)),
)
def test_numbers_paths_and_names_survive(literal: str, context: str, before: str) -> None:
    shown = render(context.replace("{}", before + "it: " + literal), 400, colour=False)
    assert shown.count(literal) >= context.count("{}")
