"""What the chat writes on: how wide it is, whether it takes colours, and the lines that the program itself says.

Knows: columns and styles. Does not know: models, turns, terminals.
"""

from __future__ import annotations

from dataclasses import dataclass

from rich.cells import cell_len

from r1.console import printable

RESET = "\x1b[0m"


@dataclass(slots=True)
class Style:
    """`width` in columns; it may change at any moment."""

    width: int
    colour: bool = True

    def styled(self, text: str, codes: str) -> str:
        """`text` with SGR `codes` ("1": bold, "2": dim), where there are colours."""
        return f"\x1b[{codes}m{text}{RESET}" if self.colour and text else text

    def dim(self, text: str) -> str:
        return self.styled(text, "2")

    def note(self, text: str, codes: str = "2") -> str:
        """Lines that the program says, wrapped at words, each ending in a newline; indents stay."""
        return "".join(f"{self.styled(line, codes)}\n" for line in self._wrapped(text))

    def _wrapped(self, text: str) -> list[str]:
        lines: list[str] = []
        for line in printable(text).expandtabs(4).split("\n"):
            body = line.lstrip(" ")
            indent = line[: len(line) - len(body)]
            first, *others = wrap(body, max(self.width - 1 - len(indent) - (2 if indent else 0), 8))
            lines += [indent + first, *(f"{indent}{'  ' if indent else ''}{other}" for other in others)]
        return lines


def wrap(text: str, width: int) -> list[str]:
    """`text`, which has no newline in it, in lines of at most `width` columns; between words where that is possible.

    White space at a break goes, what stands at the very end stays.
    """
    lines = []
    while cell_len(text) > width:
        cut = _cut(text, width)
        lines.append(text[:cut].rstrip())
        text = text[cut:].lstrip(" ")
    return [*lines, text]


def _cut(text: str, width: int) -> int:
    """Where to break `text`, which is too long: after the last word that fits, else in the word."""
    fits = cells = 0
    for character in text:
        cells += cell_len(character)
        if cells > width:
            break
        fits += 1
    if text[fits] == " ":
        return fits
    space = text.rfind(" ", 0, fits)
    return space + 1 if space > 0 and text[:space].strip() else max(fits, 1)
