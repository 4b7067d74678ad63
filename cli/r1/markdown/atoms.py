r"""A formula as a row of atoms (numbers, letters, operators, …), and the brackets that it needs on one line.

LaTeX shows by position what belongs together: above a line, below it, under a root. On one line the usual precedence
says it: scripts, roots and factorials bind tightest, then factors side by side, then × ÷ and the line of a fraction,
then + and -, then relations. Brackets are added exactly where that would read differently. Beside a `/` nothing is left
to the reader: `a/bc` and `√a/b` are never written, but a/(bc) and (√a)/b.

The classes of atoms follow TeX's (The TeXbook, chapter 17).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import Enum, auto

from r1.markdown.notation import bracketed, is_enclosed

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
    BAR = auto()  # opens or closes; `_with_bars` says which
    FRACTION = auto()  # a/b without brackets
    ROOT = auto()
    POSTFIX = auto()  # ! and %
    SPACE = auto()  # by a command, such as `\,`
    SOFT_SPACE = auto()  # of the source; most have no meaning in LaTeX
    MARK = auto()  # begins or ends a box
    BLOCK = auto()  # several lines


_OPERANDS = {
    *(Kind.NUMBER, Kind.LETTER, Kind.WORD, Kind.GROUP, Kind.CLOSE, Kind.FRACTION, Kind.ROOT, Kind.POSTFIX, Kind.BLOCK)
}
_STARTS = {*(_OPERANDS - {Kind.CLOSE, Kind.POSTFIX}), Kind.OPEN, Kind.FUNCTION, Kind.BIG}  # of a factor
_CONNECTIVES = {Kind.SUM, Kind.OPERATOR, Kind.TIMES, Kind.SLASH, Kind.RELATION, Kind.COMMA, Kind.COLON}
_BESIDE = {Kind.SPACE, Kind.SOFT_SPACE, Kind.MARK}  # between atoms, no atom itself
_TIGHT = {*(_OPERANDS - {Kind.FRACTION, Kind.BLOCK}), Kind.OPEN, Kind.FUNCTION}  # what a product may consist of
_QUANTITIES = {Kind.NUMBER, Kind.FRACTION, Kind.GROUP}  # before a unit
_PLUS_MINUS = frozenset("±∓")
_DIVISIONS = frozenset("/÷")
_OPENERS = frozenset("([{|⌊⌈")
_CLOSERS = frozenset(")]}|⌋⌉")
_INTEGRALS = frozenset("∫∬∭∮")
_APPLIED = frozenset("f𝔼ℙΓζφϕ")
"""Letters that are functions before any bracket: f(x+1) is one thing, h(a+b) may be a product."""


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
class _Item:
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


_END = Atom("", Kind.COMMA)


def joined(atoms: Sequence[Atom]) -> str:
    """The atoms side by side: spaces by TeX's rules, fractions and roots in brackets where they would read wrongly."""
    items = _prepared(atoms)
    return tidy("".join(piece for item, gap in _with_gaps(items) for piece in _pieces(item, gap)))


def tidy(text: str) -> str:
    """Runs of spaces become one; none stays beside a wide space."""
    return re.sub(r" *(\u00a0+) *", r"\1", re.sub(r"[ \t\n]+", " ", text))


def fraction(above: Sequence[Atom], below: Sequence[Atom]) -> Atom:
    """a/b, with brackets around a numerator that is no simple product, and a denominator that is no single factor."""
    over, under = joined(above).strip(), joined(below).strip()
    is_ratio = _is_differential(above, below) or _are_segments(over, under)
    over = over if _is_product(_prepared(above)) or is_enclosed(over) else f"({over})"
    is_single = _is_factor(_prepared(below)) or _are_applied_alike(_prepared(above), _prepared(below))
    under = under if is_ratio or is_single else bracketed(under)
    is_unit = {atom.kind for atom in (*above, *below)} == {Kind.WORD}
    return Atom(f"{over}/{under}", Kind.FRACTION, is_unit=is_unit)


def root(sign: str, atoms: Sequence[Atom]) -> Atom:
    """√x, ∛(x+1)."""
    text, items = joined(atoms).strip(), _prepared(atoms)
    last = items[-2].atom if len(items) > 1 else _END
    is_symbol = len(items) == 2 and last.kind in {Kind.NUMBER, Kind.LETTER}
    is_group = last.kind is Kind.CLOSE and _closing([item.atom for item in items[:-1]]) == len(items) - 2
    is_bare = (is_symbol or is_group) and not last.upper
    return Atom(sign + (text if is_bare else bracketed(text)), Kind.ROOT)


def grouped(atoms: Sequence[Atom]) -> Atom:
    """One atom, for a script or another sign behind it: in brackets unless it is a single factor."""
    if len(atoms) == 1:
        is_loose = atoms[0].kind in {Kind.FRACTION, Kind.ROOT}
        return Atom(bracketed(str(atoms[0])), Kind.GROUP) if is_loose else atoms[0]
    items, text = _prepared(atoms), joined(atoms).strip()
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


def _prepared(atoms: Sequence[Atom]) -> list[_Item]:
    """Items with their bars, mixed numbers and brackets; the last one is an end."""
    items: list[_Item] = []
    beside: list[Atom] = []
    for atom in (*atoms, _END):
        beside.append(atom)
        if atom.kind not in _BESIDE:
            items.append(_Item(beside[:-1], atom))
            beside = []
    _resolve_bars(items)
    items = _mixed_numbers(items)
    _set_off(items)
    return items


def _resolve_bars(items: list[_Item]) -> None:
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
            if opened[-1] and before in _OPERANDS:
                opened[-1].pop()
                kind = Kind.CLOSE
            else:
                opened[-1].append(index)
                kind = Kind.OPEN
            item.atom = replace(item.atom, kind=kind)
        before = kind
    for index in unpaired.union(*opened):
        items[index].atom = replace(items[index].atom, kind=Kind.COLON)


def _mixed_numbers(items: list[_Item]) -> list[_Item]:
    """An integer before a proper fraction of integers is one number, 2 1/2; it has the precedence of a fraction."""
    result: list[_Item] = []
    for item in items:
        last = result[-1].atom if result else _END
        before = result[-2].atom.kind if len(result) > 1 else None
        parts = re.fullmatch(r"(\d+)/(\d+)", str(item.atom)) if item.atom.kind is Kind.FRACTION else None
        is_proper = parts is not None and int(parts[1]) < int(parts[2])
        is_free = before not in _OPERANDS or result[-1].is_apart
        if is_proper and is_free and last.kind is Kind.NUMBER and str(last).isdecimal() and not item.is_apart:
            result[-1].atom = Atom(f"{last} {item.atom}", Kind.FRACTION)
        else:
            result.append(item)
    return result


def _set_off(items: list[_Item]) -> None:
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


def _merges_left(left: Atom | None, atom: Atom, item: _Item) -> bool:
    if left is None:
        return False
    if left.kind is Kind.WORD:
        return left.text[-1:].isalnum() and not item.is_spaced
    if atom.is_unit and left.kind in _QUANTITIES:
        return False
    if left.kind in {Kind.SUM, Kind.OPERATOR, Kind.TIMES}:
        return atom.text[0] in "-−±∓" or left.text in _DIVISIONS or left.text == "mod"
    return left.kind in _OPERANDS or left.kind in {Kind.FUNCTION, Kind.SLASH}


def _merges_right(right: Atom | None) -> bool:
    if right is None or right.kind is Kind.WORD or right.is_unit:
        return False
    return right.kind in _STARTS or right.kind in {Kind.SLASH, Kind.POSTFIX}


def _with_gaps(items: list[_Item]) -> Iterator[tuple[_Item, str]]:
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
        was_unary, is_unary = is_unary, atom.kind is Kind.SUM and (left is None or left.kind not in _OPERANDS)
        if atom is _END or left is None:
            gap = ""
        elif left.kind is Kind.SUM and was_unary:
            gap = " " if left.text == "+" and item.is_spaced else ""
        elif has_integral and left.kind in _OPERANDS and atom.text == "d" and following and _is_variable(following):
            gap = " "
        else:
            gap = _gap(left, atom, written=written, spaced=depth in spaced)
        yield item, gap
        depth += atom.kind is Kind.OPEN
        left = atom


def _is_variable(item: _Item) -> bool:
    return item.atom.kind is Kind.LETTER


def _spaced_depths(items: list[_Item]) -> set[int]:
    """Depths of brackets at which + and - have spaces: someone wrote one, or a wider thing is beside them."""
    depths = set()
    depth = 0
    left: Kind | None = None
    for item, following in zip(items, [*items[1:], None], strict=True):
        kind = item.atom.kind
        depth += (kind is Kind.OPEN) - (kind is Kind.CLOSE)
        is_wide = kind in {Kind.TIMES, Kind.FRACTION, Kind.OPERATOR} or item.atom.text in _PLUS_MINUS
        is_written = item.is_spaced or (following is not None and following.is_spaced)
        if is_wide or (kind is Kind.SUM and left in _OPERANDS and is_written):
            depths.add(depth)
        left = kind
    return depths


def _gap(left: Atom, right: Atom, *, written: bool, spaced: bool) -> str:
    """The space between two atoms; `written`: the source has one, `spaced`: + and - have spaces here."""
    kinds = {left.kind, right.kind}
    if left.kind is Kind.OPEN or right.kind in {Kind.CLOSE, Kind.COMMA, Kind.POSTFIX}:
        return ""
    if kinds & {Kind.RELATION, Kind.TIMES, Kind.OPERATOR, Kind.BLOCK}:
        return " "
    if Kind.SUM in kinds:
        is_unary = right.kind is Kind.SUM and left.kind not in _OPERANDS
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
        return " " if right.kind in _STARTS and right.text[:1] != " " else ""
    if re.match(r"\([d∂][^/]?/[d∂]", left.text) and right.kind in {Kind.NUMBER, Kind.LETTER}:
        return " "  # (d/dx) x²
    begins_raised = not right.text or unicodedata.decomposition(right.text[0]).startswith("<su")  # 2 ⁶√x, 5 ⁿCᵣ
    return " " if begins_raised or (written and _are_words(left, right)) else ""


def _are_words(left: Atom, right: Atom) -> bool:
    """Whether a space between two atoms is kept because without it they would be another word or number."""
    names = Kind.WORD in {left.kind, right.kind} or left.text == "}"
    return names or (right.kind is Kind.NUMBER and left.kind in {Kind.NUMBER, Kind.LETTER})


def _pieces(item: _Item, gap: str) -> Iterator[str]:
    """The text of an item. A space stands outside of a box."""
    for atom in item.beside:
        if atom.kind is Kind.MARK and atom.text == BOX:
            yield gap
            gap = ""
        if atom.kind is not Kind.SOFT_SPACE:
            yield atom.text
    yield gap
    yield str(item.atom)


def _is_product(items: list[_Item]) -> bool:
    """Whether it needs no brackets before a `/`: factors side by side without a space, perhaps after a minus."""
    depth, last = 0, _END
    for index, (item, gap) in enumerate(_with_gaps(items)):
        atom = item.atom
        if atom is _END:
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
    return not depth and last.kind in _OPERANDS and not (last.kind is Kind.ROOT and last.is_open_ended)


def _has_space(item: _Item, gap: str, *, is_first: bool) -> bool:
    """Whether an item has a space in it or before it."""
    if item.atom.kind is Kind.WORD and " " in (item.atom.text.strip() if is_first else item.atom.text):
        return True
    return not is_first and (gap != "" or any(atom.kind is Kind.SPACE for atom in item.beside))


def _is_factor(items: list[_Item]) -> bool:
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
    return name.kind is Kind.LETTER and argument[0].text == "(" and _closing(argument) == 2


def _are_applied_alike(above: list[_Item], below: list[_Item]) -> bool:
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
    over = [atom for atom in above if atom.kind not in _BESIDE]
    under = [atom for atom in below if atom.kind not in _BESIDE]
    if not over or len(under) != 2 or under[1].kind is not Kind.LETTER:
        return False
    return under[0].text in {"d", "∂", "Δ", "δ"} and not under[0].upper and over[0].text == under[0].text


def _are_segments(above: str, below: str) -> bool:
    """AB/CD, a ratio of lengths in geometry."""
    return all(re.fullmatch(r"[A-Z]{2}", text) for text in (above, below))
