r"""A formula with blocks of several lines, such as matrices: side by side, or in bands where that is too wide."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from r1.markdown import notation
from r1.markdown.atoms import WIDE_SPACE, Atom, Kind, joined

_EDGE = Atom("", Kind.BLOCK)  # where a line of text meets a block


def laid_out(atoms: Sequence[Atom], width: int | None = None) -> str:
    """The text of atoms. With `width`, a row of blocks that is wider continues below, from a gap or a relation on."""
    if not any(atom.kind is Kind.BLOCK for atom in atoms):
        return joined(atoms)
    atoms = _with_tall_brackets(atoms)
    if width is None or notation.columns(_beside(atoms)) <= width:
        return _beside(atoms)
    bands: list[list[Atom]] = []
    for segment in _segments(atoms, width):
        if bands and notation.columns(_beside([*bands[-1], *segment])) <= width:
            bands[-1] += segment
        else:
            bands.append(segment)
    return "\n".join(_beside(_without_gap(band)) for band in bands)


def _beside(atoms: Sequence[Atom]) -> str:
    """Blocks and the text between them, line by line."""
    row, begin = "", 0
    for index, atom in enumerate([*atoms, _EDGE]):
        if atom.kind is Kind.BLOCK:
            text = joined([*([_EDGE] if begin else []), *atoms[begin:index], *([_EDGE] if index < len(atoms) else [])])
            row = notation.beside(notation.beside(row, text), notation.scripted(atom.text, atom.lower, atom.upper))
            begin = index + 1
    return "\n".join(line.rstrip() for line in row.split("\n"))


def _without_gap(band: list[Atom]) -> list[Atom]:
    """A band begins at the left side."""
    return band[1:] if WIDE_SPACE in band[0].text else band


def _segments(atoms: Sequence[Atom], width: int) -> Iterator[list[Atom]]:
    """The parts between which a row may be broken: at wide spaces, and before relations in a part that is too wide."""
    for part in _split(atoms, at_relations=False):
        is_wide = notation.columns(_beside(part)) > width
        yield from _split(part, at_relations=True) if is_wide else [part]


def _split(atoms: Sequence[Atom], *, at_relations: bool) -> Iterator[list[Atom]]:
    """Parts that begin with a relation, or with a wide space; none begins within brackets."""
    part: list[Atom] = []
    depth = 0
    for atom in atoms:
        depth += (atom.kind is Kind.OPEN) - (atom.kind is Kind.CLOSE)
        begins = atom.kind is Kind.RELATION if at_relations else WIDE_SPACE in atom.text
        if begins and depth <= 0 and part:
            yield part
            part = []
        part.append(atom)
    if part:
        yield part


def _with_tall_brackets(atoms: Sequence[Atom]) -> list[Atom]:
    r"""Brackets directly around a block become as tall as it: `\left\{ \begin{array}{l} … \end{array} \right.`."""
    result: list[Atom] = []
    for atom in atoms:
        if atom.kind is Kind.SOFT_SPACE and result and result[-1].kind in {Kind.OPEN, Kind.BLOCK}:
            continue
        is_closed = atom.kind is Kind.CLOSE and len(result) > 1 and result[-1].kind is Kind.BLOCK
        if is_closed and result[-2].kind is Kind.OPEN and str(result[-1]) == result[-1].text:
            block = notation.enclosed(result[-1].text, result[-2].text, atom.text)
            result[-2:] = [Atom(block, Kind.BLOCK, lower=atom.lower, upper=atom.upper)]
        else:
            result.append(atom)
    return result
