r"""Regular expressions, read by Python's own parser, as GBNF and for matching.

The whole answer must match, so `^` and `$` are allowed at the ends and change nothing. What a regular language cannot
have, or a grammar not follow, is refused by name: looking around, backreferences, conditions, word boundaries, anchors
inside, atomic groups.

What is generated matches by the rules of Python and by those of JavaScript (which JSON Schema means), with any flags:
`\d`, `\w` and `\s` write ASCII, `\D`, `\W` and `\S` write what is no digit, word or space in any script, `.` writes no
end of a line, and large classes write no control characters. `(?i)` writes both cases of ASCII letters.

Matching follows all ways through the expression at once, so its time grows with the length of the text, where Python's
`re` can take exponentially long for an expression such as `(a+)+b`.
"""

from __future__ import annotations

import importlib
import re
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import reduce
from itertools import groupby
from typing import Any

from r1.forms import characters
from r1.forms.characters import ALPHABET, DIGITS, SPACES, WORD, complement, union, writable
from r1.forms.gbnf import MAX_COUNT, MAX_SIZE, Ranges, char_class, literal, repetition
from r1_quantize.errors import UsageError

MAX_LENGTH = 10_000
"""Characters of an expression."""

_MAX_DEPTH = 50  # nested groups and repetitions
_MAX_NODES = 20_000
_MAX_NESTED_COUNT = 10_000  # a grammar can have as many ways to go on at once as nested counts multiplied


@dataclass(frozen=True, slots=True)
class Chars:
    """One character of a set. The empty set matches nothing."""

    ranges: Ranges


@dataclass(frozen=True, slots=True)
class Sequence:
    """One part after the other; none: the empty text."""

    parts: tuple[Node, ...] = ()
    weight: int = field(init=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "weight", 1 + sum(map(_weight, self.parts)))


@dataclass(frozen=True, slots=True)
class Choice:
    """One of several expressions; none: nothing matches."""

    options: tuple[Node, ...]
    weight: int = field(init=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "weight", 1 + sum(map(_weight, self.options)))


@dataclass(frozen=True, slots=True)
class Repeat:
    """An expression that is never empty, several times; `most` None: without a bound."""

    item: Node
    least: int
    most: int | None
    weight: int = field(init=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "weight", 1 + _weight(self.item))


@dataclass(frozen=True, slots=True)
class Anchor:
    """The beginning or the end of the text."""

    is_start: bool


Node = Chars | Sequence | Choice | Repeat | Anchor


def _weight(node: Node) -> int:
    """How many nodes it has, counted as often as they are used."""
    return 1 if isinstance(node, Chars | Anchor) else node.weight


NOTHING = Choice(())
EMPTY = Sequence()
_ANY_TEXT = Repeat(Chars(writable(ALPHABET)), 0, None)


def compile_regex(pattern: str) -> Node:
    """The expression of an answer: whole texts, not empty, without white space at their ends, which is trimmed.

    Raises UsageError where it does not compile, is not supported, or where no such text matches.
    """
    node = starting(anchored(_parse(pattern), is_search=False), is_space_free=True)
    node = _reversed(starting(_reversed(node), is_space_free=True))
    if node == NOTHING:
        raise UsageError(
            "the regular expression matches no text that an answer can be: one with at least one character, "
            "and without white space at its ends"
        )
    return node


def compile_pattern(pattern: str) -> Node:
    """The texts in which an expression is found somewhere, as JSON Schema's `pattern`; errors as `compile_regex`."""
    node = anchored(_parse(pattern), is_search=True)
    if node == NOTHING:
        raise UsageError("the regular expression matches no text")
    return node


# ---- reading ----


def _parse(pattern: str) -> Node:
    if len(pattern) > MAX_LENGTH:
        raise UsageError(f"the regular expression has more than {MAX_LENGTH:,} characters; make it shorter")
    parser: Any = importlib.import_module("re._parser")  # the only parser that is sure to read what Python compiles
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of spellings that a later Python may read otherwise
            tree = parser.parse(pattern)
    except re.error as exc:
        raise UsageError(f"the regular expression does not compile: {exc}") from exc
    except (RecursionError, OverflowError, ValueError) as exc:
        raise UsageError(
            "the regular expression does not compile: it is nested too deeply or a count is too large"
        ) from exc
    if tree.state.flags & re.MULTILINE:
        raise _unsupported("(?m), anchors at line ends")
    return _Tree().sequence(tree, tree.state.flags, 0)


def _unsupported(what: str) -> UsageError:
    return UsageError(f"the regular expression uses {what}, which is not supported; write it without")


_REFUSED = {
    "ASSERT": "a lookahead or lookbehind",
    "ASSERT_NOT": "a negative lookahead or lookbehind",
    "GROUPREF": "a backreference",
    "GROUPREF_EXISTS": "a condition",
    "GROUPREF_IGNORE": "a backreference",
    "ATOMIC_GROUP": "an atomic group",
    "POSSESSIVE_REPEAT": "a possessive quantifier",
}
_ANCHORS = {"AT_BEGINNING": True, "AT_BEGINNING_STRING": True, "AT_END": False, "AT_END_STRING": False}


class _Tree:
    """Reads the tree of Python's parser."""

    def __init__(self) -> None:
        self._nodes = 0
        self._counts = 1  # the counts around a node, multiplied

    def sequence(self, items: Any, flags: int, depth: int) -> Node:
        if depth > _MAX_DEPTH:
            raise UsageError(f"the regular expression has more than {_MAX_DEPTH} levels of groups; make it simpler")
        return in_sequence(self._node(str(op), argument, flags, depth) for op, argument in items)

    def _node(self, op: str, argument: Any, flags: int, depth: int) -> Node:
        self._nodes += 1
        _check_size(self._nodes)
        match op:
            case "LITERAL" | "NOT_LITERAL" | "ANY" | "IN":
                return Chars(_chars(op, argument, flags))
            case "BRANCH":
                return one_of(self.sequence(option, flags, depth + 1) for option in argument[1])
            case "SUBPATTERN":
                _, added, removed, inner = argument
                return self.sequence(inner, flags & ~removed | added, depth + 1)
            case "MAX_REPEAT" | "MIN_REPEAT":
                return self._repeat(argument, flags, depth)
            case "AT" if str(argument) in _ANCHORS:
                return Anchor(_ANCHORS[str(argument)])
            case "AT":
                raise _unsupported("a word boundary")
        raise _unsupported(_REFUSED.get(op, op.lower()))

    def _repeat(self, argument: Any, flags: int, depth: int) -> Node:
        least, most, inner = argument
        unbounded = most == importlib.import_module("re._constants").MAXREPEAT
        count = max(least, 1 if unbounded else most)
        if count > MAX_COUNT:
            raise UsageError(f"the regular expression repeats something more than {MAX_COUNT:,} times; lower the count")
        if self._counts * count > _MAX_NESTED_COUNT:
            raise UsageError(
                f"the regular expression has nested counts of more than {_MAX_NESTED_COUNT:,} in all; lower them"
            )
        around, self._counts = self._counts, self._counts * max(count, 1)
        item = self.sequence(inner, flags, depth + 1)
        self._counts = around
        if _has_anchor(item):
            raise _unsupported("an anchor that is not at an end of it")
        return repeated(item, least, None if unbounded else most)


def _chars(op: str, argument: Any, flags: int) -> Ranges:
    """The set of a node that matches one character."""
    ignores_case = bool(flags & re.IGNORECASE)
    if op == "ANY":
        return ALPHABET if flags & re.DOTALL else complement(characters.of("\n\r\u2028\u2029"))
    if op == "NOT_LITERAL":
        return _negated([("LITERAL", argument)], ignores_case)
    members = [("LITERAL", argument)] if op == "LITERAL" else [(str(name), value) for name, value in argument]
    if members[0][0] == "NEGATE":
        return _negated(members[1:], ignores_case)
    found = union(*(_member(name, value, is_wide=False) for name, value in members))
    return characters.both_cases(found) if ignores_case else found


def _negated(members: list[tuple[str, Any]], ignores_case: bool) -> Ranges:
    excluded = union(*(_member(name, value, is_wide=True) for name, value in members))
    if ignores_case:
        if characters.without(excluded, ((1, 127),)) and all(name in {"LITERAL", "RANGE"} for name, _ in members):
            raise _unsupported("(?i) and a negated class with letters beyond ASCII")
        excluded = union(characters.both_cases(excluded), characters.of("\u017f\u212a\u0130\u0131"))  # ſ K İ ı
    return complement(excluded)


def _member(name: str, value: Any, *, is_wide: bool) -> Ranges:
    """The characters of one part of a class; wide: all that it matches somewhere, because they are to be left out."""
    if name == "LITERAL":
        return ((value, value),)
    if name == "RANGE":
        return (value,)
    kind = str(value).removeprefix("CATEGORY_")
    narrow, wide = _CATEGORIES[kind.removeprefix("NOT_")]
    if kind.startswith("NOT_"):
        return complement(narrow if is_wide else wide())
    return wide() if is_wide else narrow


_CATEGORIES: dict[str, tuple[Ranges, Callable[[], Ranges]]] = {
    "DIGIT": (DIGITS, characters.any_digit),
    "SPACE": (SPACES, characters.any_space),
    "WORD": (WORD, characters.any_word),
}


# ---- building ----


def _check_size(nodes: int) -> None:
    if nodes > _MAX_NODES:
        raise UsageError("the regular expression is too large; make it simpler, with fewer parts that can be empty")


def in_sequence(parts: Iterator[Node] | tuple[Node, ...]) -> Node:
    """The parts one after the other, sequences in it opened; nothing if one of them matches nothing."""
    flat: list[Node] = []
    for part in parts:
        if _matches_nothing(part):
            return NOTHING
        flat += part.parts if isinstance(part, Sequence) else (part,)
    return flat[0] if len(flat) == 1 else Sequence(tuple(flat))


def one_of(options: Iterator[Node] | tuple[Node, ...]) -> Node:
    """One of the options; those that match nothing are left out."""
    flat: list[Node] = []
    weight = 0
    for option in options:
        weight += _weight(option)
        _check_size(weight)
        if not _matches_nothing(option):
            flat += option.options if isinstance(option, Choice) else (option,)
    flat = list(dict.fromkeys(flat))
    return flat[0] if len(flat) == 1 else Choice(tuple(flat))


def repeated(item: Node, least: int, most: int | None) -> Node:
    """The item several times. One that can be empty is made one that cannot: llama.cpp refuses it."""
    if most is not None and most < max(least, 1):
        return EMPTY if most >= least else NOTHING
    if is_nullable(item):
        item, least = starting(item, is_space_free=False), 0
    if _matches_nothing(item):
        return NOTHING if least else EMPTY
    return item if (least, most) == (1, 1) else Repeat(item, least, most)


def _matches_nothing(node: Node) -> bool:
    return node == NOTHING or (isinstance(node, Chars) and not writable(node.ranges))


def is_nullable(node: Node) -> bool:
    """Whether the empty text matches."""
    match node:
        case Chars():
            return False
        case Sequence(parts):
            return all(map(is_nullable, parts))
        case Choice(options):
            return any(map(is_nullable, options))
        case Repeat(_, least, _):
            return least == 0
        case Anchor():
            return True


def starting(node: Node, *, is_space_free: bool) -> Node:
    """The texts of an expression that are not empty and, if so asked, begin with no white space."""
    match node:
        case Chars(ranges):
            has_space = is_space_free and characters.common(ranges, characters.any_space())
            return one_of((Chars(characters.without(ranges, characters.any_space())),)) if has_space else node
        case Choice(options):
            return one_of(starting(option, is_space_free=is_space_free) for option in options)
        case Sequence(parts):
            nullable = next((index for index, part in enumerate(parts) if not is_nullable(part)), len(parts))
            return one_of(
                in_sequence((starting(part, is_space_free=is_space_free), *parts[index + 1 :]))
                for index, part in enumerate(parts[: nullable + 1])
            )
        case Repeat(item, least, most):
            first = starting(item, is_space_free=is_space_free)
            if first == item:
                return repeated(item, max(least, 1), most)
            return in_sequence((first, repeated(item, max(least - 1, 0), None if most is None else most - 1)))
        case Anchor():
            return NOTHING


def _reversed(node: Node) -> Node:
    match node:
        case Sequence(parts):
            return Sequence(tuple(map(_reversed, parts[::-1])))
        case Choice(options):
            return Choice(tuple(map(_reversed, options)))
        case Repeat(item, least, most):
            return Repeat(_reversed(item), least, most)
    return node


def _has_anchor(node: Node) -> bool:
    match node:
        case Sequence(parts) | Choice(parts):
            return any(map(_has_anchor, parts))
    return isinstance(node, Anchor)


def anchored(node: Node, *, is_search: bool) -> Node:
    """The expression without its anchors. For a search, any text may stand where it has none.

    Raises UsageError for an anchor that is not at an end of the expression.
    """
    around = _ANY_TEXT if is_search else EMPTY
    return _anchored(node, around, around)


def _anchored(node: Node, before: Node | None, after: Node | None) -> Node:
    """The expression between two others, each of which an anchor of its own replaces; None: none may be there."""
    if isinstance(node, Choice):
        return one_of(_anchored(option, before, after) for option in node.options)
    parts: list[Node] = list(node.parts) if isinstance(node, Sequence) else [node]
    starts = next((index for index, part in enumerate(parts) if part != Anchor(True)), len(parts))
    del parts[:starts]
    ends = next((index for index, part in enumerate(reversed(parts)) if part != Anchor(False)), len(parts))
    del parts[len(parts) - ends :]
    if (starts and before is None) or (ends and after is None) or any(map(_has_anchor, parts[1:-1])):
        raise _unsupported("an anchor that is not at an end of it")
    before, after = EMPTY if starts else before, EMPTY if ends else after
    if len(parts) == 1 and _has_anchor(parts[0]):
        return _anchored(parts[0], before, after)
    if len(parts) > 1 and _has_anchor(parts[0]):
        parts[0], before = _anchored(parts[0], before, None), EMPTY
    if len(parts) > 1 and _has_anchor(parts[-1]):
        parts[-1], after = _anchored(parts[-1], None, after), EMPTY
    return in_sequence((before or EMPTY, *parts, after or EMPTY))


# ---- matching ----


def matches(node: Node, text: str) -> bool:
    """Whether the whole text matches, in a time that grows with the length of the text."""
    return len(text) in _ends(node, text, frozenset({0}))


def _ends(node: Node, text: str, starts: frozenset[int]) -> frozenset[int]:
    """Where a match can end that begins at one of some places."""
    match node:
        case Chars(ranges):
            within = (start for start in starts if start < len(text))
            return frozenset(start + 1 for start in within if characters.contains(ranges, text[start]))
        case Sequence(parts):
            return reduce(lambda places, part: _ends(part, text, places), parts, starts)
        case Choice(options):
            return frozenset[int]().union(*(_ends(option, text, starts) for option in options))
        case Repeat(item, least, most):
            return _ends_of_repeat(item, (least, most), text, starts)
        case Anchor():
            raise AssertionError("anchors are taken out before")


def _ends_of_repeat(item: Node, counts: tuple[int, int | None], text: str, starts: frozenset[int]) -> frozenset[int]:
    least, most = counts
    found = starts if least == 0 else frozenset[int]()
    places, count = starts, 0
    while places and (most is None or count < most):
        places = _ends(item, text, places)
        count += 1
        if count >= least:
            # without a bound, a place that was reached before leads nowhere new
            places = places - found if most is None else places
            found |= places
    return found


# ---- writing ----


@dataclass(slots=True)
class GbnfWriter:
    """Writes expressions as GBNF. What is repeated gets a rule of its own, so that counts do not multiply.

    `write_chars` writes one character of a set, `write_text` a text; `add_rule` takes a rule's content and gives its
    name. Raises UsageError if the grammar becomes too long.
    """

    write_chars: Callable[[Ranges], str]
    write_text: Callable[[str], str]
    add_rule: Callable[[str], str]
    _written: int = 0

    def write(self, node: Node) -> str:
        text = self._text(node)
        self._written += len(text)
        if self._written > 20 * MAX_SIZE:  # each level counts its text again
            raise UsageError("the regular expression is too large for a grammar; make it simpler")
        return text

    def _text(self, node: Node) -> str:
        match node:
            case Chars(ranges):
                char = _single(node)
                return self.write_chars(writable(ranges)) if char is None else self.write_text(char)
            case Sequence(parts):
                return " ".join(self._parts(parts)) or '""'
            case Choice(options):
                return f"({' | '.join(map(self.write, options))})"
            case Repeat(item, least, most):
                text = self.write(item)
                is_unit = isinstance(item, Chars) and text[0] in '["'
                return f"{text if is_unit else self.add_rule(text)}{repetition(least, most)}"
            case Anchor():
                raise AssertionError("anchors are taken out before")

    def _parts(self, parts: tuple[Node, ...]) -> Iterator[str]:
        for char, group in groupby(parts, lambda part: _single(part) is not None):
            nodes = list(group)
            if char:
                yield self.write_text("".join(filter(None, map(_single, nodes))))
            else:
                yield from map(self.write, nodes)


def _single(node: Node) -> str | None:
    """The character of a set that has only one."""
    if not isinstance(node, Chars):
        return None
    ranges = writable(node.ranges)
    return chr(ranges[0][0]) if characters.size(ranges) == 1 else None


def regex_grammar(node: Node) -> str:
    """The grammar of an expression's texts."""
    rules: list[str] = []

    def add(content: str) -> str:
        if content not in rules:
            rules.append(content)
        return f"part{rules.index(content)}"

    root = GbnfWriter(char_class, literal, add).write(node)
    return "\n".join([f"root ::= {root}", *(f"part{index} ::= {content}" for index, content in enumerate(rules))])
