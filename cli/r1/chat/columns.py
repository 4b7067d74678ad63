"""A text beside its label: the rest of a long one stands below its beginning, and not below the label."""

from __future__ import annotations

from r1.console import printable
from r1.markdown.wrap import wrap
from r1.render.style import Style

_MIN_COLUMNS = 8  # for the text, however narrow the screen is


def beside(label: str, text: str, style: Style) -> str:
    """Dim lines; `label` is as wide as its column."""
    first, *others = wrap(printable(text), max(style.width - len(label) - 1, _MIN_COLUMNS))
    lines = [label + first, *(" " * len(label) + other for other in others)]
    return "".join(f"{style.dim(line)}\n" for line in lines)
