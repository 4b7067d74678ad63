r"""What an answer says in the end."""

from __future__ import annotations

import pytest

from r1.evaluate.final_answer import final_answer
from r1.forms.form import FormOptions, form_in


@pytest.mark.parametrize(
    ("answer", "final"),
    [
        (r"So \(17 + 25 = \boxed{42}\).", "42"),
        (
            r"\boxed{1}, or rather, after more thought, and another look at the matter: \boxed{\frac{1}{2}}",
            r"\frac{1}{2}",
        ),
        (r"\boxed{\text{yes}} is what I say", r"\text{yes}"),
        ("The answer is 7.\n\\boxed{8}\nThat was 9.", "8"),
        (r"I got \boxed{3} and then \boxed{4", "3"),
        (r"Put it in \boxed{}." "\n5", "5"),
    ],
)
def test_the_last_box_counts_wherever_it_stands(answer: str, final: str) -> None:
    assert final_answer(answer) == final


@pytest.mark.parametrize(
    ("answer", "final"),
    [
        ("42", "42"),
        ("Let me see.\n\n42\n\n", "42"),
        ("**42**", "42"),
        ("The answer is 42.", "42"),
        ("The answer is **42**.", "42"),
        ("**Answer:** 42", "42"),
        ("**Final Answer**\n\n42", "42"),
        ("#### 42", "42"),
        ("Therefore, the final answer is: 1,234", "1,234"),
        ("Answer: (C)", "(C)"),
        ("The correct option is B.", "B"),
        ("The answer is Option A", "Option A"),
        ("C", "C"),
        ("= 3/4", "3/4"),
        (r"$\frac{3}{4}$", r"\frac{3}{4}"),
        (r"\(42\)", "42"),
        (r"\[ x = 5 \]", "5"),
        ("$$x = 7$$", "7"),
        ("$12", "$12"),
        (r"The sum is \(42\).", "42"),
        ("The probability is 1/6.", "1/6"),
        ("**Final Answer**: The number is 42", "42"),
        ("There are 3 r's in strawberry.", "3"),
        ("≈ 3.14", "3.14"),
        ("* 42", "42"),
        ("42 ✅", "42"),
        ("3 bananas", "3 bananas"),
        ("The answer is 3 red bananas.", "3 red bananas"),
        ("1. Add 17 and 25\n2. The sum is 42", "42"),
        ("B. Bananas", "B. Bananas"),
        ("The answer is 10:30 PM.", "10:30 PM"),
        ("Thus, x = 5", "5"),
        ("17 + 25 = 42.", "42"),
        ("\\[\nx = 5\n\\]", "5"),
        ("```\n42\n```", "42"),
        ("So the total is 12 cm.", "12 cm"),
        ("Hence 50%", "50%"),
        ("-7", "-7"),
        ("Yes.", "Yes"),
        (r"x = \(5\)", "5"),
        (r"x = \[5\]", "5"),
        ("x = $5$", "5"),
        (r"So x = \(\frac{1}{2}\).", r"\frac{1}{2}"),
        (r"\[ x = 5, \]", "5"),
        ("$$ x = 5. $$", "5"),
        (r"The area is \(5\) cm", r"\(5\) cm"),
        ("Answer:\n- 42", "42"),
        ("**Answer:**\n\n- x = 42", "42"),
        ("Answer:\n-42", "-42"),
        ("- 42", "- 42"),
        ("The sum is 42\n\n---", "42"),
        ("42\n- - -", "42"),
    ],
)
def test_else_a_short_last_line(answer: str, final: str) -> None:
    assert final_answer(answer) == final


@pytest.mark.parametrize(
    "answer",
    [
        "",
        " \n ",
        "The cat sat on the mat.",
        "The answer is 42 because I say so.",
        "42 is right.\nI am sure.",
        "There are 3 boys and 4 girls in the class.",
        "2024-01-02",
        "x = 1 or x = 2",
        "x = 1, y = 2",
        "The answer is the derivative of a function.",
        "1" * 200,
        "Yes, that is so, and there is more to be said about it.",
        "```\n```",
        "Three fruits:\n\n1. Apple\n2. Pear\n3. Banana",
        "A. Apples\nB. Bananas",
        "3. Wait three minutes",
        "- 2 apples\n- 3 bananas",
        "- 3 Bananas",
        "* 2\n* 3",
        "The numbers are:\n- 2\n- 3",
        "I am sure.\n---",
        "1984 George Orwell",
        "1984 George Orwell.",
        "3 red bananas",
        "Sincerely,\nJ.",
        "C: drive",
        "1. 42",
        "There are 3 things to remember.",
        "The answer is not 5.",
        "The wrong answer is 5.",
        "It is wrong that the answer is 5",
    ],
)
def test_prose_has_none(answer: str) -> None:
    assert final_answer(answer) is None


@pytest.mark.parametrize(
    ("form", "answer", "final"),
    [
        (FormOptions(choices="red,blue"), " blue\n", "blue"),
        (FormOptions(choices="red,blue"), "blu", None),
        (FormOptions(regex="[0-9]+"), "0042", "0042"),
        (FormOptions(schema='{"type": "object"}'), '{"b": 1, "a": [1.0, 2.5]}', '{"a": [1, 2.5], "b": 1}'),
        (FormOptions(schema='{"type": "object"}'), '{"b": 1', None),
        (FormOptions(schema='{"type": "string"}'), '"\\u00e9"', '"é"'),
        (FormOptions(schema="{}"), "[" * 90 + "]" * 90, "[" * 90 + "]" * 90),
        (FormOptions(schema='{"type": "number"}'), "1e0", "1"),
        (FormOptions(choices="red,blue"), "", None),
    ],
)
def test_with_a_form_it_is_all_of_the_answer(form: FormOptions, answer: str, final: str | None) -> None:
    assert final_answer(answer, form.compile()) == final


def test_a_grammar_has_its_text() -> None:
    assert final_answer(" ab\n", form_in({"grammar": 'root ::= "ab"'})) == "ab"


def test_numbers_that_python_does_not_convert_stay_as_they_are() -> None:
    form = FormOptions(schema="{}").compile()
    assert final_answer("9" * 5_000, form) in ("9" * 5_000, None)  # None, if jsonschema does not read it either
    assert final_answer("1e999", form) in ("1e999", None)


@pytest.mark.parametrize(
    "hostile",
    [
        *("\\boxed{" * 30_000, "\\boxed" * 30_000, "\\" * 1_000_000, "{" * 200_000, "x\n" * 100_000, "$" * 200_000),
        *(
            "=" * 119,
            "so " * 39,
            "the answer is " * 8,
            "1. " * 39,
            "\\(" * 59,
            "- " * 59 + "x",
            "$ ." * 39,
            "x" * 10_000_000,
        ),
    ],
    ids=lambda hostile: ascii(hostile[:8]),
)
def test_hostile_answers_have_none(hostile: str) -> None:
    assert final_answer(hostile) is None


def test_a_long_run_of_backslashes_takes_no_long_time() -> None:
    """A quadratic search would take hours."""
    assert final_answer("\\" * 1_000_000 + " \\boxed{42}") == "42"


def test_boxes_in_each_other_are_not_copied_at_each_level() -> None:
    """That would be 4 gigabytes."""
    levels = 30_000
    inner = levels - 1
    assert final_answer("\\boxed{" * levels + "1" + "}" * levels) == "\\boxed{" * inner + "1" + "}" * inner
