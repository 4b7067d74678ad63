"""Inline tokens of a paragraph (emphasis, code, links, formulas) → styled text."""

from __future__ import annotations

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


@dataclass(slots=True)
class Line:
    """A paragraph's text. Later text can change it from the character `open` on; None: not at all."""

    text: Text = field(default_factory=Text)
    open: int | None = None
    open_source: int = -1  # the same as an offset in the source; -1: it is not known


def inline(node: SyntaxTreeNode) -> Line:
    """The text of a node of type `inline`."""
    line = Line()
    for child in node.children:
        _add(line, child, Style())
    return line


def _add(line: Line, node: SyntaxTreeNode, style: Style) -> None:
    match node.type:
        case "text":
            line.text.append(node.content.replace("\t", " "), style)
        case "open":
            if line.open is None:
                line.open, line.open_source = len(line.text), int(node.meta["at"])
        case "text_special":
            line.text.append(node.content, style)
        case "softbreak" | "hardbreak":
            line.text.append("\n")  # models use line breaks on purpose
        case "code_inline":
            line.text.append(node.content, style + CODE)
        case "math_inline":
            from r1.markdown.math import math

            formula = math(node.content)
            formula.stylize_before(style)
            line.text.append_text(formula)
        case "image":
            _add_link(line, node, style)
        case "link":
            _add_link(line, node, style + _STYLES["link"])
        case _:
            _add_span(line, node, style + _STYLES.get(node.type, Style()))


def _add_span(line: Line, node: SyntaxTreeNode, style: Style) -> None:
    """Adds the content of a span. If markup in it is still open, later text can change the complete span."""
    begin = len(line.text)
    for child in node.children:
        _add(line, child, style)
    if line.open is not None and line.open >= begin:
        line.open, line.open_source = begin, -1


def _add_link(line: Line, node: SyntaxTreeNode, style: Style) -> None:
    """Adds the text of a link, and its address and title unless they are the text."""
    begin = len(line.text)
    _add_span(line, node, style)
    address, title = str(node.attrs["href"]), str(node.attrs.get("title", ""))
    shown = line.text.plain[begin:].strip()
    if not shown:
        line.text.append(f"{address} {title}".rstrip(), style)
    elif title or shown not in {address, address.removeprefix("mailto:"), address.rstrip("/")}:
        line.text.append(f" ({address} {title})" if title else f" ({address})", DIM)
