r"""LaTeX mathematics → readable text: `\frac{1}{2}` → 1/2, `x^2` → x², `\boxed{42}` → 42, highlighted.

pylatexenc parses, `latex` defines the commands, `atoms` puts them side by side with the brackets they need. A formula
that cannot be parsed comes back as its source. Imported only when a reply has a formula.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Sequence
from functools import lru_cache, reduce
from typing import Any

from pylatexenc.latex2text import LatexNodes2Text
from pylatexenc.latexwalker import (
    LatexCharsNode,
    LatexEnvironmentNode,
    LatexGroupNode,
    LatexMacroNode,
    LatexMathNode,
    LatexSpecialsNode,
    LatexWalker,
)
from rich.style import Style
from rich.text import Text

from r1.markdown import notation
from r1.markdown.atoms import BOX, BOX_END, WIDE_SPACE, Atom, Kind, joined
from r1.markdown.display import laid_out
from r1.markdown.latex import ALIGNED, MATRICES, is_accent, kind_of, layouts, symbol, syntax
from r1.markdown.precedence import binomial, fraction, scripted

logging.getLogger("pylatexenc").addHandler(logging.NullHandler())  # otherwise its warnings appear on the terminal

BOXED = Style(bold=True, reverse=True)
"""The style of a result. Reversed, because a colour that stands out on black disappears on white."""

ROW_END = "\x04"  # in a line of text that will be several
_MAX_FORMULA_CHARACTERS = 4000  # a longer text is not a formula, and would be slow to parse
_MAX_NESTING = 30  # of braces and environments
_ROW_SPACE = re.compile(r"\\\\\*?[ \t]*\[\s*-?[\d.]+\s*(?:pt|mm|cm|in|ex|em|mu|bp)\s*\]")  # `\\[2mm]`
_TOKEN = re.compile(
    r"(?P<space>\s+)|(?P<number>\d{1,3}(?:,\d{3})+(?!\d)(?:\.\d+)?|\d+(?:\.\d+)?|\.\d+)"
    r"|(?P<prime>'+)|(?P<relation>:=|(?<=\s)!=|<=|>=|->|[=<>]+)|(?P<word>[^\W\d_]{2,})|(?P<sign>.)",
    re.DOTALL,
)

_WORD = re.compile(r"[^\W\d_]{3}|(?:or|if|is|of|to|at|by)(?![^\W\d_])")  # in a formula, without `\text`


def math(source: str, *, display: bool = False, width: int | None = None) -> Text:
    """A formula without its delimiters, on one line, or with `display` on as many as it needs. Never raises.

    With `width`, blocks of several lines are at most so many columns wide. A single line may be longer: it can be
    wrapped like text.
    """
    return _styled(_converted(source.strip(), display, width))


@lru_cache(maxsize=512)  # a growing answer is laid out many times
def _converted(source: str, display: bool, width: int | None) -> str:
    if len(source) > _MAX_FORMULA_CHARACTERS:
        return source
    source = re.sub("[\x00-\x08]", "", source)
    if _nesting(source) > _MAX_NESTING:
        return source
    try:
        return _fitted(source, display, width) or source
    except Exception:  # the parser can fail in any way on what a model writes, RecursionError included
        return source


def _nesting(source: str) -> int:
    """How deeply braces and environments are nested."""
    depth = deepest = 0
    for match in re.finditer(r"\\begin\b|\\end\b|[{}]", source):
        depth += 1 if match[0] in {"{", "\\begin"} else -1
        deepest = max(deepest, depth)
    return deepest


def _fitted(source: str, display: bool, width: int | None) -> str:
    """The first of three forms that fits: as LaTeX would place it, in several bands, each row on a line of its own."""
    text = _Writer(display=display).convert(source)
    if width is None or "\n" not in text or notation.columns(text) <= width:
        return text
    text = _Writer(display=True, width=width).convert(source)
    return text if notation.columns(text) <= width else _Writer(rows_apart=True).convert(source)


def _styled(text: str) -> Text:
    """The text with the boxed parts styled; the marks around them are removed."""
    result = Text()
    for index, part in enumerate(re.split(f"[{BOX}{BOX_END}]", text)):
        result.append(part.replace(WIDE_SPACE, " "), BOXED if index % 2 else None)
    return result


def _safe(source: str) -> str:
    """`source` with bare percent signs escaped (here they are not comments), and dollar signs if they are unpaired."""
    source = _ROW_SPACE.sub(r"\\\\ ", source)
    source = re.sub(r"(\\.)|%", lambda match: match[1] or r"\%", source, flags=re.DOTALL)
    if re.sub(r"\\.", "", source, flags=re.DOTALL).count("$") % 2:
        source = re.sub(r"(\\.)|\$", lambda match: match[1] or r"\$", source, flags=re.DOTALL)
    return source


class _Parser(LatexWalker):  # type: ignore[misc] # pylatexenc has no types
    r"""pylatexenc's parser, which also reads a command with its arguments as an argument: `x^\frac{1}{2}`."""

    def get_latex_expression(self, pos: int, strict_braces: bool | None = None, parsing_state: Any = None) -> Any:
        expression = super().get_latex_expression(pos, strict_braces=strict_braces, parsing_state=parsing_state)
        node = expression[0]
        if isinstance(node, LatexMacroNode) and node.macroname in layouts():
            nodes, start, length = self.get_latex_nodes(node.pos, read_max_nodes=1, parsing_state=parsing_state)
            return nodes[0], start, length
        return expression


class _Writer:
    """Nodes of the parser → atoms → text."""

    def __init__(self, *, display: bool = False, width: int | None = None, rows_apart: bool = False) -> None:
        self._display = display
        self._width = width
        self._between_rows = ROW_END if rows_apart else "; "

    def convert(self, source: str) -> str:
        """Raises any exception of the parser."""
        source = _safe(source)
        nodes, _, length = _Parser(source, latex_context=syntax(), tolerant_parsing=False).get_latex_nodes()
        if length < len(source):
            raise ValueError("the parser stopped before the end")
        rows = [row for row in self._rows(nodes, display=self._display) if any(row)]
        if self._display and len(rows) > 1 and any(len(row) > 1 for row in rows):
            return notation.grid(rows, alternate=True)
        lines = [reduce(lambda left, cell: notation.beside(f"{left} ", cell) if left else cell, row) for row in rows]
        return ("\n" if self._display else self._between_rows).join(lines).replace(ROW_END, "\n")

    def argument(self, node: Any, index: int) -> list[Atom]:
        """The atoms of an argument, all of them on one line."""
        outer, self._display = self._display, False
        atoms = self._atoms(_contents(_arguments(node)[index]))
        self._display = outer
        return atoms

    def words(self, node: Any, index: int) -> str:
        """An argument that is text."""
        outer, self._display = self._display, False
        text = self._words(_contents(_arguments(node)[index]))
        self._display = outer
        return re.sub(r"[ \t\n]+", " ", text)

    def letters(self, node: Any) -> str:
        r"""Letters with an accent, or of another alphabet, such as `\mathbb{R}`; the source of what is no letter."""
        inner = [child for argument in _arguments(node) for child in _contents(argument)]
        is_plain = all(isinstance(one, LatexCharsNode) or getattr(one, "macroname", "") in {"i", "j"} for one in inner)
        return str(LatexNodes2Text().node_to_text(node) if is_plain else node.latex_verbatim()).strip()

    def _words(self, nodes: Sequence[Any]) -> str:
        pieces = []
        for node in nodes:
            if isinstance(node, LatexCharsNode):
                pieces.append(node.chars)
            elif isinstance(node, LatexMathNode):
                pieces.append(joined(self._atoms(node.nodelist)).strip())
            elif isinstance(node, LatexGroupNode):
                pieces.append(self._words(node.nodelist))
            elif isinstance(node, LatexMacroNode) and is_accent(node.macroname):
                pieces.append(self.letters(node))
            elif isinstance(node, LatexSpecialsNode) and not _is_script_of_text(node):
                pieces.append(" " if node.specials_chars == "~" else node.latex_verbatim())  # max_value, A & B
            else:
                space = getattr(node, "macro_post_space", "") if not _arguments(node) else ""
                pieces.append(joined(self._atoms([node])) + space)
        return "".join(pieces)

    def _atoms(self, nodes: Sequence[Any]) -> list[Atom]:
        split = _divided(nodes)
        if split:
            name, above, below = split
            return _one_above_another(name, self._atoms(above), self._atoms(below))
        atoms: list[Atom] = []
        begin = 0  # of the last node's atoms
        before = None
        for node in nodes:
            if isinstance(node, LatexSpecialsNode) and node.specials_chars in ("^", "_"):
                self._add_script(atoms, begin, before, node)
                continue  # a second script has the same base
            begin = len(atoms)
            for atom in self._node(node, before):
                _add(atoms, atom)
            begin = min(begin, max(len(atoms) - 1, 0))  # an atom that was merged into the last
            before = node
        return atoms

    def _add_script(self, atoms: list[Atom], begin: int, base: Any, node: Any) -> None:
        """Adds a script to the last atom, or to all atoms of a group."""
        while atoms and atoms[-1].kind is Kind.SOFT_SPACE:
            atoms.pop()
        if isinstance(base, LatexCharsNode) or len(atoms) <= begin:
            begin = len(atoms) - 1
        text = joined(self.argument(node, 0))
        lower = notation.lowered(text) if node.specials_chars == "_" else ""
        upper = notation.raised(text) if node.specials_chars == "^" else ""
        is_first = _is_empty(base) and not (atoms and not atoms[-1].text)
        if begin < 0 or atoms[-1].kind in {Kind.SPACE, Kind.COMMA} or is_first:
            atoms.append(scripted([], lower=lower, upper=upper))
            return
        atoms[begin:] = [scripted(atoms[begin:], lower=lower, upper=upper)]

    def _node(self, node: Any, before: Any) -> Iterator[Atom]:
        if isinstance(node, LatexCharsNode):
            yield from _of_characters(node.chars)
        elif isinstance(node, LatexGroupNode):
            yield from self._group(node, before)
        elif isinstance(node, LatexMacroNode):
            yield from self._macro(node)
        elif isinstance(node, LatexEnvironmentNode):
            yield self._environment(node)
        elif isinstance(node, LatexMathNode):
            yield from self._atoms(node.nodelist)
        elif isinstance(node, LatexSpecialsNode):
            yield Atom(" ", Kind.SPACE)  # ~, and & outside of a table

    def _group(self, node: Any, before: Any) -> Iterator[Atom]:
        if _is_unknown(before):
            yield Atom("{", Kind.OPEN)  # the argument of an unknown command
            yield from self._atoms(node.nodelist)
            yield Atom("}", Kind.CLOSE)
        elif node.latex_verbatim() == "{,}":
            yield Atom(",", Kind.NUMBER)  # 10{,}000
        else:
            yield from self._atoms(node.nodelist)

    def _macro(self, node: Any) -> Iterator[Atom]:
        if node.macroname in layouts():
            if not _arguments(node):
                raise ValueError(f"\\{node.macroname} has no arguments")
            yield from layouts()[node.macroname][1](node, self)
        elif node.macroname == "\\":
            yield Atom(";", Kind.COMMA)  # a new line where there is only one
            yield Atom(" ", Kind.SOFT_SPACE)
        elif _is_unknown(node):
            yield Atom(str(node.latex_verbatim()).rstrip(), Kind.WORD)
        elif is_accent(node.macroname):
            yield Atom(self.letters(node), Kind.LETTER)
        elif text := symbol(node.macroname):
            yield Atom(text, kind_of(text, node.macroname))
        if node.macro_post_space and not _arguments(node):
            yield Atom(" ", Kind.SOFT_SPACE)

    def _environment(self, node: Any) -> Atom:
        name = node.environmentname.rstrip("*")
        if name not in ALIGNED and name not in MATRICES:
            return Atom(str(node.latex_verbatim()), Kind.WORD)
        left, right = MATRICES.get(name, ("", ""))
        rows = [row for row in self._rows(node.nodelist, display=self._display) if any(row)]
        if self._display:
            block = notation.enclosed(notation.grid(rows, alternate=name in ALIGNED, sides=_sides(node)), left, right)
            return Atom(block, Kind.BLOCK)
        has_spaces = any(" " in cell for row in rows for cell in row)
        between = ", " if name not in ALIGNED and (has_spaces or "cases" in name) else " "
        lines = [between.join(cell for cell in row if cell or name in MATRICES) for row in rows]
        text = (self._between_rows if name in ALIGNED else "; ").join(lines)
        return Atom(f"{left}{text}{right}", Kind.GROUP if left else Kind.WORD)

    def _rows(self, nodelist: Sequence[Any], *, display: bool) -> list[list[str]]:
        r"""The cells between `\\` and `&`, row by row."""
        rows: list[list[list[Any]]] = [[[]]]
        for node in nodelist:
            if isinstance(node, LatexMacroNode) and node.macroname == "\\":
                rows.append([[]])
            elif isinstance(node, LatexSpecialsNode) and node.specials_chars == "&":
                rows[-1].append([])
            else:
                rows[-1][-1].append(node)
        outer, self._display = self._display, display
        is_alone = len(rows) == 1 and len(rows[0]) == 1 and not display
        texts = [[_trimmed(laid_out(self._atoms(cell), self._width), is_alone) for cell in row] for row in rows]
        self._display = outer
        return texts


def _trimmed(text: str, is_alone: bool) -> str:
    """Without surrounding spaces, except inside of a sentence, and in a block, where they align the columns."""
    return text if "\n" in text or is_alone else text.strip(" ")


def _arguments(node: Any) -> list[Any]:
    arguments = getattr(node, "nodeargd", None)
    return list(arguments.argnlist or []) if arguments else []


def _sides(node: Any) -> str:
    r"""The alignment of the columns of `\begin{array}{rcl}`, without the lines between them."""
    given = _arguments(node)[-1:] if node.environmentname == "array" else []
    return re.sub("[^lcr]", "", given[0].latex_verbatim()) if given and given[0] is not None else ""


def _is_script_of_text(node: Any) -> bool:
    r"""Whether `^` or `_` is meant as a script in a text: `\text{m^2}`, but not `\text{max_value}`."""
    arguments = _arguments(node)
    return bool(arguments) and (isinstance(arguments[0], LatexGroupNode) or arguments[0].latex_verbatim().isdecimal())


def _contents(node: Any) -> list[Any]:
    if node is None:
        return []
    return list(node.nodelist) if isinstance(node, LatexGroupNode) else [node]


def _is_empty(node: Any) -> bool:
    return isinstance(node, LatexGroupNode) and not node.nodelist


def _is_unknown(node: Any) -> bool:
    if not isinstance(node, LatexMacroNode) or node.macroname in layouts() or is_accent(node.macroname):
        return False
    return symbol(node.macroname) is None


def _divided(nodes: Sequence[Any]) -> tuple[str, Sequence[Any], Sequence[Any]] | None:
    r"""`a \over b`, TeX's older form of a fraction: the command, and what is before and behind it."""
    for index, node in enumerate(nodes):
        if isinstance(node, LatexMacroNode) and node.macroname in ("over", "choose"):
            return node.macroname, nodes[:index], nodes[index + 1 :]
    return None


def _one_above_another(name: str, above: list[Atom], below: list[Atom]) -> list[Atom]:
    return [fraction(above, below) if name == "over" else binomial(above, below)]


def _add(atoms: list[Atom], atom: Atom) -> None:
    """Appends an atom. A prime belongs to the last one, and digits side by side are one number."""
    last = atoms[-1] if atoms else None
    if atom.text and not atom.text.strip("'") and last and last.kind not in {Kind.SPACE, Kind.SOFT_SPACE, Kind.MARK}:
        atoms[-1] = scripted([last], upper=atom.text)
    elif last and last.kind is atom.kind is Kind.NUMBER and str(last) == last.text:
        atoms[-1] = Atom(last.text + atom.text, Kind.NUMBER)
    else:
        atoms.append(atom)


def _ends_in_word(text: str) -> bool:
    return re.search(r"[^\W\d_]{3}$|(?<![^\W\d_])(?:or|if|is|of|to|at|by)$", text) is not None


def _of_characters(text: str) -> Iterator[Atom]:
    """Plain characters of a formula."""
    for match in _TOKEN.finditer(text):
        found = match[0]
        match match.lastgroup:
            case "space":
                is_written = _ends_in_word(text[: match.start()][-4:]) or _WORD.match(text, match.end())
                yield Atom(" ", Kind.SPACE if is_written else Kind.SOFT_SPACE)
            case "number":
                yield Atom(found, Kind.NUMBER)
            case "relation":
                yield Atom(found, Kind.RELATION)
            case "word":
                yield from (Atom(letter, Kind.LETTER) for letter in found)
            case _:
                yield Atom(found, kind_of(found))
