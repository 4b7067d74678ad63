"""What holds for every answer: finished lines never change, and no word, number, path or name is lost."""

from __future__ import annotations

import itertools
import re

from hypothesis import given
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
ANSWERS = st.lists(st.one_of(LINE, _of(BLOCKS), _of(BLOCKS, SPANS, WORDS, ENDS)), max_size=14).map("".join)


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
