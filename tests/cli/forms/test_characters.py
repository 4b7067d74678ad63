"""Sets of characters, compared with Python's sets and its own classes."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from r1.forms import characters
from r1.forms.gbnf import Ranges

SOME = [chr(code) for code in range(1, 60)]


def ranges(draw: tuple[int, int]) -> tuple[int, int]:
    return min(draw), max(draw)


SETS = st.lists(st.tuples(st.integers(1, 40), st.integers(1, 40)).map(ranges), max_size=5).map(tuple)


def chars(found: Ranges) -> set[str]:
    return {char for char in SOME if characters.contains(found, char)}


@given(SETS, SETS)
def test_sets_combine_as_pythons_do(first: Ranges, second: Ranges) -> None:
    assert chars(characters.union(first, second)) == chars(first) | chars(second)
    assert chars(characters.common(first, second)) == chars(first) & chars(second)
    assert chars(characters.without(first, second)) == chars(first) - chars(second)
    assert chars(characters.complement(first)) == set(SOME) - chars(first)
    assert characters.size(characters.union(first)) == len(chars(first))


def test_the_complement_has_no_character_that_a_token_cannot_contribute() -> None:
    everything = characters.complement(())
    assert not any(characters.contains(everything, char) for char in "\0\ud800\udfff")
    assert all(characters.contains(everything, char) for char in "\1\ud7ff\ue000\U0010ffff")


def test_wide_classes_are_pythons() -> None:
    for letter, wide in (("d", characters.any_digit()), ("s", characters.any_space()), ("w", characters.any_word())):
        text = "".join(chr(code) for code in range(1, 0x20000) if not 0xD800 <= code <= 0xDFFF)
        found = set(re.findall(rf"\{letter}", text))
        others = characters.without(wide, characters.of(found))
        assert not characters.without(others, ((0xFEFF, 0xFEFF), (0x20000, 0x10FFFF)))
        assert not characters.without(characters.of(found), wide)
