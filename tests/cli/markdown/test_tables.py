"""`r1.markdown.tables`: tables in columns, or row by row on narrow terminals."""

from __future__ import annotations

import pytest
from rich.cells import cell_len

from r1.markdown.stream import render

WIDE = "| Method | Cost |\n|:-------|-----:|\n| Factoring | 5 |\n| 中文 | 10 |"
NARROW = "| Name | Meaning |\n|---|---|\n| alpha | beginning |\n| omega | end |"


def lines_of(table: str, width: int) -> list[str]:
    return render(table, width, colour=False).splitlines()


class TestColumns:
    """Where every column has room for its words."""

    def test_are_aligned_as_the_source_says(self) -> None:
        assert lines_of(WIDE, 40) == ["Method      Cost", "────────────────", "Factoring      5", "中文          10"]

    @pytest.mark.parametrize("width", [12, 16, 20, 40, 200])
    def test_fit_the_width(self, width: int) -> None:
        assert max(map(cell_len, lines_of(WIDE, width))) <= width

    def test_a_br_breaks_the_line_in_a_cell(self) -> None:
        assert lines_of("a | b\n--- | ---\n1<br>2 | 3", 40)[2:] == ["1   3", "2"]

    def test_the_head_is_bold(self) -> None:
        assert "\x1b[1mMethod" in render(WIDE, 40)

    def test_a_row_with_fewer_cells_has_empty_ones(self) -> None:
        assert lines_of("| a | b |\n|---|---|\n| 1 |", 40)[2:] == ["1"]


class TestRecords:
    """On a narrow terminal: `name: value`, with a blank line between rows."""

    def test_a_table_without_room_is_shown_row_by_row(self) -> None:
        assert lines_of(NARROW, 14) == ["Name: alpha", "Meaning:", "beginning", "", "Name: omega", "Meaning: end"]

    def test_empty_cells_are_left_out(self) -> None:
        assert lines_of("| Name | Meaning |\n|---|---|\n| alpha | |", 10) == ["Name:", "alpha"]

    def test_a_table_without_rows_shows_its_head(self) -> None:
        assert lines_of("| Name | Meaning |\n|---|---|", 8) == ["Name", "Meaning"]

    def test_an_unnamed_column_has_no_label(self) -> None:
        assert lines_of("| | Meaning |\n|---|---|\n| alpha | end |", 8) == ["alpha", "Meaning:", "end"]
