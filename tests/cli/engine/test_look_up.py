"""`r1.engine.look_up`: what is proposed stood in the sequence after the same tokens."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from r1.engine.look_up import LookUp

MOST = 15
LENGTHS = (12, 8, 5, 3)

Proposed = tuple[object, list[int]] | None


def proposed(look_up: LookUp, tokens: list[int], most: int = MOST) -> Proposed:
    """The kind of the draft that follows all of `tokens`, and the draft."""
    prospect = look_up.look(tokens[:-1], tokens[-1], most)
    return None if prospect is None else (prospect.kind, look_up.draft(prospect.longest))


def copied(tokens: list[int], start: int, count: int) -> list[int]:
    """What stands from `start` on, token by token, with those that were just copied."""
    longer = list(tokens)
    for place in range(start, start + count):
        longer.append(longer[place])
    return longer[len(tokens) :]


def searched(tokens: list[int], most: int = MOST) -> Proposed:
    """The same by looking through all of them, from the end."""
    for length in LENGTHS:
        for end in range(len(tokens) - 2, length - 1, -1):
            if len(tokens) >= length and tokens[end - length : end] == tokens[-length:]:
                return length, copied(tokens, end, most)
    return None


class TestDrafts:
    def test_go_on_as_the_last_time(self) -> None:
        assert proposed(LookUp(), [1, 2, 3, 4, 5, 6, 7, 1, 2, 3]) == (3, [4, 5, 6, 7, 1, 2, 3, 4, 5, 6, 7, 1, 2, 3, 4])

    def test_the_longest_match_comes_first(self) -> None:
        """`3 4 5` was followed by 7 the last time, `1 2 3 4 5` by 6."""
        assert proposed(LookUp(), [1, 2, 3, 4, 5, 6, 9, 3, 4, 5, 7, 8, 8, 1, 2, 3, 4, 5], 1) == (5, [6])

    def test_of_equals_the_latest(self) -> None:
        assert proposed(LookUp(), [1, 2, 3, 4, 9, 1, 2, 3, 5, 9, 1, 2, 3], 1) == (3, [5])

    def test_nothing_where_nothing_was_said_twice(self) -> None:
        assert proposed(LookUp(), list(range(50))) is None
        assert proposed(LookUp(), [1]) is None

    def test_what_repeats_goes_on(self) -> None:
        """However short the piece is that comes again."""
        assert proposed(LookUp(), [7] * 5, 4) == (3, [7, 7, 7, 7])
        assert proposed(LookUp(), [1, 2] * 8, 5) == (12, [1, 2, 1, 2, 1])

    def test_no_longer_than_asked_for(self) -> None:
        assert proposed(LookUp(), [1, 2, 3, 4, 5, 6, 7, 1, 2, 3], 2) == (3, [4, 5])

    @given(st.lists(st.integers(0, 2), min_size=1, max_size=80))
    def test_are_those_of_a_search(self, tokens: list[int]) -> None:
        """Looked up after each token, as in a reply."""
        look_up = LookUp()
        for end in range(1, len(tokens) + 1):
            assert proposed(look_up, tokens[:end]) == searched(tokens[:end])

    @given(st.lists(st.integers(0, 2), min_size=12, max_size=60), st.lists(st.integers(0, 2), max_size=40), st.data())
    def test_never_what_was_dropped(self, tokens: list[int], further: list[int], data: st.DataObject) -> None:
        """After going back: what is proposed has stood there since."""
        look_up = LookUp()
        proposed(look_up, tokens)
        reply = tokens[: data.draw(st.integers(1, len(tokens)))]
        for token in [None, *further]:
            reply += [] if token is None else [token]
            found = proposed(look_up, reply)
            if found is not None:
                length, draft = found
                assert isinstance(length, int)
                ends = [end for end in range(length, len(reply)) if reply[end - length : end] == reply[-length:]]
                assert any(draft == copied(reply, end, len(draft)) for end in ends)
