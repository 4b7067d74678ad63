"""`r1.chat.pastes`: a long paste is one character in the draft, and no character of it is lost."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from prompt_toolkit.buffer import Buffer
from prompt_toolkit.document import Document
from prompt_toolkit.formatted_text import to_formatted_text
from prompt_toolkit.formatted_text.utils import fragment_list_to_text
from prompt_toolkit.layout.controls import BufferControl
from prompt_toolkit.layout.processors import Transformation, TransformationInput

from r1.chat.pastes import PasteLabels, Pastes

LINES = "\n".join(f"line {number}" for number in range(120))
MARK = "\U0010f000"  # the first mark


def transformed(pastes: Pastes, line: str) -> Transformation:
    given = TransformationInput(BufferControl(), Document(line), 0, lambda at: at, to_formatted_text(line), 80, 24)
    return PasteLabels(pastes).apply_transformation(given)


class TestFolding:
    """Long texts are folded, short ones are not."""

    def test_twelve_lines_stay_thirteen_are_folded(self) -> None:
        pastes = Pastes()
        twelve = "\n".join("x" * 12)
        assert pastes.folded(twelve) == twelve
        assert len(pastes.folded(f"{twelve}\nx")) == 1

    def test_a_newline_at_the_end_begins_no_line(self) -> None:
        twelve = "x\n" * 12
        assert Pastes().folded(twelve) == twelve

    def test_one_very_long_line_is_folded_too(self) -> None:
        pastes = Pastes()
        assert pastes.folded("x" * 2000) == "x" * 2000
        assert pastes.label(pastes.folded("x" * 8192)) == "[pasted 8,192 characters]"

    def test_a_text_that_holds_a_mark_of_its_own_is_sent_as_it_is(self) -> None:
        pastes = Pastes()
        first = pastes.folded(LINES)
        second = pastes.folded(f"see {first}")
        assert pastes.expanded(f"{first}{second}") == f"{LINES}see {first}"

    @given(st.lists(st.tuples(st.booleans(), st.text(st.sampled_from("ab\n\t" + MARK), max_size=30)), max_size=8))
    def test_no_character_is_lost(self, parts: list[tuple[bool, str]]) -> None:
        """Pasted parts, some of them long, between typed ones, which cannot hold a mark."""
        pastes, draft, meant = Pastes(), "", ""
        for is_pasted, text in parts:
            written = text * 50 if is_pasted else text.replace(MARK, "")
            draft += pastes.folded(written) if is_pasted else written
            meant += written
        assert pastes.expanded(draft) == meant


class TestDraft:
    """The draft shows a label, and can show the text."""

    def test_unfolding_keeps_the_cursor_beside_the_same_character(self) -> None:
        pastes = Pastes()
        text = f"a {pastes.folded(LINES)} b"
        draft = Buffer(document=Document(text, len(text) - 1))
        pastes.unfold(draft)
        assert (draft.text, draft.document.text_after_cursor) == (f"a {LINES} b", "b")

    def test_a_draft_without_pastes_is_left_alone(self) -> None:
        draft = Buffer(document=Document("a b", 1))
        Pastes().unfold(draft)
        assert (draft.text, draft.cursor_position) == ("a b", 1)

    def test_the_label_stands_for_the_mark_and_positions_follow(self) -> None:
        pastes = Pastes()
        shown = transformed(pastes, f"a{pastes.folded(LINES)}b")
        assert fragment_list_to_text(shown.fragments) == "a[pasted 120 lines]b"
        length = len("[pasted 120 lines]")
        assert [shown.source_to_display(source) for source in range(5)] == [0, 1, 1 + length, 2 + length, 3 + length]
        assert [shown.display_to_source(display) for display in (0, 1, 5, length, 1 + length)] == [0, 1, 1, 1, 2]
