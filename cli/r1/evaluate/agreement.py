"""Whether two normal forms say the same."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from r1.evaluate.normal_form import Group, Letter, Named, NormalForm, Number, Opaque, Truth, Words
from r1.evaluate.words import without_case


def agree(one: NormalForm, other: NormalForm) -> bool | None:
    """Whether they say the same; None if only a computer algebra system can tell. Symmetric."""
    if one == other:
        return True
    for kind, rule in _RULES:
        if isinstance(one, kind):
            return rule(one, other)
        if isinstance(other, kind):
            return rule(other, one)
    return False


def _agree_named(one: Named, other: NormalForm) -> bool | None:
    if not isinstance(other, Named):
        return agree(_spread(one, other), other)
    if one.name != other.name and not ({one.name, other.name} & {"y"} and {one.name, other.name} & _FUNCTIONS):
        return False
    return agree(one.value, other.value)


def _spread(one: Named, other: NormalForm) -> NormalForm:
    """The value; but (b, a) = (1, 2) as b = 1, a = 2, if the other one has names, too."""
    has_names = isinstance(other, Group) and any(isinstance(item, Named) for item in other.items)
    names = one.name.strip("()").split(",")
    if not has_names or not isinstance(one.value, Group) or len(names) != len(one.value.items):
        return one.value
    return Group("", tuple(Named(name, item) for name, item in zip(names, one.value.items, strict=True)))


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
    return one.rest is None or other.rest is None or agree(one.rest, other.rest) is True


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
