"""The tokens of a paragraph's text → text with styles.

Knows: how emphasis, code, links, formulas look within a line. Does not know: blocks, widths.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from markdown_it.tree import SyntaxTreeNode
from rich.style import Style
from rich.text import Text

CODE = Style(color="cyan")
DIM = Style(dim=True)
_STYLES = {
    "em": Style(italic=True),
    "strong": Style(bold=True),
    "s": Style(strike=True),
    "link": Style(underline=True),
}
_MAY_OPEN = re.compile(r"[`$\[\\]|~~|\*(?=\S|$)|(?<!\w)_(?=\S|$)")  # what later text may still make something of


@dataclass(slots=True)
class Line:
    """A paragraph's text. From `open` on, the text to come may change it: None if it cannot."""

    text: Text = field(default_factory=Text)
    open: int | None = None


def inline(node: SyntaxTreeNode) -> Line:
    """What `node`, of the type inline, says."""
    line = Line()
    for child in node.children:
        _add(line, child, Style())
    return line


def _add(line: Line, node: SyntaxTreeNode, style: Style) -> None:
    match node.type:
        case "text":
            if line.open is None and (match := _MAY_OPEN.search(node.content)):
                line.open = len(line.text) + match.start()
            line.text.append(node.content.replace("\t", " "), style)
        case "text_special":
            line.text.append(node.content, style)
        case "softbreak" | "hardbreak":
            line.text.append("\n")  # a model that begins a line means one
        case "code_inline":
            line.text.append(node.content, style + CODE)
        case "math_inline":
            from r1.markdown.math import math

            formula = math(node.content)
            formula.stylize_before(style)
            line.text.append_text(formula)
        case "image":
            _addressed(line, node, str(node.attrs.get("src", "")), style)
        case "link":
            _addressed(line, node, str(node.attrs.get("href", "")), style + _STYLES["link"])
        case _:
            _within(line, node, style + _STYLES.get(node.type, Style()))


def _within(line: Line, node: SyntaxTreeNode, style: Style) -> None:
    """What a construct encloses. If something in it is open, it may yet enclose the end of the construct itself."""
    begin = len(line.text)
    for child in node.children:
        _add(line, child, style)
    if line.open is not None and line.open >= begin:
        line.open = begin


def _addressed(line: Line, node: SyntaxTreeNode, address: str, style: Style) -> None:
    """A link's text, and where it leads unless that is what it says."""
    begin = len(line.text)
    _within(line, node, style)
    said = line.text.plain[begin:].strip()
    if not said:
        line.text.append(address, style)
    elif said not in {address, address.removeprefix("mailto:"), address.rstrip("/")} and address:
        line.text.append(f" ({address})", DIM)
