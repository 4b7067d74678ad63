"""Long pastes in the draft: each is one character there, shown as `[pasted 120 lines]` and sent in full."""

from __future__ import annotations

from bisect import bisect_right

from prompt_toolkit.buffer import Buffer
from prompt_toolkit.document import Document
from prompt_toolkit.formatted_text import StyleAndTextTuples
from prompt_toolkit.layout.processors import Processor, Transformation, TransformationInput
from prompt_toolkit.layout.utils import explode_text_fragments

_MAX_LINES = 12  # a longer paste is folded, because it would fill half of a common terminal
_MAX_CHARACTERS = 2000
_MARKS = range(0x10F000, 0x10FFFE)  # the end of the last private-use plane


class Pastes:
    """The folded pastes of one chat. A mark keeps its text to the end of the chat, so that undo and yank restore it."""

    def __init__(self) -> None:
        self._texts: dict[int, str] = {}  # by the code point of the mark
        self._labels: dict[str, str] = {}  # by the mark

    def folded(self, text: str) -> str:
        """A mark for a long text; a short one unchanged. A text with characters that look like marks is folded too."""
        lines = text.rstrip("\n").count("\n") + 1
        is_short = lines <= _MAX_LINES and len(text) <= _MAX_CHARACTERS
        if len(self._texts) == len(_MARKS) or (is_short and not any(ord(character) in _MARKS for character in text)):
            return text
        code = _MARKS[len(self._texts)]
        self._texts[code] = text
        self._labels[chr(code)] = f"[pasted {lines:,} lines]" if lines > 1 else f"[pasted {len(text):,} characters]"
        return chr(code)

    def expanded(self, draft: str) -> str:
        """The draft with every paste in full."""
        return draft.translate(self._texts)

    def unfold(self, draft: Buffer) -> None:
        """Puts the pastes in full into the draft."""
        text = self.expanded(draft.text)
        if text != draft.text:
            draft.document = Document(text, len(self.expanded(draft.document.text_before_cursor)))

    def label(self, character: str) -> str:
        """What the draft shows instead of a character: its label for a mark, else the character."""
        return self._labels.get(character, character)


class PasteLabels(Processor):
    """Shows the label of a paste in place of its mark."""

    def __init__(self, pastes: Pastes) -> None:
        self._pastes = pastes

    def apply_transformation(self, transformation_input: TransformationInput) -> Transformation:
        shown: StyleAndTextTuples = []
        starts = []  # the column at which each character of the line is shown
        column = 0
        for style, character, *_ in explode_text_fragments(transformation_input.fragments):
            label = self._pastes.label(character)
            shown.append((style if label == character else f"{style} class:quiet", label))
            starts.append(column)
            column += len(label)
        starts += [column, column + 1]  # the cursor can be behind the last character
        return Transformation(shown, starts.__getitem__, lambda display: max(bisect_right(starts, display) - 1, 0))
