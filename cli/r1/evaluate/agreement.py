"""Whether two normal forms say the same."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from r1.evaluate.normal_form import Group, Letter, Named, NormalForm, Number, Opaque, Truth, Words
from r1.evaluate.words import without_case


def agree(one: NormalForm, other: NormalForm) -> bool | None:
    """Whether they say the same; None if only a computer algebra system can tell. Symmetric."""
    if one == other:
        return True
    if isinstance(one, Named | Group) and (by_name := _agree_by_name(one, other)) is not None:
        return by_name.value
    for kind, rule in _RULES:
        if isinstance(one, kind):
            return rule(one, other)
        if isinstance(other, kind):
            return rule(other, one)
    return False


@dataclass(frozen=True, slots=True)
class _ByName:
    """What a comparison by names came to."""

    value: bool | None


def _agree_by_name(one: Named | Group, other: NormalForm) -> _ByName | None:
    """Of two with a name for each value, one of them a tuple: (y, x) = (2, 1) says the same as x = 1, y = 2.

    None for others. Against a tuple without names the order counts in which the names are written: it answers a
    question that asked for some order, and (y, x) = (2, 1) is right where (2, 1) is. So (1, 2) agrees with
    (x, y) = (1, 2) but not with (y, x) = (2, 1), although those two agree; no class of answers has all three. A list,
    as in y = 2, x = 1, has no order; its names are put in that of the alphabet.
    """
    if not isinstance(other, Named | Group) or {_brackets(one), _brackets(other)} == {""}:
        return None
    some, others = _values_by_name(one), _values_by_name(other)
    if some is None or others is None:
        return None
    if some.keys() != others.keys():
        return _ByName(False)
    return _ByName(_agree_in_order([*some.values()], [others[name] for name in some]))


def _brackets(form: Named | Group) -> str:
    return form.brackets if isinstance(form, Group) else "()"


def _values_by_name(form: Named | Group) -> dict[str, NormalForm] | None:
    """Of (y, x) = (2, 1), and of (y = 2, x = 1) with or without brackets; None for what has not a name for each."""
    if isinstance(form, Group):
        named = [item for item in form.items if isinstance(item, Named)] if form.brackets in ("", "()") else []
        values = {item.name: item.value for item in named}
        return values if 1 < len(values) == len(form.items) else None
    names = form.name.strip("()").split(",") if form.name.startswith("(") else []
    if not isinstance(form.value, Group) or not form.value.is_ordered or len({*names}) != len(form.value.items):
        return None
    return dict(zip(names, form.value.items, strict=True))


def _agree_named(one: Named, other: NormalForm) -> bool | None:
    if not isinstance(other, Named):
        return agree(one.value, other)
    if one.name != other.name and not ({one.name, other.name} & {"y"} and {one.name, other.name} & _FUNCTIONS):
        return False
    return agree(one.value, other.value)


_FUNCTIONS = {"f(x)", "g(x)", "h(x)", "y(x)"}
"""Names of functions of x, of which the graph is also called y."""


def _agree_group(one: Group, other: NormalForm) -> bool | None:
    if not isinstance(other, Group):
        is_single = not one.is_ordered and len(one.items) == 1
        return agree(one.items[0], other) if is_single else None if isinstance(other, Opaque) else False
    if one.brackets == other.brackets and one.is_ordered:
        return _agree_in_order(one.items, other.items)
    bare, second = (one, other) if one.brackets == "" else (other, one)
    if bare.brackets == "" and second.brackets == "()":
        return _agree_with_tuple(bare.items, second.items)
    kinds = {one.brackets, other.brackets}
    return (
        _agree_in_any_order(one.items, other.items) if kinds <= {"", "{}"} or kinds == {"∪"} else _unless_opaque(kinds)
    )


def _unless_opaque(kinds: set[str]) -> bool | None:
    return None if "∪" in kinds else False


def _agree_with_tuple(bare: Sequence[NormalForm], items: Sequence[NormalForm]) -> bool | None:
    """Of a list, as in 1, 2. If it has names, as in x = 1, y = 2, they are in the order of the alphabet in a tuple."""
    named = [item for item in bare if isinstance(item, Named)]
    if not named or any(isinstance(item, Named) for item in items):
        return _agree_in_order(bare, items)
    if len({item.name for item in named}) < len(bare):
        return False
    return _agree_in_order([item.value for item in sorted(named, key=lambda item: item.name)], items)


def _agree_in_order(some: Sequence[NormalForm], others: Sequence[NormalForm]) -> bool | None:
    if len(some) != len(others):
        return False
    results = [agree(one, other) for one, other in zip(some, others, strict=True)]
    return False if False in results else None if None in results else True


def _agree_in_any_order(some: Sequence[NormalForm], others: Sequence[NormalForm]) -> bool | None:
    """Each pair is compared once: groups in groups would multiply a second time at each level."""
    results = [[agree(one, other) for other in others] for one in some]
    if len(some) == len(others) and _can_be_paired([[result is True for result in row] for row in results]):
        return True
    has_partner = all(any(result is not False for result in row) for row in (*results, *zip(*results, strict=True)))
    return None if some and others and has_partner else False


def _can_be_paired(table: Sequence[Sequence[bool]]) -> bool:
    """Whether each row has a column of its own where the table is true (Kuhn's augmenting paths)."""
    row_of: dict[int, int] = {}

    def place(row: int, tried: set[int]) -> bool:
        for column, is_possible in enumerate(table[row]):
            if is_possible and column not in tried:
                tried.add(column)
                if column not in row_of or place(row_of[column], tried):
                    row_of[column] = row
                    return True
        return False

    return all(place(row, set()) for row in range(len(table)))


def _agree_letter(one: Letter, other: NormalForm) -> bool | None:
    """Two letters with two texts say the same only if the texts do, too."""
    if not isinstance(other, Letter):
        is_unknown = isinstance(other, Opaque) and not other.text.isalpha()
        return agree(one.rest, other) if one.rest is not None else None if is_unknown else False
    if one.letter != other.letter:
        return False
    return True if one.rest is None or other.rest is None else agree(one.rest, other.rest)


def _agree_opaque(one: Opaque, other: NormalForm) -> bool | None:
    unit = other.unit if isinstance(other, Opaque | Number) else None
    if isinstance(other, Truth | Words) or (one.unit and unit and one.unit != unit):
        return False
    if not isinstance(other, Opaque):
        return None
    if one.text == other.text:
        return True
    if _is_word(one.text) and _is_word(other.text):
        return without_case(one.text) == without_case(other.text)  # Odd, odd; but not tea, eat, nor mgh, MGH
    return None


def _is_word(text: str) -> bool:
    """Not a product of variables: ABC is no BCA."""
    return text.isalpha() and (len(text) > 2 or text.isupper())


def _agree_number(one: Number, other: NormalForm) -> bool:
    if not isinstance(other, Number) or (one.unit and other.unit and one.unit != other.unit):
        return False
    if one.is_percentage == other.is_percentage:
        return one.value == other.value
    share, number = (one, other) if one.is_percentage else (other, one)
    return number.unit is None and number.value in (share.value, share.value / 100)


_RULES: tuple[tuple[type, Callable[..., bool | None]], ...] = (
    (Named, _agree_named),
    (Letter, _agree_letter),
    (Group, _agree_group),
    (Opaque, _agree_opaque),
    (Number, _agree_number),
)
"""By the kind of one of the two; the first that fits counts."""
