"""`r1.markdown.stream`: how an answer looks, and that finished lines never change."""

from __future__ import annotations

import random
import re
import sys
import time
from collections.abc import Iterator
from types import FrameType

import pytest
from rich.cells import cell_len

from r1.markdown.stream import Markdown, render

ANSWER = r"""## Solving it

To solve \( ax^2 + c = 0 \) where \(a \neq 0\), we use the **quadratic formula**, which *always* works:

\[
x = \frac{-b \pm \sqrt{b^2 - 4ac}}{2a}
\]

1. **Coefficients:**
   - \( a = 2 \)
   - `b` is [here](https://x.org), and a long item wraps to a line that hangs below its text
2. **Discriminant:**
   \[
   \Delta = 16 + 48
   \]
   It is positive.

10. Ten:
    ```python
    def f(x):
        return x  # done
    ```

| Method | Cost |
|:-------|-----:|
| Factoring | $5 |
| Formula | \(O(1)\) |

> **Note:** quoted
>
> - positive: two

---

**Final answer:** \boxed{3}, for $5 to $10.
"""
AT_44 = """\
Solving it

To solve ax² + c = 0 where a ≠ 0, we use the
quadratic formula, which always works:

  x = (-b ± √(b² - 4ac))/(2a)

1. Coefficients:
   • a = 2
   • b is here (https://x.org), and a long
     item wraps to a line that hangs below
     its text
2. Discriminant:
     Δ = 16 + 48
   It is positive.

10. Ten:
    def f(x):
        return x  # done

Method      Cost
────────────────
Factoring     $5
Formula     O(1)

│ Note: quoted
│
│ • positive: two

────────────────────────────────────────

Final answer: 3, for $5 to $10.
"""
LOOKS = {
    "**bold** and *soft* and `code`": "bold and soft and code",
    "# Title #\ntext": "Title\n\ntext",
    "Title\n=====\ntext": "Title\n\ntext",
    "a\n\n\n\nb": "a\n\nb",
    "one\ntwo": "one\ntwo",
    "- a\n- b\n  - c\n\n- d": "• a\n• b\n  ◦ c\n\n• d",
    "3. c\n4. d": "3. c\n4. d",
    "1. a\n1. b\n1. c": "1. a\n2. b\n3. c",
    "> a\n>> b": "│ a\n│\n│ │ b",
    "[x](http://x.org) <http://y.org> [](z.html)": "x (http://x.org) http://y.org z.html",
    "![a cat](cat.png)": "a cat (cat.png)",
    "~~no~~ &amp; \\*yes\\*": "no & *yes*",
    "```\na\n\n  b\n```": "a\n\n  b",
    "```py\nopen = 1": "open = 1",
    "<b>not html</b>": "<b>not html</b>",
    "[red]no markup[/red] :smile:": "[red]no markup[/red] :smile:",
    "$5 and $10": "$5 and $10",
    "costs $5, or $6.50.": "costs $5, or $6.50.",
    "$x^2$ is 5": "x² is 5",
    "Let $n$ be $2k$.": "Let n be 2k.",
    "so \\boxed{\\frac{1}{2}}.": "so 1/2.",
    "\\[ x^2 \\].": "  x².",
    "\\[ x^2 \\] which is\nmore": "  x²\n\nwhich is\nmore",
    "$$\na\n$$": "  a",
    "text\n\\[\n- 5x\n= 3\n\\]\nmore": "text\n\n  -5x = 3\n\nmore",
    "- a\n\n- \\[ x \\] so\n- b": "• a\n\n•   x\n  so\n• b",
    "- a | b\n|---|---|": "• a | b\n  |---|---|",
    "\\[ x \\] \\[ y \\], $$z$$ and": "  x\n\n  y,\n\n  z\n\nand",
    "so\n\\begin{align*}\nx &= 1 \\\\\ny &= 2\n\\end{align*}.\nmore": "so\n\n  x = 1\n  y = 2.\n\nmore",
    "\\begin{equation}\nE = mc^2\n\\end{equation}": "  E = mc²",
    "A = \\begin{pmatrix} 1 & 2 \\\\\n3 & 4 \\end{pmatrix} here": "A = (1 2; 3 4) here",
    "\\begin{align}\nx = 1\n\nnever closed": "\\begin{align}\nx = 1\n\nnever closed",
    "use \\begin{align} and \\end{align}": "use \\begin{align} and \\end{align}",
    "\\begin{document}\nx = 1\n\\end{document}": "\\begin{document}\nx = 1\n\\end{document}",
    "open \\( x_1 *y*": "open \\( x_1 y",
    "\\[ x_1 *y*": "\\[ x_1 *y*",
    "a | b\n--- | ---\n1<br>2 | 3": "a   b\n─────\n1   3\n2",
    "\x1b[31mred\x07\r\nline": "[31mred\nline",
}


def pieces_of(text: str, rng: random.Random, longest: int) -> Iterator[str]:
    while text:
        cut = rng.randint(1, longest)
        yield text[:cut]
        text = text[cut:]


def plain(text: str, width: int = 80) -> str:
    return render(text, width, colour=False)


@pytest.mark.parametrize("source", LOOKS)
def test_each_construct(source: str) -> None:
    assert plain(source) == LOOKS[source] + "\n"


def test_a_typical_answer() -> None:
    assert plain(ANSWER, 44) == AT_44


def test_with_colour_there_are_styles_and_without_no_escape_codes() -> None:
    coloured = render(ANSWER, 44)
    assert "\x1b[1mquadratic formula\x1b[0m" in coloured
    assert "\x1b[1;7m3\x1b[0m" in coloured, "the boxed result"
    assert "\x1b[35mdef\x1b[0m" in coloured
    assert "\x1b[2m│ \x1b[0m\x1b[1mNote:\x1b[0m quoted\n" in coloured
    assert "\x1b]" not in coloured, "no hyperlinks"
    assert re.sub(r"\x1b\[[\d;]*m", "", coloured) == AT_44
    assert "\x1b" not in plain(ANSWER)


@pytest.mark.parametrize("width", [8, 20, 40, 80, 120])
@pytest.mark.parametrize("longest", [1, 5, 60])
def test_an_answer_in_pieces_looks_like_the_complete_answer(width: int, longest: int) -> None:
    markdown = Markdown(width)
    fed = "".join(map(markdown.feed, pieces_of(ANSWER, random.Random(width), longest)))
    assert fed + markdown.end() == render(ANSWER, width)


ATOMS = [
    *[
        "word ",
        "two words ",
        "\n",
        "\n\n",
        "- ",
        "1. ",
        "2. ",
        "   ",
        "> ",
        "```\n",
        "```py\n",
        "**",
        "*",
        "_",
        "`",
        "$x^2$",
    ],
    *[
        "$5",
        "\\(a\\)",
        "\\(",
        "\\[",
        "\\]",
        "\\[ x \\]",
        "$$",
        "\\boxed{4}",
        "# ",
        "| a | b |\n",
        "|---|---|\n",
        "---\n",
    ],
    *[
        "===\n",
        "~~",
        "[l](u)",
        "[",
        "](",
        "中文，",
        "长一点的句子。",
        "\\",
        "def f(x): return 's'\n",
        "    ",
        "\t",
        "<br>",
    ],
    *[
        "a line that keeps going on and on past the sixtieth character of it and more ",
        "|",
        "a | b",
        "'''",
        "/*",
        "=",
        "#",
    ],
    *["😀", "http://x.org/a/long/address ", "- - -\n", "-", "&amp;"],
]


@pytest.mark.parametrize("seed", range(8))
def test_made_up_text_in_pieces_looks_like_the_complete_text_and_fits(seed: int) -> None:
    rng = random.Random(seed)
    for _ in range(40):
        text = "".join(rng.choice(ATOMS) for _ in range(rng.randint(1, 60)))
        width = rng.choice([1, 2, 8, 20, 40, 80])
        markdown = Markdown(width)
        fed = "".join(map(markdown.feed, pieces_of(text, rng, rng.choice([1, 4, 40]))))
        assert fed + markdown.end() == render(text, width), repr(text)
        widest = max(map(cell_len, plain(text, width).split("\n")))
        assert widest <= max(width, 2), repr(text)  # a wide character does not fit in one column


def test_lines_are_finished_while_a_paragraph_continues() -> None:
    markdown = Markdown(40)
    text = "A paragraph of **many** words that \\(x^2\\) goes on. " * 40
    for piece in pieces_of(text, random.Random(1), 5):
        markdown.feed(piece)
        assert markdown.live(100).count("\n") < 5


def test_items_and_code_are_finished_line_by_line() -> None:
    markdown = Markdown(40, colour=False)
    assert markdown.feed("1. one\n2. two\n") == "1. one\n"
    assert markdown.feed("   - a\n   - b\n") == "2. two\n   • a\n"
    assert markdown.feed("\n\n```py\na = 1\n") == "   • b\n\na = 1\n"
    assert markdown.feed("b = 2\nc =") == "b = 2\n"
    assert markdown.live(5) == "c ="
    assert markdown.feed(" 3\n```\n") == "c = 3\n"
    assert markdown.end() == ""


def test_text_that_can_become_something_else_is_not_finished() -> None:
    for begun, rest, complete in [
        ("Title\n", "---\n", "Title\n"),
        ("a | b\n", "---|---\n1 | 2\n", "a   b\n─────\n1   2\n"),
        ("some words *and words that go on for very long indeed, past the end ", "of it*", None),
    ]:
        markdown = Markdown(20, colour=False)
        assert "and" not in markdown.feed(begun)
        assert markdown.feed(rest) + markdown.end() == (complete or plain(begun + rest, 20))


@pytest.mark.parametrize("longest", [1, 3, 7])
def test_a_box_of_many_lines_and_the_paragraph_after_it_are_complete(longest: int) -> None:
    text = "\\boxed{\nx = 1,\ny = 2,\nz = 3\n}\n\nDone here.\n"
    markdown = Markdown(80, colour=False)
    shown = "".join(markdown.feed(text[index : index + longest]) for index in range(0, len(text), longest))
    assert shown + markdown.end() == plain(text)
    assert plain(text).split() == ["x", "=", "1,", "y", "=", "2,", "z", "=", "3", "Done", "here."]


def test_the_source_of_a_long_paragraph_is_dropped() -> None:
    markdown, text = Markdown(40, colour=False), "*open and **many** words, \\(x^2\\) and `code`, " * 80
    shown = ""
    for piece in pieces_of(text, random.Random(4), 9):
        shown += markdown.feed(piece)
        assert len(markdown._source) < 2500
    assert shown + markdown.end() == plain(text, 40)


@pytest.mark.parametrize("width", [4, 20, 40])
def test_a_paragraph_is_not_divided_between_marks_that_depend_on_each_other(width: int) -> None:
    text = "many words that go on and on until the line is long enough, *then more and $more **_*_*~~***\n- y\n"
    markdown, shown = Markdown(width), ""
    for index in range(0, len(text), 5):
        shown += markdown.feed(text[index : index + 5])
    assert shown + markdown.end() == render(text, width)


def test_finished_and_live_lines_are_the_complete_text_at_all_times() -> None:
    text = "\n\n".join(" ".join(f"w{paragraph}x{word}" for word in range(60)) for paragraph in range(4))
    markdown, shown, fed = Markdown(30, colour=False), "", ""
    for piece in pieces_of(text, random.Random(3), 9):
        shown += markdown.feed(piece)
        fed += piece
        assert (shown + markdown.live(1000)).split() == fed.split()


@pytest.mark.parametrize(
    "text",
    [
        "\u200b \\*a\n*b " + "word " * 20,
        "\u00a0\n**a** " + "many words " * 12 + "*then more and ",
        "# T\n\u00a0 b\n" * 9,
    ],
)
@pytest.mark.parametrize("width", [20, 80])
def test_characters_without_a_width_and_lines_that_look_blank_are_kept(text: str, width: int) -> None:
    markdown, shown = Markdown(width, colour=False), ""
    for character in text:
        shown += markdown.feed(character)
    assert shown + markdown.end() == plain(text, width)
    assert ("\u200b" in plain(text, width)) == ("\u200b" in text)


@pytest.mark.parametrize(
    "text",
    [
        ANSWER,
        "word " * 500,
        "- item " + "word " * 300,
        "> - x\n\n> " + "word " * 300,
        "\\[ x \\] " + "word " * 300,
        "```\n" + "x = 1\n" * 50,
    ],
)
def test_a_resize_neither_loses_nor_repeats_a_word(text: str) -> None:
    text = " ".join(f"{word}{index}" for index, word in enumerate(text.split(" "))) if "word" in text else text
    rng = random.Random(2)
    markdown, shown = Markdown(60, colour=False), ""
    for piece in pieces_of(text, rng, 20):
        markdown.width = rng.choice([24, 30, 60, 90])
        lines = markdown.feed(piece)
        assert all(cell_len(line) <= markdown.width for line in (lines + markdown.live(99)).split("\n"))
        shown += lines
    shown += markdown.end()
    assert re.sub(r"[\s─│]", "", shown) == re.sub(r"[\s─│]", "", plain(text, 60))


def test_live_shows_the_last_rows_and_an_ellipsis_if_there_are_more() -> None:
    markdown = Markdown(20)
    markdown.feed("| a | b |\n|---|---|\n" + "".join(f"| {row} | x |\n" for row in range(9)))
    rows = markdown.live(4).split("\n")
    assert rows[0] == "\x1b[2m…\x1b[0m"
    assert [row.split()[0] for row in rows[1:]] == ["6", "7", "8"]
    assert re.sub(r"\x1b\[\d*m", "", markdown.live(1)) == "… 8   x"
    assert markdown.live(0) == ""
    assert len(markdown.live(50).split("\n")) == 11


HOSTILE = {
    **{
        f"{sign} again and again": sign * 10_000
        for sign in ("*", "[", ">", "> ", "\\", "$", "~", "`", "_a", "\n", "中", "\t")
    },
    "nested lists": "\n".join("  " * depth + "- x" for depth in range(500)),
    "lists in one line": "- " * 500 + "x",
    "quotes in one line": "> " * 500 + "x",
    "formulas that stay open": "\\(" * 5000,
    "displays that stay open": "\\[\n" * 3000,
    "boxes that stay open": "\\boxed{" * 1500,
    "a table of a thousand columns": "|" + " a |" * 1000 + "\n|" + "---|" * 1000 + "\n|" + " b |" * 1000,
    "a table of a thousand rows": "|a|b|\n|-|-|\n" + "|c|d|\n" * 1000,
    "bytes": random.Random(1).randbytes(20_000).decode("utf-8", "replace"),
    "latin bytes": random.Random(1).randbytes(20_000).decode("latin-1"),
    "one word": "x" * 100_000,
    "one letter with many accents": "a" + "\u0301" * 10_000,
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_hostile_text_is_shown_in_time(text: str) -> None:
    began = time.process_time()
    shown = plain(text, 40)
    assert time.process_time() - began < 10  # the slowest takes half a second
    assert max(map(cell_len, shown.split("\n"))) <= 40


@pytest.mark.parametrize(
    ("piece", "count"),
    [("[", 2000), ("\\", 2000), ("_a", 2000), ("\\boxed{", 400)],
    ids=["brackets", "backslashes", "emphasis", "boxes"],
)
def test_the_work_for_hostile_text_grows_with_its_length(piece: str, count: int) -> None:
    """Four times the text takes about four times the work, and 16 times where it is quadratic."""
    assert work(piece * 4 * count) < 9 * work(piece * count)


def work(text: str) -> int:
    """The function calls that it takes to render a text: the same in every run, other than seconds."""
    calls = 0

    def count(_frame: FrameType, event: str, _argument: object) -> None:
        nonlocal calls
        calls += event in {"call", "c_call"}

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        plain(text, 40)
    finally:
        sys.setprofile(before)
    return calls


@pytest.mark.parametrize(
    ("head", "piece", "longest"),
    [
        ("", "* a", 400),
        ("", "> ", 400),
        ("", "> a\n", 400),
        ("- ", "我们首先需要找到系数然后计算", 400),
        ("1. ", "words and *more* words ", 400),
        ("> - ", "\\(x\\) and so on ", 400),
        ("", "\\(a\n", 3000),
        ("```python\n", "x = f(1, 'text')  # a line\n", 400),
        ("|a|b|\n|-|-|\n", "|c|d|\n", 2000),
    ],
)
def test_what_is_parsed_again_is_short(head: str, piece: str, longest: int) -> None:
    """So each piece of a long answer takes the same time."""
    text = (head + piece * 2000)[:6000]
    markdown, shown = Markdown(80, colour=False), ""
    for index in range(0, len(text), 50):
        shown += markdown.feed(text[index : index + 50])
        assert len(markdown._source) < longest
    assert shown + markdown.end() == plain(text)


WORDS_OF_EVERY_BLOCK = "\n\n".join(
    [
        " ".join(f"p{number}paragraph" for number in range(40)),
        "\n".join(f"- {' '.join(f'i{item}x{number}item' for number in range(14))}" for item in range(2)),
        "| Name | Value |\n|---|---|\n" + "\n".join(f"| t{row}cell | u{row}cell v{row}cell |" for row in range(3)),
        "```\n" + "\n".join(f"    c{line}x = y{line}y + z{line}z" for line in range(9)) + "\n```",
        "> " + " ".join(f"q{number}quote" for number in range(30)),
        " ".join(f"z{number}last" for number in range(40)),
    ]
)


@pytest.mark.parametrize("seed", range(8))
def test_a_width_that_changes_between_blocks_loses_repeats_and_cuts_no_word(seed: int) -> None:
    rng = random.Random(seed)
    pieces = list(pieces_of(WORDS_OF_EVERY_BLOCK, rng, 6))
    changes = dict(zip(rng.sample(range(len(pieces)), 4), (40, 100, 30, 80), strict=True))
    markdown, shown = Markdown(80, colour=False), ""
    for number, piece in enumerate(pieces):
        markdown.width = changes.get(number, markdown.width)
        shown += markdown.feed(piece)
        markdown.live(10)
    shown += markdown.end()
    words = re.findall(r"[a-z]\d\w+", WORDS_OF_EVERY_BLOCK)
    assert sorted(re.findall(r"[a-z]\d\w+", shown)) == sorted(words)
