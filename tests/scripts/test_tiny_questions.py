"""`scripts/tiny`: what the built-in model is trained on, and what is kept from it."""

from __future__ import annotations

import re

import pytest

from scripts.tiny.questions import held_out, is_held_out, is_held_out_pair, is_right, sample
from scripts.tiny.tasks import Question

NUMBER = re.compile(r"\d+(?:\.\d+)?")
TRAINED_ON = sample("train", 5, {"add": 400, "subtract": 400, "decimals": 400, "letters": 600, "anything else": 300})


def of(task: str, questions: list[Question]) -> list[Question]:
    return [question for question in questions if question.task == task]


def word_of(question: Question) -> str:
    found = re.match(r"Count . in (\w+):", question.working)
    assert found
    return found[1]


class TestSplit:
    """No word, number pair or text of the test is ever trained on."""

    def test_no_number_pair(self) -> None:
        for task in ("add", "subtract", "decimals"):
            for question in of(task, TRAINED_ON):
                assert not is_held_out_pair(*NUMBER.findall(question.text)[:2])
            for question in of(task, held_out()):
                assert is_held_out_pair(*NUMBER.findall(question.text)[:2])

    def test_no_word(self) -> None:
        assert not [question for question in of("letters", TRAINED_ON) if is_held_out(word_of(question))]
        assert all(is_held_out(word_of(question)) for question in of("letters", held_out()))

    def test_no_text(self) -> None:
        assert not {question.text for question in TRAINED_ON} & {question.text for question in held_out()}

    def test_is_the_same_every_time(self) -> None:
        assert sample("held out", 3, {"add": 20}) == sample("held out", 3, {"add": 20})


class TestExpected:
    """The right answers, computed here in a different way."""

    @pytest.mark.parametrize("questions", [held_out(), TRAINED_ON], ids=["held out", "trained on"])
    def test_sums_counts_and_comparisons(self, questions: list[Question]) -> None:
        for question in of("add", questions):
            assert int(question.expected) == sum(map(int, NUMBER.findall(question.text)))
        for question in of("subtract", questions):
            first, second = map(int, NUMBER.findall(question.working.partition("\n")[0]))
            assert int(question.expected) == first - second
        for question in of("letters", questions):
            assert int(question.expected) == word_of(question).count(question.working[len("Count ")])
        for question in of("decimals", questions):
            pair = NUMBER.findall(question.text)[:2]
            smaller = re.search(r"small|less|low", question.text, re.IGNORECASE)
            wanted = (min if smaller else max)(map(float, pair))
            if not question.answer.startswith(("Yes", "No")):
                assert float(question.expected) == wanted

    def test_an_answer_is_right_by_its_last_box(self) -> None:
        question = held_out()[0]
        assert is_right(question, r"first \boxed{9}, no: \(\boxed{3}\)")
        assert not is_right(question, r"\(\boxed{2}\)")
        assert not is_right(question, "3")
