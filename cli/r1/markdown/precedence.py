r"""The brackets that a formula needs on one line.

LaTeX shows by position what belongs together: above a line, below it, under a root. On one line the usual precedence
says it: scripts, roots and factorials bind tightest, then factors side by side, then × ÷ and the line of a fraction,
then + and -, then relations. Brackets are added exactly where that would read differently. Beside a `/` nothing is left
to the reader: `a/bc` and `√a/b` are never written, but a/(bc) and (√a)/b.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from r1.markdown.atoms import BESIDE, END, OPERANDS, Atom, Item, Kind, joined, prepared, with_gaps
from r1.markdown.notation import bracketed, is_enclosed

_TIGHT = {*(OPERANDS - {Kind.FRACTION, Kind.BLOCK}), Kind.OPEN, Kind.FUNCTION}  # what a product may consist of
_APPLIED = frozenset("f𝔼ℙΓζφϕ")
"""Letters that are functions before any bracket: f(x+1) is one thing, h(a+b) may be a product."""


def fraction(above: Sequence[Atom], below: Sequence[Atom]) -> Atom:
    """a/b, with brackets around a numerator that is no simple product, and a denominator that is no single factor."""
    over, under = joined(above).strip(), joined(below).strip()
    is_ratio = _is_differential(above, below) or _are_segments(over, under)
    over = over if _is_product(prepared(above)) or is_enclosed(over) else f"({over})"
    is_single = _is_factor(prepared(below)) or _are_applied_alike(prepared(above), prepared(below))
    under = under if is_ratio or is_single else bracketed(under)
    is_unit = {atom.kind for atom in (*above, *below)} == {Kind.WORD}
    return Atom(f"{over}/{under}", Kind.FRACTION, is_unit=is_unit)


def binomial(above: Sequence[Atom], below: Sequence[Atom]) -> Atom:
    """C(n, k), as a binomial coefficient is written on one line."""
    return Atom(f"C({joined(above).strip()}, {joined(below).strip()})", Kind.GROUP)


def root(sign: str, atoms: Sequence[Atom]) -> Atom:
    """√x, ∛(x+1)."""
    text, items = joined(atoms).strip(), prepared(atoms)
    last = items[-2].atom if len(items) > 1 else END
    is_symbol = len(items) == 2 and last.kind in {Kind.NUMBER, Kind.LETTER}
    is_group = last.kind is Kind.CLOSE and _closing([item.atom for item in items[:-1]]) == len(items) - 2
    is_bare = (is_symbol or is_group) and not last.upper
    return Atom(sign + (text if is_bare else bracketed(text)), Kind.ROOT)


def grouped(atoms: Sequence[Atom]) -> Atom:
    """One atom, for a script or another sign behind it: in brackets unless it is a single factor."""
    if len(atoms) == 1:
        is_loose = atoms[0].kind in {Kind.FRACTION, Kind.ROOT}
        return Atom(bracketed(str(atoms[0])), Kind.GROUP) if is_loose else atoms[0]
    items, text = prepared(atoms), joined(atoms).strip()
    is_single = not text or _is_factor(items) or re.fullmatch(r"[A-Z]+", text)
    has_power = any(item.atom.upper.strip("'′") for item in (items[0], items[max(len(items) - 2, 0)]))
    is_loose = has_power or any(item.atom.kind in {Kind.ROOT, Kind.POSTFIX} for item in items)
    return Atom(text if is_single and not is_loose else bracketed(text), Kind.GROUP)


def scripted(base: Sequence[Atom], *, lower: str = "", upper: str = "") -> Atom:
    """`base` with one more subscript or superscript; the subscript comes first, as in x₁²."""
    atom = grouped(base) if base else Atom("", Kind.LETTER)
    is_prime = not atom.upper.strip("'′″‴°") or not upper.strip("'′")
    if (upper and not is_prime) or (lower and atom.lower):
        atom = Atom(f"({atom})", Kind.GROUP)
    return replace(atom, lower=atom.lower + lower, upper=atom.upper + upper)


def _is_product(items: list[Item]) -> bool:
    """Whether it needs no brackets before a `/`: factors side by side without a space, perhaps after a minus."""
    depth, last = 0, END
    for index, (item, gap) in enumerate(with_gaps(items)):
        atom = item.atom
        if atom is END:
            break
        depth -= atom.kind is Kind.CLOSE
        if depth < 0:
            return False
        if not depth:
            is_sign = not index and atom.kind is Kind.SUM
            if (atom.kind not in _TIGHT and not is_sign) or _has_space(item, gap, is_first=not index):
                return False
        depth += atom.kind is Kind.OPEN
        last = atom
    return not depth and last.kind in OPERANDS and not (last.kind is Kind.ROOT and last.is_open_ended)


def _has_space(item: Item, gap: str, *, is_first: bool) -> bool:
    """Whether an item has a space in it or before it."""
    if item.atom.kind is Kind.WORD and " " in (item.atom.text.strip() if is_first else item.atom.text):
        return True
    return not is_first and (gap != "" or any(atom.kind is Kind.SPACE for atom in item.beside))


def _is_factor(items: list[Item]) -> bool:
    """Whether it needs no brackets behind a `/`: a single atom, a group, or a function of a group; and factorials."""
    atoms = [item.atom for item in items[:-1]]
    while atoms and atoms[-1].kind is Kind.POSTFIX:
        atoms.pop()
    if len(atoms) > 1 and _is_applied(atoms):
        del atoms[0]
    if len(atoms) == 1:
        kinds = {Kind.NUMBER, Kind.LETTER, Kind.GROUP, Kind.ROOT}
        return atoms[0].kind in kinds or (atoms[0].kind is Kind.WORD and " " not in atoms[0].text.strip())
    return len(atoms) > 1 and _closing(atoms) == len(atoms) - 1


def _is_applied(atoms: list[Atom]) -> bool:
    """Whether it begins with a function of what is in brackets. A letter before a single symbol is one, as in g(x)."""
    name, argument = atoms[0], atoms[1:]
    if not argument or argument[0].kind is not Kind.OPEN:
        return False
    if name.kind is Kind.FUNCTION or name.text in _APPLIED or name.upper.strip("'") != name.upper:
        return True
    is_symbol = _closing(argument) == 2 and argument[1].kind in {Kind.LETTER, Kind.NUMBER} and not argument[1].upper
    return name.kind is Kind.LETTER and argument[0].text == "(" and is_symbol


def _are_applied_alike(above: list[Item], below: list[Item]) -> bool:
    """P(A ∩ B)/P(B): a letter that is a function above is one below too."""
    over, under = ([item.atom for item in items[:-1]] for items in (above, below))
    is_same = len(over) > 1 and len(under) > 1 and str(over[0]) == str(under[0]) and over[0].kind is Kind.LETTER
    return is_same and over[1].text == under[1].text == "(" and _closing(under[1:]) == len(under) - 2


def _closing(atoms: list[Atom]) -> int | None:
    """Where the bracket that the first atom opens is closed."""
    depth = 0
    for index, atom in enumerate(atoms):
        depth += (atom.kind is Kind.OPEN) - (atom.kind is Kind.CLOSE)
        if depth <= 0:
            return index if index else None
    return None


def _is_differential(above: Sequence[Atom], below: Sequence[Atom]) -> bool:
    """dy/dx, ∂f/∂x, Δy/Δx: known as one thing."""
    over = [atom for atom in above if atom.kind not in BESIDE]
    under = [atom for atom in below if atom.kind not in BESIDE]
    if not over or len(under) != 2 or under[1].kind is not Kind.LETTER:
        return False
    return under[0].text in {"d", "∂", "Δ", "δ"} and not under[0].upper and over[0].text == under[0].text


def _are_segments(above: str, below: str) -> bool:
    """AB/CD, a ratio of lengths in geometry."""
    return all(re.fullmatch(r"[A-Z]{2}", text) for text in (above, below))
