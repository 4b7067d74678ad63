"""`r1.evaluate.estimates`: against sums that are done by hand here, and against NumPy."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import combinations
from math import comb

import numpy as np
import pytest

from r1.evaluate.estimates import NO_ANSWER, Estimate, Vote, consensus, pass_at_1, powers

RIGHT, WRONG, OTHER, NONE = (0, True), (1, False), (2, False), (NO_ANSWER, False)


def elected(votes: Sequence[Vote]) -> float:
    """The part that the right answer has of the first place."""
    counts = Counter(number for number, _ in votes if number != NO_ANSWER)
    first = [number for number, count in counts.items() if count == max(counts.values())]
    return (0 in first) / max(len(first), 1)


class TestPassAt1:
    """The mean over problems of the mean over samples."""

    def test_a_mean_of_means_and_the_standard_error_over_problems(self) -> None:
        """Shares 1, 1/2 and 0: mean 1/2, variance 1/4, error sqrt(1/4 / 3)."""
        found = pass_at_1([[True, True], [True, False], [False, False]])
        assert found.value == 0.5
        assert found.error == pytest.approx((0.25 / 3) ** 0.5)

    def test_each_problem_counts_the_same_however_many_samples_it_has(self) -> None:
        assert pass_at_1([[True], [False] * 9]).value == 0.5

    @pytest.mark.parametrize(
        ("samples", "value", "problems"),
        [([], 0.0, 0), ([[]], 0.0, 0), ([[True, False]], 0.5, 1), ([[], [True]], 1.0, 1), ([[True], [True]], 1.0, 2)],
    )
    def test_the_error_is_not_known_where_shares_do_not_vary(
        self, samples: list[list[bool]], value: float, problems: int
    ) -> None:
        assert pass_at_1(samples) == Estimate(value, None, problems)

    def test_is_what_numpy_finds(self) -> None:
        drawn = np.random.default_rng(3).random((40, 8)) < 0.6
        shares = drawn.mean(axis=1)
        found = pass_at_1(drawn.tolist())
        assert found.value == pytest.approx(shares.mean())
        assert found.error == pytest.approx(shares.std(ddof=1) / np.sqrt(40))


class TestConsensus:
    """The answer that most of k samples gave."""

    @pytest.mark.parametrize(
        ("votes", "k", "value"),
        [
            ([RIGHT, RIGHT, WRONG], 3, 1.0),
            ([RIGHT, WRONG, WRONG], 3, 0.0),
            ([RIGHT, WRONG, NONE], 3, 1 / 2),  # a tie of two
            ([RIGHT, WRONG, OTHER], 3, 1 / 3),
            ([RIGHT, NONE, NONE], 3, 1.0),  # what says nothing has no vote
            ([NONE, NONE], 2, 0.0),
            ([RIGHT, WRONG, NONE, NONE], 1, 1 / 4),
            ([RIGHT, RIGHT, WRONG], 2, 2 / 3),  # of three pairs, one is right, two are ties: (1 + 1/2 + 1/2) / 3
            ([WRONG, WRONG, OTHER], 2, 0.0),
        ],
    )
    def test_of_one_problem(self, votes: list[tuple[int, bool]], k: int, value: float) -> None:
        assert consensus([votes], k).value == pytest.approx(value)

    def test_k_of_1_is_pass_at_1(self) -> None:
        samples = [[RIGHT, WRONG, NONE, RIGHT], [WRONG] * 4, [RIGHT] * 4]
        assert consensus(samples, 1) == pass_at_1([[right for _, right in votes] for votes in samples])

    def test_a_problem_with_too_few_samples_is_left_out(self) -> None:
        assert consensus([[RIGHT], [WRONG, WRONG]], 2) == Estimate(0.0, None, 1)
        assert consensus([[RIGHT]], 2) == Estimate(0.0, None, 0)

    def test_random_subsets_come_near_what_all_of_them_give(self) -> None:
        """Of 20 samples there are 184,756 subsets of 10: too many to try, but not for the hypergeometric sum."""
        right, wrong, k = 11, 9, 10
        ways = {n: comb(right, n) * comb(wrong, k - n) for n in range(1, k + 1)}
        exact = sum(w * (1.0 if n > k - n else 0.5 if 2 * n == k else 0.0) for n, w in ways.items()) / comb(20, 10)
        found = consensus([[RIGHT] * right + [WRONG] * wrong], k, draws=4000, seed=1).value
        assert found == pytest.approx(exact, abs=4 * (0.25 / 4000) ** 0.5)

    def test_random_subsets_of_several_answers_come_near_all_of_them(self) -> None:
        """All 12,870 subsets of 8 of 16 are tried here, one after the other."""
        votes = [RIGHT] * 5 + [WRONG] * 4 + [OTHER] * 4 + [NONE] * 3
        exact = np.mean([elected(subset) for subset in combinations(votes, 8)])
        found = consensus([votes], 8, draws=4000, seed=1).value
        assert found == pytest.approx(exact, abs=4 * (0.25 / 4000) ** 0.5)

    def test_the_same_seed_gives_the_same_estimate(self) -> None:
        samples = [[RIGHT] * 11 + [WRONG] * 9] * 3
        assert consensus(samples, 10, seed=1) == consensus(samples, 10, seed=1)
        assert consensus(samples, 10, seed=1) != consensus(samples, 10, seed=2)


class TestPowers:
    """The numbers of samples that a chart shows."""

    @pytest.mark.parametrize(
        ("most", "expected"),
        [(0, []), (1, [1]), (2, [1, 2]), (5, [1, 2, 4, 5]), (16, [1, 2, 4, 8, 16])],
    )
    def test_up_to_the_last(self, most: int, expected: list[int]) -> None:
        assert powers(most) == expected
