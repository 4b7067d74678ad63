r"""LaTeX mathematics → readable text: `\frac{1}{2}` → 1/2, `x^2` → x², `\boxed{42}` → 42, highlighted.

pylatexenc parses, `latex` defines the commands, and this module puts the results together. A formula that cannot be
converted comes back as its source. Imported only when a reply has a formula.
"""

from __future__ import annotations

import logging
import re
from functools import lru_cache
from typing import Any

from pylatexenc.latex2text import LatexNodes2Text
from pylatexenc.latexwalker import LatexGroupNode, LatexMacroNode, LatexSpecialsNode, LatexWalker
from rich.style import Style
from rich.text import Text

from r1.markdown import notation
from r1.markdown.latex import ALIGNED, BOX, BOX_END, FUNCTIONS, MATRICES, SPACED, WIDE_SPACE, syntax, texts

logging.getLogger("pylatexenc").addHandler(logging.NullHandler())  # otherwise its warnings appear on the terminal

BOXED = Style(bold=True, reverse=True)
"""The style of a result. Reversed, because a colour that stands out on black disappears on white."""

_MAX_FORMULA_CHARACTERS = 4000  # a longer text is not a formula, and would be slow to parse
_MAX_NESTING = 30  # of braces


def math(source: str, *, display: bool = False) -> Text:
    """A formula without its delimiters, on one line, or with `display` on as many as it needs. Never raises."""
    return _styled(_converted(source.strip(), display))


@lru_cache(maxsize=512)  # a growing answer is laid out many times
def _converted(source: str, display: bool) -> str:
    if len(source) > _MAX_FORMULA_CHARACTERS:
        return source
    source = re.sub("[\x00-\x08]", "", source)
    depth = deepest = 0
    for sign in source:
        depth += (sign == "{") - (sign == "}")
        deepest = max(deepest, depth)
    if deepest > _MAX_NESTING:
        return source
    try:
        return _Writer(display).convert(source) or source
    except Exception:  # the parser can fail in any way on what a model writes, RecursionError included
        return source


def _styled(text: str) -> Text:
    """The text with the boxed parts styled; the marks around them are removed."""
    result = Text()
    for index, part in enumerate(re.split(f"[{BOX}{BOX_END}]", text)):
        result.append(part.replace(WIDE_SPACE, " "), BOXED if index % 2 else None)
    return result


def _safe(source: str) -> str:
    """`source` with bare percent signs escaped (here they are not comments), and dollar signs if they are unpaired."""
    source = re.sub(r"(\\.)|%", lambda match: match[1] or r"\%", source, flags=re.DOTALL)
    if re.sub(r"\\.", "", source, flags=re.DOTALL).count("$") % 2:
        source = re.sub(r"(\\.)|\$", lambda match: match[1] or r"\$", source, flags=re.DOTALL)
    return source


def _trimmed(text: str) -> str:
    """Without surrounding spaces, except in a block of several lines, where they align the columns."""
    return text if "\n" in text else text.strip(" ")


class _Writer(LatexNodes2Text):  # type: ignore[misc] # pylatexenc has no types
    """pylatexenc's converter, extended by multi-line blocks side by side and spaces around relations."""

    def __init__(self, display: bool) -> None:
        super().__init__(latex_context=texts())
        self._display = display
        self._in_text = False

    def convert(self, source: str) -> str:
        """Raises any exception of the parser."""
        source = _safe(source)
        nodes, _, length = LatexWalker(source, latex_context=syntax(), tolerant_parsing=False).get_latex_nodes()
        if length < len(source):
            raise ValueError("the parser stopped before the end")
        rows = [row for row in self._rows(nodes, display=self._display) if any(row)]
        lines = [" ".join(row) for row in rows]
        return "\n".join(lines) if self._display else "; ".join(lines)

    def nodelist_to_text(self, nodelist: list[Any]) -> str:
        """Nodes side by side; blocks of several lines are joined line by line."""
        block, line, before = "", "", None
        for node in nodelist:
            text = self._node(node, before)
            if "\n" in text and self._display:
                block, line = notation.beside(notation.beside(block, notation.settled(line)), text), ""
            else:
                is_name = isinstance(node, LatexMacroNode) and node.macroname in FUNCTIONS
                line += text.lstrip() if is_name and line[-1:] in "+-*/=" else text
            before = node
        line = notation.settled(line) if not self._in_text else line
        return notation.beside(block, line)

    def _node(self, node: Any, before: Any) -> str:
        text: str = self.node_to_text(node)
        if isinstance(node, LatexGroupNode) and self._is_unknown(before):
            return f"{{{text}}}"  # the argument of an unknown command
        if isinstance(node, LatexMacroNode) and not (node.nodeargd and node.nodeargd.argnlist):
            text += node.macro_post_space
        return text

    def chars_node_to_text(self, node: Any, textcol: int = 0) -> str:  # noqa: ARG002 — pylatexenc passes it
        if self._in_text:
            return str(node.chars)
        return re.sub(r"\s*(:=|[=<>]+)\s*", r" \1 ", node.chars)

    def macro_node_to_text(self, node: Any) -> str:
        if self._is_unknown(node):
            return str(node.latex_verbatim())
        text: str = super().macro_node_to_text(node)
        return f" {text} " if text in SPACED or node.macroname in FUNCTIONS | {"mid"} else text

    def environment_node_to_text(self, node: Any) -> str:
        name = node.environmentname.rstrip("*")
        if name not in ALIGNED and name not in MATRICES:
            return str(node.latex_verbatim())
        left, right = MATRICES.get(name, ("", ""))
        rows = [row for row in self._rows(node.nodelist, display=False) if any(row)]
        if self._display:
            return notation.enclosed(notation.grid(rows, alternate=name in ALIGNED), left, right)
        between = ", " if name == "cases" else " "
        return f"{left}{'; '.join(between.join(row) for row in rows)}{right}"

    def math_node_to_text(self, node: Any) -> str:
        outer, self._in_text = self._in_text, False
        text = self.nodelist_to_text(node.nodelist).strip()
        self._in_text = outer
        return text

    def argument(self, node: Any, index: int, *, is_text: bool = False) -> str:
        """An argument, on one line."""
        outer = self._display, self._in_text
        self._display, self._in_text = False, is_text or self._in_text
        text: str = self.node_arg_to_text(node, index)
        self._display, self._in_text = outer
        return text

    def _rows(self, nodelist: list[Any], *, display: bool) -> list[list[str]]:
        r"""The cells between `\\` and `&`, row by row."""
        rows: list[list[list[Any]]] = [[[]]]
        for node in nodelist:
            if isinstance(node, LatexMacroNode) and node.macroname == "\\":
                rows.append([[]])
            elif isinstance(node, LatexSpecialsNode) and node.specials_chars == "&":
                rows[-1].append([])
            else:
                rows[-1][-1].append(node)
        outer, self._display = self._display, display and len(rows) == 1
        texts = [[_trimmed(self.nodelist_to_text(cell)) for cell in row] for row in rows]
        self._display = outer
        return texts

    def _is_unknown(self, node: Any) -> bool:
        return isinstance(node, LatexMacroNode) and self.latex_context.get_macro_spec(node.macroname) is None
