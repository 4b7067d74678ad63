"""`r1.markdown.blocks`: the lines of blocks, and which of them are final."""

from __future__ import annotations

import pytest

from r1.markdown.blocks import Blocks, Layout, Start
from r1.markdown.grammar import parse


def layout(source: str, width: int = 40, start: Start | None = None) -> Layout:
    return Blocks(source, start or Start(), coloured=False).layout(parse(source), width, width)


def lines_of(source: str, width: int = 40, start: Start | None = None) -> list[str]:
    return [line.plain for line in layout(source, width, start).lines]


class TestContainers:
    """Lists and quotes hang beside their markers."""

    def test_bullets_differ_by_depth(self) -> None:
        assert lines_of("- a\n  - b\n    - c\n      - d") == ["• a", "  ◦ b", "    ▪ c", "      • d"]

    def test_a_list_is_numbered_in_sequence_from_its_first_number(self) -> None:
        assert lines_of("9. a\n9. b") == ["9. a", "10. b"]

    @pytest.mark.parametrize(
        ("source", "lines"),
        [
            ("3. a\n5. b", ["3. a", "5. b"]),
            ("1. a\n1. b\n1. c", ["1. a", "2. b", "3. c"]),
            ("1) a\n2) b", ["1) a", "2) b"]),
            ("007. James", ["007. James"]),
            ("2019. was a good year", ["2019. was a good year"]),
            ("1. a\n   10. b\n   20. c", ["1. a", "   10. b", "   20. c"]),
        ],
    )
    def test_numbers_are_shown_as_they_are_written(self, source: str, lines: list[str]) -> None:
        assert lines_of(source) == lines

    @pytest.mark.parametrize("line", ["- 5", "+ 5", "* 5", "- 3x = 7", "+ 12 / (4 - 1)", "- 2.5"])
    def test_a_marker_that_may_be_a_sign_is_shown_as_it_is_written(self, line: str) -> None:
        assert lines_of(f"10\n{line}") == ["10", "", line]

    def test_a_marker_before_words_is_a_bullet(self) -> None:
        assert lines_of("- 2 eggs\n- 100 g of flour") == ["• 2 eggs", "• 100 g of flour"]

    @pytest.mark.parametrize("sign", ["> ", "- "])
    def test_nested_too_deep_they_are_text(self, sign: str) -> None:
        shown = " ".join(lines_of(sign * 100 + "x", 200))
        assert shown.endswith("x")
        assert shown.count(sign[0]) > 50

    @pytest.mark.parametrize("source", [">>> print(1)", ">= 5", ">3"])
    def test_comparisons_and_prompts_are_no_quotes(self, source: str) -> None:
        assert lines_of(source) == [source]

    def test_a_list_that_began_in_dropped_text_keeps_its_number(self) -> None:
        assert lines_of("1. c", start=Start(number="7.")) == ["7. c"]

    def test_a_quote_has_a_bar_and_blank_lines_between_its_blocks(self) -> None:
        assert lines_of("> a\n> - b") == ["│ a", "│", "│ • b"]

    def test_wrapped_lines_hang_below_their_text(self) -> None:
        assert lines_of("- one two three", 9) == ["• one two", "  three"]

    def test_without_room_beside_the_marker_the_text_is_below_it(self) -> None:
        assert lines_of("- one", 5) == ["•", "one"]

    def test_items_are_as_far_apart_as_in_the_source(self) -> None:
        assert lines_of("- a\n- b\n\n- c") == ["• a", "• b", "", "• c"]


class TestStable:
    """The number of lines that later text cannot change."""

    @pytest.mark.parametrize(
        ("source", "stable"),
        [
            ("# Title\n", 1),
            ("Title\n", 0),  # `---` may follow
            ("one two three four five six seven eight nine ten eleven twelve thirteen\n", 2),
            ("one two three four five six seven eight nine ten eleven twelve thirteen", 1),
            ("a\n\nb\n", 2),
            ("```\na = 1\n", 1),
            ("| a | b |\n|---|---|\n| 1 | 2 |\n", 0),  # a wider cell may follow
            ("\\[\nx\n\\]\n", 1),
            ("---\n", 1),
        ],
    )
    def test_of_the_last_block(self, source: str, stable: int) -> None:
        assert layout(source).stable == stable

    def test_ends_where_markup_is_open(self) -> None:
        words = "one two three four five six seven eight nine ten eleven twelve thirteen fourteen "
        assert (
            layout(f"{words}*fifteen sixteen seventeen eighteen nineteen twenty\n").stable
            < layout(f"{words}fifteen sixteen seventeen eighteen nineteen twenty\n").stable
        )

    def test_the_last_block_begins_where_text_can_be_dropped(self) -> None:
        found = layout("one\n\ntwo\n\nthree\n")
        assert (found.last_line, found.last_index, found.last_start) == (4, 3, Start(blank=True))

    def test_the_last_item_of_a_list_likewise(self) -> None:
        found = layout("3. a\n4. b\n")
        assert (found.last_line, found.last_index, found.last_start) == (1, 1, Start(number="4."))


class TestOpenCode:
    """A code block that continues keeps its place."""

    def test_is_reported_with_its_place_and_length(self) -> None:
        code = layout("text\n\n```py\na = 1\nb = 2\n").code
        assert code is not None
        assert (code.line, code.count, code.first) == (2, 2, 1)

    def test_a_closed_one_is_not(self) -> None:
        assert layout("```py\na = 1\n```\n").code is None


@pytest.mark.parametrize(
    ("opening", "above"),
    [
        *[("```", []), ("```python", []), ("~~~c++", []), ("``` objective-c", [])],
        *[("```python title=a.py", ["python title=a.py"]), ("```print(1)", ["print(1)"]), ("```42", ["42"])],
    ],
)
def test_above_code_is_what_its_first_line_says_besides_a_language(opening: str, above: list[str]) -> None:
    assert lines_of(f"{opening}\nx = 1\ny = 2") == [*above, "x = 1", "y = 2"]


def test_code_can_be_copied() -> None:
    source = "def f():\n\treturn 'a  b'\n\n\nlonger = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]"
    lines = lines_of(f"```python\n{source}\n```", 20)
    assert lines[:4] == ["def f():", "    return 'a  b'", "", ""]
    assert "".join(lines[4:]) == source.splitlines()[4]


def test_chinese_wraps_between_characters_and_not_before_a_full_stop() -> None:
    assert lines_of("我们首先需要找到系数。然后", 20) == ["我们首先需要找到系", "数。然后"]
