"""`r1.evaluate.figures`: counts, which problems are undecided, and published figures beside those of the same set."""

from __future__ import annotations

from dataclasses import replace

import pytest

from r1.evaluate.equivalence import Equivalence
from r1.evaluate.estimates import Vote
from r1.evaluate.figures import Figures, by_problem, figures, is_decided, published_for
from r1.evaluate.final_answer import final_answer
from r1.evaluate.judging import Judge
from r1.evaluate.problems import Problem
from r1.evaluate.sample_log import SampleRecord
from r1_quantize import catalog
from tests.cli.evaluate.samples import problem, sample

JUDGE = Judge(final_answer, Equivalence(None).same)
CHECKPOINTS = catalog.load()
AIME_2024 = (
    *(204, 25, 809, 116, 104, 294, 540, 197, 480, 113, 371, 385, 110, 104, 721),
    *(73, 236, 45, 33, 80, 55, 699, 127, 902, 468, 601, 23, 321, 211, 315),
)
"""The answers of AIME I and II of 2024, as the Art of Problem Solving's wiki has them."""


def of(problems: list[Problem], records: list[SampleRecord], k: int) -> Figures:
    return figures(problems, records, k, JUDGE)


class TestFigures:
    """Over the samples that there are."""

    def test_of_two_problems(self) -> None:
        records = [
            sample(1, 0),
            sample(1, 1),
            sample(2, 0, "41", thinking_tokens=100, discarded_tokens=10, thinking_end="loop"),
            sample(2, 1, None, finish_reason="length", thinking_end=None),
        ]
        found = of([problem(1), problem(2)], records, 2)
        assert (found.samples, found.is_complete) == (4, True)
        assert found.pass_at_1.value == 0.5
        assert {k: estimate.value for k, estimate in found.consensus.items()} == {1: 0.5, 2: 0.5}
        assert found.ended.thinking == {"natural": 2, "loop": 1, "unfinished": 1}
        assert found.ended.replies == {"stop": 3, "length": 1}
        assert (found.thinking_tokens, found.answer_tokens, found.tokens) == (160, 20, 190)
        assert (found.median_tokens, found.most_tokens) == (25, 115)
        assert (found.tokens_per_problem, found.wall_s, found.tps) == (47.5, 2.0, 95.0)

    def test_samples_of_other_problems_and_further_ones_are_left_out(self) -> None:
        records = [sample(1, 0), sample(1, 1, "41"), sample(3, 0, "41")]
        assert of([problem(1)], records, 1).pass_at_1.value == 1.0
        assert by_problem([problem(1)], records, 2) == {1: records[:2]}

    def test_without_samples(self) -> None:
        found = of([problem(1)], [], 2)
        assert (found.samples, found.is_complete, found.tps, found.undecided) == (0, False, None, ())
        assert found.consensus == {}

    def test_of_some_of_the_samples_there_are_shares_for_fewer_votes(self) -> None:
        found = of([problem(1), problem(2)], [sample(1, 0), sample(1, 1), sample(2, 0)], 16)
        assert [*found.consensus] == [1, 2]
        assert found.consensus[2].error is None  # only one problem has two

    def test_what_could_not_be_compared_is_counted(self) -> None:
        records = [sample(1, 0, "41", how="literal"), sample(2, 0, None)]
        found = of([problem(line) for line in (1, 2)], records, 1)
        assert (found.literally, found.without_answer) == (1, 1)

    def test_how_many_problems_are_compared_is_told_and_each_has_time_of_its_own(self) -> None:
        told: list[int | str] = []
        judge = Judge(final_answer, Equivalence(None).same, lambda: told.append("begin"))
        figures([problem(1), problem(2)], [sample(1, 0), sample(2, 0, "41")], 1, judge, compared=told.append)
        assert told == [0, "begin", 1, "begin"]

    def test_each_share_has_the_number_of_its_problems(self) -> None:
        records = [sample(1, 0), sample(1, 1), sample(2, 0)]
        found = of([problem(line) for line in (1, 2, 3)], records, 2)
        assert found.pass_at_1.problems == 2
        assert {k: estimate.problems for k, estimate in found.consensus.items()} == {1: 2, 2: 1}


class TestUndecided:
    """The most frequent answer is settled if the missing samples cannot change it."""

    @pytest.mark.parametrize(
        ("votes", "k", "decided"),
        [
            ([(0, True)], 1, True),
            ([(0, True), (1, False)], 2, False),
            ([(0, True), (0, True), (1, False)], 3, True),
            ([(0, True), (0, True)], 4, False),  # two others may say the same
            ([(0, True), (0, True), (0, True)], 4, True),
            ([(-1, False), (-1, False)], 2, False),
            ([], 2, False),
        ],
    )
    def test_by_its_lead(self, votes: list[Vote], k: int, decided: bool) -> None:
        assert is_decided(votes, k) is decided

    def test_are_named(self) -> None:
        """Not those of which nothing was drawn yet."""
        records = [sample(1, 0), sample(1, 1), sample(2, 0), sample(2, 1, "41")]
        assert of([problem(1), problem(2), problem(3)], records, 2).undecided == ("2",)


class TestPublished:
    """Figures of a model's publisher stand beside ours only for the same problems."""

    def problems(self) -> list[Problem]:
        return [problem(line, str(answer)) for line, answer in enumerate(AIME_2024, start=1)]

    def test_aime_2024_is_known_by_its_answers(self) -> None:
        """DeepSeek's table has 55.5 and 83.3 for the 7B."""
        found = published_for(self.problems(), CHECKPOINTS["qwen-7b"])
        assert found is not None
        assert (found.name, found.pass_at_1, found.cons_at_64) == ("AIME 2024", 0.555, 0.833)

    def test_in_another_order_and_with_zeros_in_front(self) -> None:
        problems = [replace(each, answer=(each.answer or "").zfill(3)) for each in reversed(self.problems())]
        assert published_for(problems, CHECKPOINTS["qwen-7b"]) is not None

    def test_a_part_of_it_or_other_problems_have_none(self) -> None:
        problems = self.problems()
        others = [replace(problems[0], answer="205"), *problems[1:]]
        for some in (problems[:29], others, [], [replace(each, answer="x" * 100) for each in problems]):
            assert published_for(some, CHECKPOINTS["qwen-7b"]) is None

    def test_a_model_of_which_nothing_was_published_has_none(self) -> None:
        assert published_for(self.problems(), CHECKPOINTS["tiny"]) is None
        assert published_for(self.problems(), None) is None
