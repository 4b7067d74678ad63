r"""What a short answer says, in a form in which two answers can be compared exactly; no number is floating-point.

12 cm · \$1{,}200 · 50\% · x = \frac{1}{2}      Number, with its unit; a name in front of it is Named
(C) · \text{(C)} 42                             Letter, of a choice; several, as A) or C), are a Group
yes · True                                      Truth
no solution · 10:30 · 2023-01-05                Words, and what else is compared as it is written
\{1, 2\} · 1, 2 · x = 1 or x = 2                Group without an order
(1, 2) · [0, \infty) · (0,1) \cup (2,3)         Group with brackets; a union has its parts
2\sqrt{3} · x^2 + 1                             Opaque: only a computer algebra system can say more
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

from r1.evaluate.arithmetic import NotExact, value_of
from r1.evaluate.formula import LONGEST, formula, key
from r1.evaluate.units import MULTIPLIERS, looks_like_unit, split_unit, unit_of
from r1.evaluate.words import words_of

_DEPTH = 8  # of groups in groups
_MOST_ITEMS = 100
_REMEMBERED = 10_000  # texts, each of which is compared with many others


@dataclass(frozen=True, slots=True)
class Number:
    """`value` of a percentage is the number before the sign. `unit` is what is counted, if that is no known unit."""

    value: Fraction
    unit: str | None = None
    is_percentage: bool = False


@dataclass(frozen=True, slots=True)
class Infinity:
    sign: int


@dataclass(frozen=True, slots=True)
class Letter:
    """Of a choice; `rest` is what the choice says, if that is there too."""

    letter: str
    rest: NormalForm | None = None


@dataclass(frozen=True, slots=True)
class Truth:
    value: bool


@dataclass(frozen=True, slots=True)
class Words:
    text: str


@dataclass(frozen=True, slots=True)
class Opaque:
    text: str
    unit: str | None = None


@dataclass(frozen=True, slots=True)
class Named:
    name: str
    value: NormalForm


@dataclass(frozen=True, slots=True)
class Group:
    r"""`brackets` are `{}` for a set, two of `()[]`, `∪` for a union, or empty for a bare list."""

    brackets: str
    items: tuple[NormalForm, ...]

    @property
    def is_ordered(self) -> bool:
        return self.brackets not in ("", "{}", "∪")


NormalForm = Number | Infinity | Letter | Truth | Words | Opaque | Named | Group


def normal_form(text: str) -> NormalForm | None:
    """None for a text that is too long, and for one without any content."""
    return None if len(text) > LONGEST else _read(text)


@lru_cache(_REMEMBERED)
def _read(text: str) -> NormalForm | None:
    cleaned = formula(text)
    return _answer(cleaned, 0) if cleaned else None


def without_letter(text: str) -> str:
    """A formula as `formula.formula` leaves it, without the letter of the choice that it is."""
    choice = _CHOICE.fullmatch(text)
    return text if choice is None else choice[2] or choice[4] or text


# From the text, the outermost structure first


def _answer(text: str, depth: int) -> NormalForm:
    text = text.strip()
    if depth > _DEPTH:
        return Opaque(key(text))
    for read in (_read_grouped_number, _read_list, _read_union, _read_named, _read_brackets, _read_plus_minus):
        form = read(text, depth)
        if form is not None:
            return form
    return _plain(text, depth)


_THOUSANDS = re.compile(r"(?:[-+]\s*)?(?:[\x01€£¥₹]\s*)?[-+]?\d{1,3}(?:,\d{3})+(?![\d,])")
_SPACED_THOUSANDS = re.compile(r"[-+]?\d{1,3}(?: \d{3})+(?:\.\d+)?")
_SEPARATOR = re.compile(r",?\s(?:and|or)\s|[,;]")


def _read_grouped_number(text: str, depth: int) -> NormalForm | None:
    """1,234,567 or 1 234 567, with a unit perhaps; not in brackets, where a comma separates."""
    name, equals, value = text.rpartition("=")
    if _SPACED_THOUSANDS.fullmatch(value.strip()):
        grouped = value.replace(" ", "")
    elif (start := _THOUSANDS.match(value.strip())) is not None:
        grouped = start.group().replace(",", "") + value.strip()[start.end() :]
    else:
        return None
    return None if _SEPARATOR.search(name + grouped) else _answer(name + equals + grouped, depth + 1)


def _read_list(text: str, depth: int) -> NormalForm | None:
    pieces = [*_split(text, _SEPARATOR)]
    if len(pieces) > 1 and re.search(r",\s", text):  # then a comma without a space can be one between thousands
        spaced = [*_split(text, re.compile(r",?\s(?:and|or)\s|,\s|;"))]
        pieces = spaced if all(_THOUSANDS.fullmatch(piece.strip()) or "," not in piece for piece in spaced) else pieces
    pieces = [piece for piece in pieces if piece.strip()]
    if len(pieces) < 2 or all(_is_word(piece) for piece in pieces[1:]):
        return None
    return _group("", pieces, text, depth)


def _is_word(text: str) -> bool:
    return re.fullmatch(r"\s*[A-Za-z][a-z]+(?: [A-Za-z]+)*\s*", text) is not None


def _group(brackets: str, pieces: Sequence[str], text: str, depth: int) -> NormalForm:
    if len(pieces) > _MOST_ITEMS:
        return Opaque(key(text))
    items = [_answer(piece, depth + 1) for piece in pieces]
    group = Group(brackets, tuple(items))
    return group if group.is_ordered else Group(brackets, tuple(dict.fromkeys(_members(items))))


def _members(items: Sequence[NormalForm]) -> Iterator[NormalForm]:
    r"""Of a list or set; a list in it, as `\pm 1` is one, is no member but several."""
    for item in items:
        yield from item.items if isinstance(item, Group) and item.brackets == "" else (item,)


def _read_union(text: str, depth: int) -> NormalForm | None:
    pieces = [*_split(text, re.compile(r"\\cup(?![a-zA-Z])|(?<=[)\]])\s*U\s*(?=[(\[])"))]
    return _group("∪", pieces, text, depth) if len(pieces) > 1 and all(map(str.strip, pieces)) else None


_NAME = (
    r"\\?[A-Za-z]+(?:_\{?\w+\}?)?'{0,3}(?:\([\w, ]{1,9}\))?|[A-Za-z][A-Za-z ]*|\([a-z](?:, ?[a-z])+\)"
    r"|m?\s?\\(?:angle|triangle|overline|vec|hat|bar|dot)\s?\{?[A-Za-z]+\}?|\|[A-Za-z]+\|"
    r"|\\frac\{d\w?\}\{d\w\}"
)
_NAMED = re.compile(rf"({_NAME})\s*=\s*(\S.*)")
_ARITHMETIC = re.compile(
    r"\\(?:times|cdot|div|ast|frac|sqrt|binom|pi|circ|sin|cos|tan|cot|sec|csc|log|ln|exp|gcd|max|min)(?![a-zA-Z])"
)
_MEMBER = re.compile(r"([A-Za-z])\s*\\in(?![a-zA-Z])\s*(.+)")


def _read_named(text: str, depth: int) -> NormalForm | None:
    if (member := _MEMBER.fullmatch(text)) is not None:
        return Named(member[1], _answer(member[2], depth + 1))
    if re.search(r"[<>!]|\\[lgn]eq|\\approx|=\s*(?:=|$)", text):
        return None
    left, equals, right = text.rpartition("=")
    if equals and not re.search("[A-Za-z]", _ARITHMETIC.sub("", left)):  # a calculation: 3 + 4 = 7
        return _number(right.strip())
    match = _NAMED.fullmatch(text) if _is_balanced(right) else None  # not \sum_{i=1}^n i
    return Named(key(match[1]), _answer(right, depth + 1)) if match is not None else None


_PAIRS = {"(": ")]", "[": ")]", r"\{": (r"\}",), "{": "}", r"\langle": (r"\rangle",)}


def _read_brackets(text: str, depth: int) -> NormalForm | None:
    opening = next((opening for opening in _PAIRS if text.startswith(opening)), None)
    closing = next((closing for closing in _PAIRS.get(opening or "", ()) if text.endswith(closing)), None)
    if opening is None or closing is None or (opening == "{" and text.endswith(r"\}")):
        return None
    inside = text[len(opening) : -len(closing)]
    if not _is_balanced(inside):
        return None
    pieces = [*_split(inside, re.compile("[,;]"))]
    is_set = "{" in opening
    if len(pieces) == 1 and (opening != r"\{"):
        is_letter = opening == "(" and re.fullmatch(r"\s*[A-Za-z]\s*", inside)
        return Letter(inside.strip().upper()) if is_letter else _answer(inside, depth + 1) if inside.strip() else None
    brackets = "{}" if is_set else "()" if "angle" in opening else opening + closing
    return _group(brackets, pieces, text, depth) if all(map(str.strip, pieces)) else None


_PLUS_MINUS = re.compile(r"\\pm(?![a-zA-Z])")  # not \pmod


def _read_plus_minus(text: str, depth: int) -> NormalForm | None:
    r"""`3 \pm 1` is 4 and 2."""
    if len(_PLUS_MINUS.findall(text)) != 1:
        return None
    return _group("", [_PLUS_MINUS.sub(sign, text) for sign in "+-"], text, depth)


# A single thing

_CHOICE = re.compile(
    r"(?:(?:[Oo]ption|[Cc]hoice|[Aa]nswer):? )?(?:\(([A-Z])\)\s*(.*)|([A-Z])(?:[).:](?:\s+(?!(?:and|or|but)\b)(.*))?)?)"
)
_CHOICES = re.compile(r"\(?[A-Z]\)?(?:[).:,;&\s]+(?:(?:and|or)\s+)?\(?[A-Z](?![A-Za-z]))+[).]?")  # A) or C)
_TRUTHS = {"yes": True, "true": True, "no": False, "false": False}


def _plain(text: str, depth: int) -> NormalForm:
    if _CHOICES.fullmatch(text) is not None:
        return Group("", tuple(Letter(letter) for letter in sorted(set(re.findall(r"\b[A-Z]\b", text)))))
    if (choice := _CHOICE.fullmatch(text)) is not None:
        rest = choice[2] or choice[4]
        return Letter(choice[1] or choice[3], _answer(rest, depth + 1) if rest else None)
    if _CODE.fullmatch(text) is not None:
        return Words(re.sub(r" ?([ap])\.?m\.?$", r"\1m", text.casefold().replace(" :", ":").replace(": ", ":")))
    if text.casefold() in _TRUTHS:
        return Truth(_TRUTHS[text.casefold()])
    if text == r"\emptyset":
        return Group("{}", ())
    if (infinity := re.fullmatch(r"([-+]?)\s*\\infty", text)) is not None:
        return Infinity(-1 if infinity[1] == "-" else 1)
    if (form := _number(text) or _words(text)) is not None:
        return form
    rest, unit = split_unit(text)
    return Opaque(key(rest).removeprefix("+"), unit)


_CODE = re.compile(  # a date, a time, a range or telephone number, a version, a ratio of three, another base
    r"\d{1,4}([-/.])\d{1,2}\1\d{1,4}|\d{1,2}(?::[0-5]\d){1,2}(?: ?[ap]\.?m\.?)?|\d+(?:-\d+)+|\d+(?:\.\d+){2,}"
    r"|\d+(?:\s?:\s?\d+){2,}|0[xX][0-9a-fA-F]+|0[bBoO]\d+",
    re.IGNORECASE,
)


def _words(text: str) -> Words | None:
    words = words_of(text)
    return None if words is None else Words(words)


_QUANTITY = re.compile(
    r"([-+]?)\s*([\x01€£¥₹]|USD)?\s*(.*?[\d.)}])(\s*)((?:%|[A-Za-z¢€£₹\x01](?:[^\d^]|\^ ?\{?[23])*)?)"
)
_PERCENT = re.compile(r"(?:%|per ?cent|percentage)(?: points?)?")


def _number(text: str) -> Number | None:
    """A number with its sign, currency, percent sign, multiplier or unit."""
    match = _QUANTITY.fullmatch(text)
    if match is None:
        return None
    sign, currency, digits, space, after = match.groups()
    if after and digits.endswith("."):  # 3. Banana
        return None
    try:
        value = value_of(f"{sign}{digits}")
    except NotExact:
        return None
    first, _, rest = after.partition(" ")
    if first in MULTIPLIERS:
        value, after, space = value * MULTIPLIERS[first], rest, " "
    if _PERCENT.fullmatch(after):
        return Number(value, is_percentage=True)
    if after and not looks_like_unit(after, bool(space)):
        return None
    if currency and after and unit_of(after) != unit_of(currency):  # per hour
        after = f"{currency} {after}"
    return Number(value, unit_of(after or currency) if currency or after else None)


# Text with brackets

_BRACKETS = re.compile(r"\\[{}]|\\[lr]angle|[()\[\]{}]")
_OPENING = ("(", "[", "{", r"\{", r"\langle")


def _split(text: str, separator: re.Pattern[str]) -> Iterator[str]:
    """The pieces between separators that stand in no brackets."""
    start = depth = 0
    for token in re.finditer(f"{_BRACKETS.pattern}|({separator.pattern})", text):
        if token[1] is None:
            depth += 1 if token.group() in _OPENING else -1
        elif depth == 0:
            yield text[start : token.start()]
            start = token.end()
    yield text[start:]


def _is_balanced(text: str) -> bool:
    """Whether no bracket is closed that was opened before the text."""
    depth = 0
    for token in _BRACKETS.finditer(text):
        depth += 1 if token.group() in _OPENING else -1
        if depth < 0:
            return False
    return depth == 0
