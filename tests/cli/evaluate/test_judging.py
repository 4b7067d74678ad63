"""`r1.evaluate.judging`: right answers, answers of choices, answers with a check, and classes of the same answer."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from r1.evaluate.equivalence import Equivalence, Same
from r1.evaluate.final_answer import final_answer
from r1.evaluate.judging import Judge, Judgement
from tests.cli.evaluate.samples import problem, sample


@pytest.fixture
def judge() -> Iterator[Judge]:
    equivalence = Equivalence(None)
    yield Judge(final_answer, equivalence.same)
    equivalence.close()


class TestJudge:
    """What an answer says, and whether that is right."""

    @pytest.mark.parametrize(
        ("answer", "correct"),
        [
            (r"So it is \(\boxed{42}\).", True),
            (r"\boxed{42.0}", True),
            (r"\boxed{41}, no: \boxed{\frac{84}{2}}", True),
            (r"\boxed{43}", False),
        ],
    )
    def test_by_what_the_last_box_says(self, judge: Judge, answer: str, correct: bool) -> None:
        assert judge.judge(problem(1), answer).correct is correct

    def test_prose_says_nothing(self, judge: Judge) -> None:
        assert judge.judge(problem(1), "I cannot tell you that.\nSorry!") == Judgement(None, False, "none")
        assert judge.judge(problem(1), "") == Judgement(None, False, "none")

    @pytest.mark.parametrize(
        ("box", "correct"), [("B", True), ("(B)", True), ("Green", True), ("A", False), ("red", False)]
    )
    def test_a_choice_by_its_letter_or_its_text(self, judge: Judge, box: str, correct: bool) -> None:
        asked = problem(1, "B", choices=("red", "green"))
        assert judge.judge(asked, rf"\boxed{{{box}}}").correct is correct

    @pytest.mark.parametrize(
        ("box", "correct"), [("A", True), ("(a)", True), ("B", False), ("AB", False), ("O", False)]
    )
    def test_a_letter_is_one_even_where_the_texts_are_letters(self, judge: Judge, box: str, correct: bool) -> None:
        asked = problem(1, "A", choices=("B", "A", "AB", "O"))
        assert judge.judge(asked, rf"\boxed{{{box}}}").correct is correct

    @pytest.mark.parametrize(
        ("answer", "final", "correct"),
        [
            ("Hello, world!", "Hello, world!", True),
            ("Hello!", "Hello!", False),
            (r"\boxed{Hello}, I say.", "Hello", True),
            (" ", None, False),
        ],
    )
    def test_a_check_is_for_the_final_answer_or_the_whole(
        self, judge: Judge, answer: str, final: str | None, correct: bool
    ) -> None:
        asked = problem(1, None, check="Hello(, world!)?")
        found = judge.judge(asked, answer)
        assert (found.final, found.correct) == (final, correct)

    def test_each_pair_is_compared_once(self) -> None:
        compared: list[tuple[str, str]] = []

        def same(one: str, other: str) -> Same:
            compared.append((one, other))
            return Same(one == other, "text")

        judge = Judge(final_answer, same)
        for _ in range(3):
            judge.judge(problem(1), r"\boxed{42}")
        assert compared == [("42", "42")]


class TestVotes:
    """Samples that say the same have the same class; the right answer's is 0."""

    def test_of_equivalent_answers(self, judge: Judge) -> None:
        finals = ["42", "1/2", None, "0.5", "7", "42.0"]
        samples = [sample(1, number, final) for number, final in enumerate(finals)]
        samples[-1] = sample(1, 5, "42.0", correct=True)
        assert judge.votes(problem(1), samples) == [
            (0, True),
            (1, False),
            (-1, False),
            (1, False),
            (2, False),
            (0, True),
        ]

    def test_with_a_check_texts_are_compared_as_they_are(self, judge: Judge) -> None:
        samples = [sample(1, 0, "1/2"), sample(1, 1, "0.5"), sample(1, 2, "1/2")]
        assert [number for number, _ in judge.votes(problem(1, None, check="x"), samples)] == [1, 2, 1]
