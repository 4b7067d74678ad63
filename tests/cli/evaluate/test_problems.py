"""`r1.evaluate.problems`: the field names of published sets, lines that are no problem, and the built-in problems."""

from __future__ import annotations

import io
import json

import pytest

from r1.evaluate import problems
from r1.evaluate.problems import BadLine, Problem, builtin, builtin_file, read_problems
from r1_quantize.errors import UsageError
from scripts.tiny.problems import text
from scripts.tiny.questions import held_out


def read(*lines: object) -> list[Problem | BadLine]:
    """Each value as a line of JSON; bytes as they are."""
    raw = b"".join((line if isinstance(line, bytes) else json.dumps(line).encode()) + b"\n" for line in lines)
    return list(read_problems(io.BytesIO(raw)))


def one(line: object) -> Problem:
    (found,) = read(line)
    assert isinstance(found, Problem), found
    return found


def reason(line: object) -> str:
    (found,) = read(line)
    assert isinstance(found, BadLine), found
    assert found.line == 1
    return found.reason


class TestFields:
    """A question and its answer, by the names that published sets have for them."""

    @pytest.mark.parametrize(
        ("line", "question", "answer", "name"),
        [
            ({"problem": "1+1?", "answer": "2"}, "1+1?", "2", "line 1"),
            ({"question": "1+1?", "answer": 2}, "1+1?", "2", "line 1"),
            ({"prompt": "1+1?", "answer": 2.5, "id": 7}, "1+1?", "2.5", "7"),
            ({"prompt": "Is it?", "answer": True, "id": "a"}, "Is it?", "true", "a"),
            ({"Problem": "1+1?", "Answer": 33, "ID": "2024-I-4"}, "1+1?", "33", "2024-I-4"),  # AIME
            (
                {"problem": "1+1?", "solution": "It is \\boxed{2}.", "answer": "2", "unique_id": "test/algebra/1.json"},
                "1+1?",
                "2",
                "test/algebra/1.json",
            ),  # MATH-500
            ({"question": "How many?", "answer": "20 * 2 = <<20*2=40>>40\n#### 1,040"}, "How many?", "1,040", "line 1"),
            ({"question": "1+1?", "answer": "\\frac{1}{2}", "id": True}, "1+1?", "\\frac{1}{2}", "line 1"),
        ],
        ids=["problem", "question", "prompt", "yes or no", "AIME", "MATH-500", "GSM8K", "LaTeX"],
    )
    def test_are_found(self, line: object, question: str, answer: str, name: str) -> None:
        assert one(line) == Problem(name, 1, question, answer)

    @pytest.mark.parametrize(
        ("given", "name"),
        [
            ("\x1b[31mred\n", "[31mred"),
            ("a\r\n b\tc", "a b c"),
            ("\x9b2J", "2J"),
            ("\x00\x1b", "line 1"),
            (" \n", "line 1"),
            ("x" * 300, "x" * 200),
            ("\ud800", "?"),
        ],
    )
    def test_a_name_is_one_line_that_a_terminal_can_show(self, given: str, name: str) -> None:
        assert one({"question": "1+1?", "answer": 2, "id": given}).id == name

    def test_fields_that_mean_nothing_may_be_there_twice(self) -> None:
        assert one({"question": "1+1?", "answer": 2, "Level": 1, "level": 2}).answer == "2"

    def test_a_check_takes_the_place_of_an_answer(self) -> None:
        problem = one({"question": "A prime?", "check": "[2357]"})
        assert problem.answer is None
        assert [problem.passes_check(answer) for answer in ("5", "9", "5!")] == [True, False, False]

    def test_a_check_takes_no_exponential_time(self) -> None:
        assert not one({"question": "?", "check": "(a+)+b"}).passes_check("a" * 5000)

    @pytest.mark.parametrize("ending", [b"\n", b"\r\n"])
    def test_marks_at_the_start_and_blank_lines_are_no_problem(self, ending: bytes) -> None:
        lines = [b'\xef\xbb\xbf{"question": "a", "answer": 1}', b"", b"  ", b'{"question": "b", "answer": 2}']
        found = list(read_problems(io.BytesIO(ending.join(lines))))
        assert [(problem.line, problem.question) for problem in found if isinstance(problem, Problem)] == [
            (1, "a"),
            (4, "b"),
        ]


class TestChoices:
    """A question with choices has a letter as its answer."""

    TEXTS = ("red", "green", "blue")

    @pytest.mark.parametrize(
        "fields",
        [
            {"choices": ["red", "green", "blue"], "answer": 1},  # MMLU
            {"choices": ["red", "green", "blue"], "answer": "1"},
            {"choices": ["red", "green", "blue"], "answer": "B"},
            {"choices": ["red", "green", "blue"], "answer": "(b)"},
            {"options": ["red", "green", "blue"], "answer": "green"},
            {"choices": {"A": "red", "B": "green", "C": "blue"}, "answer": "B"},
            {"choices": {"text": ["red", "green", "blue"], "label": ["1", "2", "3"]}, "answerKey": "2"},  # ARC
            {"A": "red", "B": "green", "C": "blue", "answer": "B"},
        ],
    )
    def test_by_letter_by_text_or_by_number(self, fields: dict[str, object]) -> None:
        problem = one({"question": "Of grass?", **fields})
        assert (problem.answer, problem.choices) == ("B", self.TEXTS)

    @pytest.mark.parametrize(("answer", "letter"), [(1, "B"), ("1", "C"), ("4", "B")])
    def test_where_choices_are_numbers_a_number_counts_and_a_text_is_one(self, answer: object, letter: str) -> None:
        assert one({"question": "2-1?", "choices": ["0", "4", "1"], "answer": answer}).answer == letter

    @pytest.mark.parametrize(
        ("fields", "letter"),
        [
            ({"choices": {"text": ["4", "3", "2", "1"], "label": ["1", "2", "3", "4"]}, "answerKey": "4"}, "D"),
            ({"choices": ["C", "x", "y"], "answer": "C"}, "C"),
        ],
    )
    def test_a_label_is_stronger_than_the_text_of_another_choice(self, fields: dict[str, object], letter: str) -> None:
        assert one({"question": "Which?", **fields}).answer == letter

    def test_the_model_is_asked_with_letters(self) -> None:
        problem = one({"question": "Of grass?", "choices": ["red", "green"], "answer": "B"})
        assert problem.prompt("Think.") == "Of grass?\n\nA) red\nB) green\n\nThink."
        assert one({"question": "Of grass?", "answer": "green"}).prompt(None) == "Of grass?"

    @pytest.mark.parametrize(
        "fields",
        [
            {"choices": ["red", "green"], "answer": 2},
            {"choices": ["red", "green"], "answer": -1},
            {"choices": ["red", "green"], "answer": "C"},
            {"choices": ["red", "green"], "answer": "9" * 5000},
            {"choices": ["red"], "answer": "A"},
            {"choices": [], "answer": "A"},
            {"choices": "red, green", "answer": "A"},
            {"choices": ["red", None], "answer": "A"},
            {"choices": ["red", ["green"]], "answer": "A"},
            {"choices": ["x"] * 27, "answer": "A"},
            {"choices": {"text": ["red", "green"], "label": ["A"]}, "answer": "A"},
        ],
        ids=str,
    )
    def test_that_cannot_be_right_are_refused(self, fields: dict[str, object]) -> None:
        assert "choices" in reason({"question": "Of grass?", **fields})


class TestBadLines:
    """They are named by their number, and the rest goes on."""

    @pytest.mark.parametrize(
        ("line", "says"),
        [
            (b"\xff\xfe{", "line 1 is not UTF-8 (byte 1)"),
            (b"{", "line 1 is not JSON"),
            (b'{"question": "a", "answer": NaN}', "line 1 is not JSON"),
            (b"[" * 100_000, "line 1 is not JSON"),
            (b'{"question": "a", "answer": 1' + b"0" * 5000 + b"}", "line 1 is not JSON"),
            (b'{"question": "a", "answer": 1e999}', 'line 1: "answer" is not text'),
            ("1+1?", "line 1 is not a JSON object"),
            ([1], "line 1 is not a JSON object"),
            (None, "line 1 is not a JSON object"),
            ({"answer": 2}, "line 1 has no question"),
            ({"question": " ", "answer": 2}, "line 1 has no question"),
            ({"question": 12, "answer": 2}, 'line 1: "question" is not text'),
            ({"question": ["a"], "answer": 2}, 'line 1: "question" is not text'),
            ({"question": "1+1?"}, 'line 1 has no "answer", and no "check"'),
            ({"question": "1+1?", "answer": None}, 'line 1 has no "answer"'),
            ({"question": "1+1?", "answer": " "}, 'line 1 has no "answer"'),
            ({"question": "1+1?", "answer": ["2"]}, 'line 1: "answer" is not text'),
            ({"question": "1+1?", "answer": "It is two. ####"}, 'line 1 has no "answer"'),
            ({"question": "1+1?", "answer": "\ud800"}, "surrogate"),
            ({"Question": "1+1?", "question": "2+2?", "answer": 2}, 'line 1 has two fields "question", in other case'),
            ({"question": "1+1?", "answer": 2, "Answer": 3}, 'line 1 has two fields "answer"'),
            ({"question": "?", "check": "(?=a)b"}, '"check": the regular expression uses a lookahead'),
            ({"question": "1+1?", "check": "("}, '"check"'),
            ({"question": "1+1?", "check": 2}, 'line 1: "check" is not text'),
        ],
        ids=lambda value: str(value)[:40],
    )
    def test_say_what_is_wrong(self, line: object, says: str) -> None:
        assert says in reason(line)

    def test_the_lines_around_them_are_read(self) -> None:
        found = read({"question": "a", "answer": 1}, b"{", {"question": "b", "answer": 2})
        assert [type(each) for each in found] == [Problem, BadLine, Problem]
        assert [each.line for each in found] == [1, 2, 3]

    def test_a_line_that_is_too_long_is_passed_over(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(problems, "_LONGEST_LINE", 100)
        found = read({"question": "a" * 1000, "answer": 1}, {"question": "b", "answer": 2})
        assert [type(each) for each in found] == [BadLine, Problem]
        assert [each.line for each in found] == [1, 2]

    def test_a_line_without_an_end_ends_the_reading(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(problems, "_LONGEST_LINE", 100)
        monkeypatch.setattr(problems, "_MOST_SKIPPED", 1000)
        with pytest.raises(UsageError, match="a line has more than"):
            read(b"x" * 5000)


class TestBuiltIn:
    """The questions that `tiny` was not trained on."""

    def test_are_those_that_were_held_out(self) -> None:
        """The file is what the script writes; if this fails: python -m scripts.tiny.problems."""
        assert builtin_file("tiny").read_text(encoding="utf-8") == text()

    def test_have_the_expected_results(self) -> None:
        found, questions = builtin("tiny"), held_out()
        assert [problem.question for problem in found] == [question.text for question in questions]
        for problem, question in zip(found, questions, strict=True):
            assert problem.answer == question.expected or problem.passes_check(question.expected)

    def test_others_are_refused(self) -> None:
        with pytest.raises(UsageError, match="no built-in problems are called 'aime'; there are: tiny"):
            builtin("aime")
