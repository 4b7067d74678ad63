"""`r1.evaluate.standing`: the problems that are undecided while an evaluation goes on."""

from __future__ import annotations

from r1.evaluate.standing import Standing, undecided_text
from tests.cli.evaluate.samples import problem, sample


def test_a_problem_is_undecided_from_its_first_sample_until_the_rest_cannot_change_it() -> None:
    standing, asked = Standing(3, {}), problem(7)
    standing.begin(asked)
    assert standing.wording == "no winner yet: 7"
    standing.end(asked, sample(7, 0))
    assert standing.wording == "no winner yet: 7"
    standing.end(asked, sample(7, 1))
    assert standing.wording == ""
    standing.begin(asked)
    assert standing.wording == ""


def test_one_whose_samples_are_all_there_is_left_to_the_report() -> None:
    standing, asked = Standing(2, {}), problem(7)
    for number, final in enumerate(("42", "41")):
        standing.begin(asked)
        standing.end(asked, sample(7, number, final))
    assert standing.wording == ""


def test_earlier_samples_count() -> None:
    standing = Standing(3, {7: [sample(7, 0), sample(7, 1)], 8: []})
    standing.begin(problem(7))
    standing.begin(problem(8))
    assert standing.wording == "no winner yet: 8"


def test_one_that_is_left_out_is_not_undecided() -> None:
    standing = Standing(3, {})
    standing.begin(problem(7))
    standing.drop(problem(7))
    assert standing.wording == ""


def test_formulas_are_left_to_the_report() -> None:
    """Math-verify would say that the two are the same, and take its time."""
    standing, asked = Standing(3, {}), problem(7)
    for number, final in enumerate(("x^2-1", "(x-1)(x+1)")):
        standing.begin(asked)
        standing.end(asked, sample(7, number, final))
    assert standing.wording == "no winner yet: 7"


def test_of_one_sample_each_nothing_is_said() -> None:
    standing = Standing(1, {})
    standing.begin(problem(7))
    assert standing.wording == ""


def test_long_names_are_lines_and_many_are_counted() -> None:
    standing = Standing(4, {})
    standing.begin(problem(7, id="test/algebra/1234.json"))
    assert standing.wording == "no winner yet: line 7"
    assert undecided_text(map(str, range(1, 8))) == "no winner yet: 1, 2, 3, 4 and 3 more"
    assert undecided_text([]) == ""
