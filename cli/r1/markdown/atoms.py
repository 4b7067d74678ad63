r"""A formula as a row of atoms (numbers, letters, operators, …): what is beside what, and the spaces between them.

The classes of atoms follow TeX's (The TeXbook, chapters 17 and 18).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import Enum, auto

BOX, BOX_END = "\x02", "\x03"  # around boxed text; without width
WIDE_SPACE = "\u00a0"  # not merged when runs of spaces become one


class Kind(Enum):
    """What an atom is beside its neighbours."""

    NUMBER = auto()
    LETTER = auto()  # a variable, or any symbol that is used like one
    WORD = auto()  # of `\text`, with its spaces, and a command that is unknown
    GROUP = auto()  # with its own brackets
    FUNCTION = auto()  # sin
    BIG = auto()  # an operator before a term: ∑, lim
    SUM = auto()  # + - ±
    OPERATOR = auto()  # ∪ ∧
    TIMES = auto()  # · × ÷
    SLASH = auto()  # / * ∘, as tight as they are written
    RELATION = auto()
    COMMA = auto()
    COLON = auto()  # and a bar between two things: spaces as written
    OPEN = auto()
    CLOSE = auto()
    BAR = auto()  # opens or closes; `_resolve_bars` says which
    FRACTION = auto()  # a/b without brackets
    ROOT = auto()
    POSTFIX = auto()  # ! and %
    SPACE = auto()  # by a command, such as `\,`
    SOFT_SPACE = auto()  # of the source; most have no meaning in LaTeX
    MARK = auto()  # begins or ends a box
    BLOCK = auto()  # several lines


OPERANDS = {
    *(Kind.NUMBER, Kind.LETTER, Kind.WORD, Kind.GROUP, Kind.CLOSE, Kind.FRACTION, Kind.ROOT, Kind.POSTFIX, Kind.BLOCK)
}
_STARTS = {*(OPERANDS - {Kind.CLOSE, Kind.POSTFIX}), Kind.OPEN, Kind.FUNCTION, Kind.BIG}  # of a factor
BESIDE = {Kind.SPACE, Kind.SOFT_SPACE, Kind.MARK}  # between atoms, no atom itself
_QUANTITIES = {Kind.NUMBER, Kind.FRACTION, Kind.GROUP}  # before a unit
_PLUS_MINUS = frozenset("±∓")
_DIVISIONS = frozenset("/÷")
_OPENERS = frozenset("([{|⌊⌈")
_CLOSERS = frozenset(")]}|⌋⌉")
_INTEGRALS = frozenset("∫∬∭∮")


@dataclass(frozen=True, slots=True)
class Atom:
    """One symbol with its subscript and superscript, or text that is finished."""

    text: str
    kind: Kind
    lower: str = ""
    upper: str = ""
    is_unit: bool = False  # a fraction of words, such as m/s

    def __str__(self) -> str:
        return self.text + self.lower + self.upper

    @property
    def is_open_ended(self) -> bool:
        """Whether text directly behind it would become part of it: √2, x^q, v_max."""
        if self.upper:
            return re.search(r"\^[^(]$", self.upper) is not None
        if self.lower:
            return re.search(r"_[^(\W]+$", self.lower) is not None
        return self.kind is Kind.ROOT and self.text[-1:] not in _CLOSERS


@dataclass(slots=True)
class Item:
    """An atom, and the spaces and marks before it."""

    beside: list[Atom]
    atom: Atom

    @property
    def is_apart(self) -> bool:
        """Whether a wide space separates it from what comes before."""
        return any(WIDE_SPACE in atom.text for atom in self.beside)

    @property
    def is_spaced(self) -> bool:
        return any(atom.kind is not Kind.MARK for atom in self.beside)


END = Atom("", Kind.COMMA)


def joined(atoms: Sequence[Atom]) -> str:
    """The atoms side by side: spaces by TeX's rules, fractions and roots in brackets where they would read wrongly."""
    items = prepared(atoms)
    return tidy("".join(piece for item, gap in with_gaps(items) for piece in _pieces(item, gap)))


def tidy(text: str) -> str:
    """Runs of spaces become one; none stays beside a wide space."""
    return re.sub(r" *(\u00a0+) *", r"\1", re.sub(r"[ \t\n]+", " ", text))


def prepared(atoms: Sequence[Atom]) -> list[Item]:
    """Items with their bars, mixed numbers and brackets; the last one is an end."""
    items: list[Item] = []
    beside: list[Atom] = []
    for atom in (*atoms, END):
        beside.append(atom)
        if atom.kind not in BESIDE:
            items.append(Item(beside[:-1], atom))
            beside = []
    _resolve_bars(items)
    items = _mixed_numbers(items)
    _set_off(items)
    return items


def _resolve_bars(items: list[Item]) -> None:
    """Bars in pairs are brackets, as in |x|; one without a partner stands between two things, as in P(A|B)."""
    opened: list[list[int]] = [[]]
    unpaired: set[int] = set()
    before: Kind | None = None
    for index, item in enumerate(items):
        kind = item.atom.kind
        if kind is Kind.OPEN:
            opened.append([])
        elif kind is Kind.CLOSE and len(opened) > 1:
            unpaired.update(opened.pop())
        elif kind is Kind.BAR:
            if opened[-1] and before in OPERANDS:
                opened[-1].pop()
                kind = Kind.CLOSE
            else:
                opened[-1].append(index)
                kind = Kind.OPEN
            item.atom = replace(item.atom, kind=kind)
        before = kind
    for index in unpaired.union(*opened):
        items[index].atom = replace(items[index].atom, kind=Kind.COLON)


def _mixed_numbers(items: list[Item]) -> list[Item]:
    """An integer before a proper fraction of integers is one number, 2 1/2; it has the precedence of a fraction."""
    result: list[Item] = []
    for item in items:
        last = result[-1].atom if result else END
        before = result[-2].atom.kind if len(result) > 1 else None
        parts = re.fullmatch(r"(\d+)/(\d+)", str(item.atom)) if item.atom.kind is Kind.FRACTION else None
        is_proper = parts is not None and int(parts[1]) < int(parts[2])
        is_free = before not in OPERANDS or result[-1].is_apart
        if is_proper and is_free and last.kind is Kind.NUMBER and str(last).isdecimal() and not item.is_apart:
            result[-1].atom = Atom(f"{last} {item.atom}", Kind.FRACTION)
        else:
            result.append(item)
    return result


def _set_off(items: list[Item]) -> None:
    """Puts fractions and roots into brackets that would merge with a neighbour."""
    left: Atom | None = None
    for item, following in zip(items, [*items[1:], None], strict=True):
        right = following.atom if following and not following.is_apart else None
        atom = item.atom
        before = None if item.is_apart else left
        left = atom
        if atom.kind is Kind.FRACTION:
            needed = _merges_left(before, atom, item) or _merges_right(right)
        else:
            is_divided = right is not None and right.kind is Kind.SLASH and atom.is_open_ended
            needed = atom.kind is Kind.ROOT and (is_divided or (right is not None and right.kind is Kind.POSTFIX))
        if needed:
            item.atom = Atom(f"({atom})", Kind.GROUP)


def _merges_left(left: Atom | None, atom: Atom, item: Item) -> bool:
    if left is None:
        return False
    if left.kind is Kind.WORD:
        return left.text[-1:].isalnum() and not item.is_spaced
    if atom.is_unit and left.kind in _QUANTITIES:
        return False
    if left.kind in {Kind.SUM, Kind.OPERATOR, Kind.TIMES}:
        return atom.text[0] in "-−±∓" or left.text in _DIVISIONS or left.text == "mod"
    return left.kind in OPERANDS or left.kind in {Kind.FUNCTION, Kind.SLASH}


def _merges_right(right: Atom | None) -> bool:
    if right is None or right.kind is Kind.WORD or right.is_unit:
        return False
    return right.kind in _STARTS or right.kind in {Kind.SLASH, Kind.POSTFIX}


def with_gaps(items: list[Item]) -> Iterator[tuple[Item, str]]:
    """Each item with the space before it."""
    spaced = _spaced_depths(items)
    has_integral = any(item.atom.text in _INTEGRALS for item in items)
    left: Atom | None = None
    is_unary = True
    written = False
    depth = 0
    for item, following in zip(items, [*items[1:], None], strict=True):
        atom = item.atom
        depth -= atom.kind is Kind.CLOSE
        written = written if left and left.kind is Kind.SLASH else item.is_spaced  # both sides of a slash are alike
        was_unary, is_unary = is_unary, atom.kind is Kind.SUM and (left is None or left.kind not in OPERANDS)
        if atom is END or left is None:
            gap = ""
        elif left.kind is Kind.SUM and was_unary:
            gap = " " if left.text == "+" and item.is_spaced else ""
        elif has_integral and left.kind in OPERANDS and atom.text == "d" and following and _is_variable(following):
            gap = " "
        else:
            gap = _gap(left, atom, written=written, spaced=depth in spaced)
        yield item, gap
        depth += atom.kind is Kind.OPEN
        left = atom


def _is_variable(item: Item) -> bool:
    return item.atom.kind is Kind.LETTER


def _spaced_depths(items: list[Item]) -> set[int]:
    """Depths of brackets at which + and - have spaces: someone wrote one, or a wider thing is beside them."""
    depths = set()
    depth = 0
    left: Kind | None = None
    for item, following in zip(items, [*items[1:], None], strict=True):
        kind = item.atom.kind
        depth += (kind is Kind.OPEN) - (kind is Kind.CLOSE)
        is_wide = kind in {Kind.TIMES, Kind.FRACTION, Kind.OPERATOR} or item.atom.text in _PLUS_MINUS
        is_written = item.is_spaced or (following is not None and following.is_spaced)
        if is_wide or (kind is Kind.SUM and left in OPERANDS and is_written):
            depths.add(depth)
        left = kind
    return depths


def _gap(left: Atom, right: Atom, *, written: bool, spaced: bool) -> str:
    """The space between two atoms; `written`: the source has one, `spaced`: + and - have spaces here."""
    kinds = {left.kind, right.kind}
    if left.kind is Kind.OPEN or right.kind in {Kind.CLOSE, Kind.COMMA, Kind.POSTFIX}:
        return ""
    if kinds == {Kind.RELATION}:
        return " " if written else ""  # <=
    if kinds & {Kind.RELATION, Kind.TIMES, Kind.OPERATOR, Kind.BLOCK}:
        return " "
    if Kind.SUM in kinds:
        is_unary = right.kind is Kind.SUM and left.kind not in OPERANDS
        return " " if (spaced and not is_unary) or (left.kind in {Kind.COMMA, Kind.BIG} and written) else ""
    if kinds & {Kind.SLASH, Kind.COMMA, Kind.COLON}:
        return " " if written else ""
    if left.kind in {Kind.FUNCTION, Kind.BIG}:
        return _gap_before_argument(left, right, written=written)
    if right.kind in {Kind.FUNCTION, Kind.BIG}:
        return " "
    return _gap_between_factors(left, right, written=written)


def _gap_before_argument(name: Atom, argument: Atom, *, written: bool) -> str:
    """sin x, sin(x), sin²θ, max(a, b), ∑ (x+1)."""
    has_scripts = bool(name.upper or name.lower)
    if name.kind is Kind.FUNCTION and has_scripts and argument.kind is Kind.LETTER:
        return " " if written or name.is_open_ended else ""
    is_name = name.kind is Kind.FUNCTION or (name.text.isalpha() and not has_scripts)
    has_brackets = argument.kind in {Kind.OPEN, Kind.GROUP} and argument.text[:1] in _OPENERS
    return "" if is_name and has_brackets else " "


def _gap_between_factors(left: Atom, right: Atom, *, written: bool) -> str:
    if Kind.FRACTION in {left.kind, right.kind}:  # of units, or before one
        return " " if left.kind in _QUANTITIES or right.text[:1].isalnum() else ""
    if left.is_open_ended and right.kind is not Kind.ROOT:
        runs_on = right.kind in _STARTS and right.text[:1] != " "
        is_index = not left.upper and left.kind is not Kind.ROOT and right.kind is Kind.OPEN  # f_b(x)
        return " " if runs_on and not is_index else ""
    if re.match(r"\([d∂][^/]?/[d∂]", left.text) and right.kind in {Kind.NUMBER, Kind.LETTER}:
        return " "  # (d/dx) x²
    begins_raised = not right.text or unicodedata.decomposition(right.text[0]).startswith("<su")  # 2 ⁶√x, 5 ⁿCᵣ
    return " " if begins_raised or (written and _are_words(left, right)) else ""


def _are_words(left: Atom, right: Atom) -> bool:
    """Whether a space between two atoms is kept because without it they would be another word or number."""
    names = Kind.WORD in {left.kind, right.kind} or left.text == "}"
    return names or (right.kind is Kind.NUMBER and left.kind in {Kind.NUMBER, Kind.LETTER})


def _pieces(item: Item, gap: str) -> Iterator[str]:
    """The text of an item. A space stands outside of a box."""
    for atom in item.beside:
        if atom.kind is Kind.MARK and atom.text == BOX:
            yield gap
            gap = ""
        if atom.kind is not Kind.SOFT_SPACE:
            yield atom.text
    yield gap
    yield str(item.atom)
