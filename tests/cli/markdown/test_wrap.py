"""`r1.markdown.wrap`: where lines break, in plain strings and in Rich text."""

from __future__ import annotations

import random
import subprocess
import sys

import pytest
from rich.cells import cell_len
from rich.text import Text

from r1.markdown.wrap import breaks, fold_text, wrap, wrap_text

TEXTS = {
    "English": "a paragraph of plain words, some of them considerably longer than others",
    "Chinese": "我们首先需要找到系数。然后，把方程（二次的）化简：得到“答案”！",
    "Japanese": "漢字と仮名のまじった文です。「引用」もある…",
    "Korean": "한국어 문장은 띄어쓰기로 나뉜다.",
    "mixed": "设 x = 42，那么 f(x) = 2x+1 的值是85（整数）。So the answer is 85。",
    "emoji": "done 😀😀😀 and 👩‍🚀 next",
    "one long word": "https://example.org/a/very/long/address/without/any/space/in/it",
    "brackets alone": "（（《《 a 【【",
}
WIDTHS = [1, 2, 3, 7, 12, 20, 33, 80]


def lines_of(text: str, width: int) -> list[str]:
    return [line.plain for line in wrap_text(Text(text), width)]


class TestBothWays:
    """Thinking is plain text and answers are Rich text; both break at the same places."""

    @pytest.mark.parametrize("width", WIDTHS)
    @pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
    def test_the_lines_are_equal(self, text: str, width: int) -> None:
        assert wrap(text, width) == lines_of(text, width)

    @pytest.mark.parametrize("seed", range(10))
    def test_the_lines_of_made_up_text_are_equal(self, seed: int) -> None:
        rng = random.Random(seed)
        atoms = ["word", " ", "  ", "中", "文", "。", "，", "（", "）", "x+y", "あ", "한", "…", "a-b", "é", "😀"]
        for _ in range(200):
            text = "".join(rng.choice(atoms) for _ in range(rng.randint(1, 40))).strip()
            width = rng.choice(WIDTHS)
            assert wrap(text, width) == lines_of(text, width), repr(text)


class TestBreaks:
    """Between words and CJK characters, not before closing or after opening punctuation."""

    @pytest.mark.parametrize(
        ("text", "width", "lines"),
        [
            ("one two three", 8, ["one two", "three"]),
            ("one two", 7, ["one two"]),
            ("one  two", 3, ["one", "two"]),
            ("**\u3000*", 4, ["**", "*"]),
            ("abcdefgh ij", 3, ["abc", "def", "gh", "ij"]),
            ("我们首先需要找到系数。然后", 20, ["我们首先需要找到系", "数。然后"]),
            ("这是（括号）里", 6, ["这是", "（括", "号）里"]),
            ("他说「你好」。", 8, ["他说「你", "好」。"]),
            ("他说「你好」。", 7, ["他说", "「你", "好」。"]),
            ("x是42。", 6, ["x是", "42。"]),
        ],
    )
    def test_at(self, text: str, width: int, lines: list[str]) -> None:
        assert [text[begin:end] for begin, end in breaks(text, width)] == lines

    @pytest.mark.parametrize("width", WIDTHS)
    @pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
    def test_every_line_fits_and_every_character_but_spaces_is_kept(self, text: str, width: int) -> None:
        lines = [text[begin:end] for begin, end in breaks(text, width)]
        assert "".join(lines).replace(" ", "") == text.replace(" ", "")
        assert all(cell_len(line) <= width or len(line) == 1 for line in lines if "👩" not in line)

    def test_a_newline_always_breaks(self) -> None:
        text = "a\n\n b"
        assert [text[begin:end] for begin, end in breaks(text, 80)] == ["a", "", "b"]


class TestWrap:
    """One line of plain text, as a trace or a message of the program has it."""

    def test_the_indent_stays_on_the_first_line_only(self) -> None:
        assert wrap("    one two three", 12) == ["    one two", "three"]

    def test_an_indent_counts_as_part_of_the_first_word(self) -> None:
        assert wrap("    abcdefgh", 8) == ["    abcd", "efgh"]

    def test_spaces_at_the_end_are_kept(self) -> None:
        assert wrap("one two ", 80) == ["one two "]
        assert wrap("one two   ", 7) == ["one two   "]

    def test_spaces_at_a_break_are_dropped(self) -> None:
        assert wrap("one    two", 5) == ["one", "two"]

    @pytest.mark.parametrize("seed", range(10))
    @pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
    def test_text_in_pieces_breaks_like_the_complete_text(self, text: str, seed: int) -> None:
        rng = random.Random(seed)
        width, rest, lines, pending = rng.randint(3, 30), "  " + text.replace(" ", "  "), [], ""
        complete = wrap(rest, width)
        while rest:
            cut = rng.randint(1, 6)
            *full, pending = wrap(pending + rest[:cut], width)
            lines, rest = lines + full, rest[cut:]
        assert [*lines, pending] == complete


class TestFold:
    """Code is cut at the last column; every character stays."""

    @pytest.mark.parametrize("width", WIDTHS)
    @pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
    def test_nothing_is_lost(self, text: str, width: int) -> None:
        lines = [line.plain for line in fold_text(Text(text), width)]
        assert "".join(lines) == text

    def test_all_lines_but_the_last_are_full(self) -> None:
        assert [line.plain for line in fold_text(Text("x = [1,  2]"), 4)] == ["x = ", "[1, ", " 2]"]

    def test_styles_stay(self) -> None:
        text = Text("plain ") + Text("bold words", style="bold")
        styled = [[line.plain[span.start : span.end] for span in line.spans] for line in fold_text(text, 8)]
        assert styled == [["bo"], ["ld words"]]


def test_it_imports_only_the_widths_of_characters_from_rich() -> None:
    program = "import sys, r1.markdown.wrap; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=300)
    modules = set(done.stdout.split())
    assert "rich.cells" in modules
    assert not modules & {"rich.console", "rich.text", "rich.style", "markdown_it", "pygments"}
