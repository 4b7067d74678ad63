"""`r1.evaluate.judging`: right answers, answers of choices, answers with a check, and classes of the same answer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from r1.evaluate.equivalence import Equivalence, Same
from r1.evaluate.final_answer import final_answer
from r1.evaluate.judging import Judge, Judgement
from r1.evaluate.sample_log import SampleRecord
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

    @pytest.mark.parametrize("answer", [r"\boxed{A) and C)}", r"\boxed{A. C}", r"\boxed{A) C}", "Answer: A) or C)"])
    def test_several_choices_are_wrong(self, judge: Judge, answer: str) -> None:
        asked = problem(1, "A", choices=("red", "green", "blue"))
        assert judge.judge(asked, answer).correct is False

    def test_a_choice_that_could_only_be_compared_as_text(self, judge: Judge) -> None:
        """Without math-verify nothing is known of a product."""
        asked = problem(1, "A", choices=("$(x-1)(x+1)$", "$x^2$"))
        assert judge.judge(asked, r"\boxed{x^2-1}") == Judgement("x^2-1", False, "literal")
        assert judge.judge(asked, r"\boxed{A}") == Judgement("A", True, "text")

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


class TestAgain:
    """What was compared as text before may be compared now."""

    def test_an_answer_that_was_compared_as_text(self) -> None:
        judge = Judge(final_answer, lambda one, other: Same(True, "symbolic"))
        before = sample(1, 0, "x^2-1", correct=False, how="literal")
        assert judge.judge_again(problem(1, "(x-1)(x+1)"), before) == replace(before, correct=True, how="symbolic")

    @pytest.mark.parametrize("before", [sample(1, 0, "7", how="number"), sample(1, 0, None, how="none")], ids=str)
    def test_no_other_one(self, before: SampleRecord) -> None:
        judge = Judge(final_answer, lambda one, other: Same(True, "symbolic"))
        assert judge.judge_again(problem(1), before) == before


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

    def test_of_choices(self, judge: Judge) -> None:
        asked = problem(1, "C", choices=("red", "green", "blue"))
        samples = [sample(1, number, final) for number, final in enumerate(("A", r"\text{red}", "B) green", "A and B"))]
        assert [number for number, _ in judge.votes(asked, samples)] == [1, 1, 2, 3]

    def test_two_answers_that_differ_are_never_counted_together(self, judge: Judge) -> None:
        """12 says the same as each of them."""
        samples = [sample(1, number, final) for number, final in enumerate(("12", "12 cm", "12 m"))]
        assert [number for number, _ in judge.votes(problem(1), samples)] == [1, 1, 2]

    def test_with_a_check_texts_are_compared_as_they_are(self, judge: Judge) -> None:
        samples = [sample(1, 0, "1/2"), sample(1, 1, "0.5"), sample(1, 2, "1/2")]
        assert [number for number, _ in judge.votes(problem(1, None, check="x"), samples)] == [1, 2, 1]
