"""`r1.evaluate.tally`: which answer leads, and when that is certain enough."""

from __future__ import annotations

import random
from itertools import permutations

import pytest

from r1.engine.sampling import MAX_SEED
from r1.evaluate.tally import Sample, Tally, lead_confidence, seed_of
from tests.fakes.replies import reply


def tally_of(answers: str, thinking: str = "") -> Tally:
    """A letter for each answer, a dot for none; digits are the tens of tokens of the thinkings."""
    tally = Tally(lambda one, other: one.lower() == other.lower())
    lengths = [10 * int(digit) for digit in thinking] or [10] * len(answers)
    for number, (answer, length) in enumerate(zip(answers, lengths, strict=True)):
        tally.add(Sample(number, number, reply(answer, thinking=length), None if answer == "." else answer))
    return tally


class TestSeeds:
    """Each sample has a seed of its own, and the first one that of the question."""

    def test_the_first_is_the_question_s_own(self) -> None:
        assert seed_of(7, 0) == 7

    @pytest.mark.parametrize("seed", [0, 1, MAX_SEED])
    def test_they_differ_and_are_seeds(self, seed: int) -> None:
        seeds = [seed_of(seed, number) for number in range(1000)]
        assert len(set(seeds)) == 1000
        assert all(0 <= each <= MAX_SEED for each in seeds)

    def test_neighbouring_questions_share_none(self) -> None:
        assert not {seed_of(1, number) for number in range(64)} & {seed_of(2, number) for number in range(64)}


class TestOrder:
    """More votes, then the shorter thinking, then the earlier sample."""

    @pytest.mark.parametrize(
        ("answers", "thinking", "order"),
        [
            ("abb", "", ["b", "a"]),
            ("ab", "21", ["b", "a"]),
            ("abab", "5293", ["b", "a"]),
            ("ab", "", ["a", "b"]),
            (".a.", "", ["a"]),
            ("aAb", "", ["a", "b"]),
            ("..", "", []),
            ("", "", []),
        ],
    )
    def test_the_winner_comes_first(self, answers: str, thinking: str, order: list[str]) -> None:
        assert [candidate.answer for candidate in tally_of(answers, thinking).candidates] == order

    def test_answers_that_differ_are_not_counted_together_whichever_comes_first(self) -> None:
        """A bare 12 is both 12 cm and 12 m."""
        for answers in permutations(["12", "12 cm", "12 m"]):
            tally = Tally(lambda one, other: "12" in {one, other})
            for number, answer in enumerate(answers):
                tally.add(Sample(number, number, reply(answer), answer))
            assert [candidate.votes for candidate in tally.candidates] == [2, 1]
            assert tally.votes == 3

    def test_the_shortest_winner_is_shown(self) -> None:
        assert tally_of("aab", "315").candidates[0].shortest.number == 1


class TestDecided:
    """Certain: the rest cannot change it. Likely enough: the posterior says so."""

    @pytest.mark.parametrize(
        ("answers", "left", "is_decided"),
        [
            ("aaa", 2, True),
            ("aaa", 3, False),  # a tie could go to the shorter thinking
            ("aab", 1, False),
            ("aab", 0, True),
            ("ab", 0, False),
            ("aa.", 1, True),
            ("", 4, False),
        ],
    )
    def test_when_the_rest_cannot_change_it(self, answers: str, left: int, is_decided: bool) -> None:
        assert tally_of(answers).is_decided(left, confidence=1.0) is is_decided

    @pytest.mark.parametrize(
        ("first", "second", "expected"),
        # 1 - I(1/2; first + 1, second + 1), by hand from the binomial tails
        [(0, 0, 1 / 2), (1, 0, 3 / 4), (3, 0, 15 / 16), (4, 0, 31 / 32), (2, 1, 11 / 16), (1, 1, 1 / 2)],
    )
    def test_the_posterior(self, first: int, second: int, expected: float) -> None:
        assert lead_confidence(first, [second]) == pytest.approx(expected)

    def test_others_add_up_and_one_that_was_not_seen_counts(self) -> None:
        assert lead_confidence(3, [1, 0]) == pytest.approx(1 - 6 / 32 - 1 / 16)
        assert lead_confidence(4, []) == lead_confidence(4, [0])

    def test_the_posterior_is_the_share_of_coins_that_lean_that_way(self) -> None:
        """Coins with a random lean; of those that fell 5 times so and 2 times other, how many lean so?"""
        rng = random.Random(17)
        leans = [rng.random() for _ in range(60_000)]
        chosen = [lean for lean in leans if sum(rng.random() < lean for _ in range(7)) == 5]
        assert lead_confidence(5, [2]) == pytest.approx(sum(lean > 0.5 for lean in chosen) / len(chosen), abs=0.015)

    @pytest.mark.parametrize(
        ("answers", "is_decided"), [("aaaa", True), ("aaa", False), ("aaaaab", False), ("ab", False)]
    )
    def test_likely_enough_at_0_95(self, answers: str, is_decided: bool) -> None:
        assert tally_of(answers).is_decided(60, confidence=0.95) is is_decided

    def test_a_thousand_votes_are_no_problem(self) -> None:
        assert lead_confidence(3000, [2000]) == pytest.approx(1.0)
