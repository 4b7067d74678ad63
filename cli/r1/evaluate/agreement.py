"""Whether two normal forms say the same."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from r1.evaluate.normal_form import Group, Letter, Named, NormalForm, Number, Opaque, Truth, Words


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
        return agree(one.value, other)
    result = agree(one.value, other.value)
    is_number = isinstance(one.value, Number)
    return result if one.name == other.name else False if is_number or result is False else None


def _agree_group(one: Group, other: NormalForm) -> bool | None:
    if not isinstance(other, Group):
        is_single = not one.is_ordered and len(one.items) == 1
        return agree(one.items[0], other) if is_single else None if isinstance(other, Opaque) else False
    if one.brackets == other.brackets and one.is_ordered:
        return _agree_in_order(one.items, other.items)
    bare, second = (one, other) if one.brackets == "" else (other, one)
    if bare.brackets == "" and second.brackets == "()":
        return _agree_in_order(bare.items, second.items)
    kinds = {one.brackets, other.brackets}
    return (
        _agree_in_any_order(one.items, other.items) if kinds <= {"", "{}"} or kinds == {"∪"} else _unless_opaque(kinds)
    )


def _unless_opaque(kinds: set[str]) -> bool | None:
    return None if "∪" in kinds else False


def _agree_in_order(some: Sequence[NormalForm], others: Sequence[NormalForm]) -> bool | None:
    if len(some) != len(others):
        return False
    results = [agree(one, other) for one, other in zip(some, others, strict=True)]
    return False if False in results else None if None in results else True


def _agree_in_any_order(some: Sequence[NormalForm], others: Sequence[NormalForm]) -> bool | None:
    left = list(others)
    unmatched: list[NormalForm] = []
    for one in some:
        partner = next((other for other in left if agree(one, other)), None)
        if partner is None:
            unmatched.append(one)
        else:
            left.remove(partner)
    if not unmatched and not left:
        return True
    is_unknown = any(agree(one, other) is None for one in unmatched for other in others)
    is_unknown = is_unknown or any(agree(one, other) is None for one in some for other in left)
    return None if is_unknown else False


def _agree_letter(one: Letter, other: NormalForm) -> bool | None:
    if isinstance(other, Letter):
        return one.letter == other.letter
    return agree(one.rest, other) if one.rest is not None else None if isinstance(other, Opaque) else False


def _agree_opaque(one: Opaque, other: NormalForm) -> bool | None:
    if isinstance(other, Opaque) and len(one.text) > 2 and one.text.isalpha():
        return True if one.text.casefold() == other.text.casefold() else None  # Odd, odd
    return False if isinstance(other, Truth | Words) else None


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
