"""The width and colours of the output, and the layout of the program's messages."""

from __future__ import annotations

from dataclasses import dataclass

from r1.console import printable
from r1.markdown.wrap import wrap

RESET = "\x1b[0m"
_MIN_COLUMNS = 8  # for text beside an indent


@dataclass(slots=True)
class Style:
    """`width` in columns; it changes when the terminal is resized."""

    width: int
    colour: bool = True

    def styled(self, text: str, codes: str) -> str:
        """`text` with SGR `codes` ("1": bold, "2": dim), or unchanged without colour."""
        return f"\x1b[{codes}m{text}{RESET}" if self.colour and text else text

    def dim(self, text: str) -> str:
        return self.styled(text, "2")

    def note(self, text: str, codes: str = "2") -> str:
        """A message of the program, wrapped at words with its indents kept; each line ends in a newline."""
        return "".join(f"{self.styled(line, codes)}\n" for line in self._wrapped(text))

    def _wrapped(self, text: str) -> list[str]:
        lines: list[str] = []
        for line in printable(text).expandtabs(4).split("\n"):
            body = line.lstrip(" ")
            indent = line[: len(line) - len(body)]
            hanging = f"{indent}  " if indent else ""
            first, *others = wrap(body, max(self.width - 1 - len(hanging), _MIN_COLUMNS))
            lines += [indent + first, *(hanging + other for other in others)]
        return lines
