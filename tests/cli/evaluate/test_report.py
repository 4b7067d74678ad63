"""`r1.evaluate.report`: the lines at several widths, and the JSON object."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from r1.engine.events import Drafted
from r1.evaluate.equivalence import Equivalence
from r1.evaluate.figures import Ended, Figures, Published, figures
from r1.evaluate.final_answer import final_answer
from r1.evaluate.judging import Judge
from r1.evaluate.problems import BadLine, Problem
from r1.evaluate.report import Layout, Subject, report_lines, report_object
from r1.evaluate.sample_log import Cache, SampleRecord
from tests.cli.evaluate.samples import problem, sample

SUBJECT = Subject("tiny:Q8_0", "problems.jsonl", 40, "temperature 1, seed 0", [("Please reason step by step.", 2)])


def found(k: int = 4) -> Figures:
    """Of two problems: always right, and right in one of four."""
    finals = {1: ["42"] * k, 2: ["42", *["41"] * (k - 1)]}
    records = [sample(line, number, final) for line, each in finals.items() for number, final in enumerate(each)]
    return of([problem(1), problem(2)], records, k)


def of(problems: list[Problem], records: list[SampleRecord], k: int) -> Figures:
    return figures(problems, records, k, Judge(final_answer, Equivalence(None).same))


class TestLines:
    """Facts with labels, and a row for each number of votes."""

    def test_say_what_was_found(self) -> None:
        """Shares 1 and 1/4: mean 62.5 %; their standard deviation is 53.0 %, the standard error 37.5 %."""
        text = "\n".join(report_lines(SUBJECT, found(), Layout()))
        assert "problems.jsonl: 2 of 40 problems, 4 samples each\n" in text
        assert "pass@1       62.5 % ± 37.5\n" in text
        assert "thinking     ended by the model, all 8\n" in text
        assert "tokens       25 for a sample on average, 20 of thinking and 5 of answer; median 25, most 25\n" in text
        assert "speed        50 tok/s of all samples together; 200 tokens in 4 s" in text
        assert "“Please reason step by step.”" in text
        assert "      4  50.0 % ± 50.0" in text

    def test_say_what_came_of_drafts_if_there_were_any(self) -> None:
        for drafted, line in ((None, ""), (Drafted(0, 0, 9), ""), (Drafted(40, 30, 20), "30 of 40 tokens accepted")):
            text = "\n".join(report_lines(SUBJECT, replace(found(), drafted=drafted), Layout()))
            assert ("\ndrafts       " in text) == bool(line)
            assert line in text

    @pytest.mark.parametrize("columns", [20, 40, 80, 200])
    def test_fit_the_terminal(self, columns: int) -> None:
        figures = replace(found(), published=Published("AIME 2024", 0.289, 0.527), undecided=("12",) * 30, literally=3)
        lines = report_lines(SUBJECT, figures, Layout(columns))
        widest = max(map(len, lines))
        assert widest < columns or columns == 20
        assert any("█" in line for line in lines) == (columns >= 40)

    def test_in_ascii(self) -> None:
        lines = report_lines(replace(SUBJECT, instructions=[(None, 2)]), found(), Layout(80, is_ascii=True))
        assert "\n".join(lines).isascii()
        assert any("####" in line for line in lines)

    def test_published_figures_stand_beside_ours(self) -> None:
        figures = replace(found(), published=Published("AIME 2024", 0.289, 0.527))
        text = "\n".join(report_lines(SUBJECT, figures, Layout()))
        assert "62.5 % ± 37.5; published for AIME 2024: 28.9 %, unquantized, of 64 samples" in text
        assert "     64  52.7 % published" in text

    def test_what_is_missing_or_went_wrong_is_said(self) -> None:
        ended = Ended({"budget": 1, "natural": 7}, {"length": 1, "stop": 7})
        figures = replace(found(), samples=7, ended=ended, without_answer=1, literally=2, undecided=("5", "9"))
        text = "\n".join(report_lines(SUBJECT, figures, Layout()))
        for part in (
            "4 samples each; only 7 samples so far",
            "no answer    1 of the complete replies has nothing to compare",
            "as text      2 answers, because math-verify could not compare them",
            "no winner    2 problems where no answer has won the vote: 5, 9",
            "thinking     7 ended by the model, 1 ended at the budget",
            "replies      7 complete, 1 cut off at --max-tokens",
        ):
            assert part in text

    def test_of_a_part_the_number_of_problems_is_said(self) -> None:
        """Of three problems one has no sample, and one only one."""
        records = [*(sample(1, number) for number in range(2)), sample(2, 0, "41")]
        figures = of([problem(line) for line in (1, 2, 3)], records, 2)
        text = "\n".join(report_lines(SUBJECT, figures, Layout()))
        assert "pass@1       50.0 % ± 50.0 of 2 problems\n" in text
        assert "      1  50.0 % ± 50.0 of 2 problems\n      2  100.0 % of 1 problem" in text

    def test_where_all_shares_are_the_same_no_error_is_known(self) -> None:
        figures = of([problem(1), problem(2)], [sample(1, 0), sample(2, 0)], 1)
        assert "pass@1       100.0 %\n" in "\n".join(report_lines(SUBJECT, figures, Layout()))
        assert report_object(SUBJECT, figures, {})["pass_at_1"] == {"value": 1.0, "error": None, "problems": 2}

    def test_of_one_sample_of_one_problem_no_votes_and_nothing_of_all_is_said(self) -> None:
        text = "\n".join(report_lines(replace(SUBJECT, problems=1), of([problem(1)], [sample(1, 0)], 1), Layout()))
        assert "problems     problems.jsonl: 1 problem, 1 sample\n" in text
        assert "thinking     ended by the model\n" in text
        assert "replies      complete\n" in text
        assert "25 tokens in 0.5 s" in text
        assert "cons@k" not in text

    def test_instructions_that_differ_are_counted(self) -> None:
        subject = replace(SUBJECT, instructions=[("Think.", 2), (None, 1)])
        text = "\n".join(report_lines(subject, found(), Layout()))
        assert "instruction  “Think.” for 2 problems, none for 1 problem\n" in text

    def test_without_math_verify_it_is_said_how_to_have_it(self) -> None:
        subject = replace(SUBJECT, has_math=False)
        text = "\n".join(report_lines(subject, replace(found(), literally=1), Layout()))
        assert 'as text      1 answer, because math-verify is not installed; pip install "r1-local[math]"\n' in text

    def test_an_interrupt_is_not_held_for_a_fault_of_math_verify(self) -> None:
        subject = replace(SUBJECT, has_compared_all=False)
        text = "\n".join(report_lines(subject, replace(found(), literally=2), Layout()))
        assert "as text      2 answers so far\n" in text
        assert "comparing    interrupted; formulas that were not compared are taken for different ones\n" in text

    def test_lines_that_are_left_out_are_counted(self) -> None:
        subject = replace(SUBJECT, bad_lines=[BadLine(3, "line 3 is not JSON")])
        text = "\n".join(report_lines(subject, found(), Layout()))
        assert "2 of 40 problems, 4 samples each; 1 line left out\n" in text

    def test_without_a_sample_there_are_no_figures(self) -> None:
        text = "\n".join(report_lines(SUBJECT, of([problem(1)], [], 4), Layout()))
        assert "4 samples; none so far" in text
        assert "pass@1" not in text
        assert "cons@k" not in text


class TestObject:
    """The object of `--json`."""

    def test_has_the_figures(self) -> None:
        subject = replace(SUBJECT, bad_lines=[BadLine(3, "line 3 is not JSON")], cache=Cache(2048, "f16"))
        made = report_object(subject, found(), {"temp": 1.0, "seed": 0})
        made = json.loads(json.dumps(made, allow_nan=False))
        assert made["pass_at_1"] == {"value": 0.625, "error": 0.375, "problems": 2}
        assert [each["k"] for each in made["cons"]] == [1, 2, 4]
        assert made["cons"][-1] == {"k": 4, "value": 0.5, "error": 0.5, "problems": 2}
        assert made["settings"] == {"temp": 1.0, "seed": 0}
        assert made["instructions"] == [{"text": "Please reason step by step.", "problems": 2}]
        assert made["context"] == {"tokens": 2048, "kv_type": "f16"}
        assert made["problems"] == {"name": "problems.jsonl", "asked": 2, "usable": 40}
        assert made["bad_lines"] == [{"line": 3, "error": "line 3 is not JSON"}]
        assert (made["complete"], made["samples"], made["tps"], made["published"]) == (True, 8, 50.0, None)

    def test_has_what_was_published(self) -> None:
        made = report_object(SUBJECT, replace(found(), published=Published("AIME 2024", 0.289, None)), {})
        assert made["published"] == {"name": "AIME 2024", "pass_at_1": 0.289, "cons_at_64": None}
