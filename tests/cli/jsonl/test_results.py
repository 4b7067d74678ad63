"""`r1.jsonl.results`: one object per line, in order or as they come, and the exit status of all."""

from __future__ import annotations

import json
from itertools import permutations

import pytest

from r1.console import Console
from r1.evaluate.symbolic import Verifier
from r1.jsonl.results import Result, Results
from r1.render.lines_progress import LinesProgress
from r1_quantize.errors import ExitStatus
from tests.fakes.consoles import console, written


def results(made: Console, *, in_order: bool = True) -> Results:
    return Results(made, LinesProgress(made, None), in_order=in_order)


def result(number: int, status: ExitStatus = ExitStatus.OK) -> Result:
    fields = {"line": number} if status in {ExitStatus.OK, ExitStatus.INCOMPLETE} else {"line": number, "error": "no"}
    return Result(fields, status)


def printed(made: Console) -> list[int]:
    return [json.loads(line)["line"] for line in written(made.stdout).splitlines()]


class TestOrder:
    """In the order of the lines, each as soon as all before it are out."""

    @pytest.mark.parametrize("ends", [*permutations(range(4))])
    def test_each_is_printed_as_soon_as_all_before_it_are(self, ends: tuple[int, ...]) -> None:
        made = console()
        found = results(made)
        places = [found.place() for _ in range(4)]
        ended: set[int] = set()
        for number in ends:
            found.add(places[number], result(number))
            ended.add(number)
            complete = next((first for first in range(4) if first not in ended), 4)
            assert printed(made) == list(range(complete))
            assert found.held == len(ended) - complete

    def test_unordered_they_are_printed_as_they_end(self) -> None:
        made = console()
        found = results(made, in_order=False)
        places = [found.place() for _ in range(3)]
        for number in (2, 0, 1):
            found.add(places[number], result(number))
        assert printed(made) == [2, 0, 1]
        assert found.held == 0

    def test_those_that_wait_are_printed_at_an_early_end(self) -> None:
        made = console()
        found = results(made)
        places = [found.place() for _ in range(4)]
        found.add(places[3], result(3))
        found.add(places[1], result(1))
        found.print_held()
        assert printed(made) == [1, 3]
        assert found.held == 0


class TestStatus:
    """The first error, else 3 if an answer is incomplete, else 0."""

    @pytest.mark.parametrize(
        ("statuses", "status", "warnings"),
        [
            ((), 0, []),
            ((0, 0), 0, []),
            ((0, 3, 0), 3, ["1 of 3 answers is incomplete"]),
            ((3, 5, 2), 5, ["2 of 3 lines failed", "1 of 3 answers is incomplete"]),
            ((2, 5), 2, ["2 of 2 lines failed"]),
        ],
    )
    def test_of_all_lines(self, statuses: tuple[int, ...], status: int, warnings: list[str]) -> None:
        made = console()
        found = results(made)
        for number, each in enumerate(statuses):
            found.add(found.place(), result(number, ExitStatus(each)))
        assert found.sum_up() == status
        lines = written(made.stderr).splitlines()
        assert len(lines) == len(warnings)
        assert all(line.startswith(f"r1: {warning}") for line, warning in zip(lines, warnings, strict=True))
        assert found.complete == statuses.count(0)


@pytest.mark.parametrize("quiet", [False, True])
def test_what_ended_the_thinking_is_counted_and_changes_no_status(quiet: bool) -> None:
    """Where there was thinking: without any, `budget` ended it by itself."""
    made = console()
    made.quiet = quiet
    found = results(made)
    ends = ["natural", "budget", None, "loop", "eos"]
    for end, tokens in [*zip(ends, [9] * 5, strict=True), ("budget", 0)]:
        fields = {"thinking_end": end, "finish_reason": "stop", "usage": {"thinking_tokens": tokens}}
        found.add(found.place(), Result(fields, ExitStatus.OK))
    assert found.sum_up() == 0
    line = "r1: the thinking for 3 of 6 lines was ended before the model did; see `thinking_end` in their objects\n"
    assert written(made.stderr) == ("" if quiet else line)


@pytest.mark.parametrize("quiet", [False, True])
def test_votes_on_prose_and_literal_comparisons_are_counted_and_change_no_status(
    quiet: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of literal comparisons a script hears where math-verify is not installed, which would have helped."""
    monkeypatch.setattr(Verifier, "if_installed", classmethod(lambda _: None))
    made = console()
    made.quiet = quiet
    found = results(made)
    for fields in ({"prose": True, "compared_literally": 0}, {"prose": False, "compared_literally": 2}, {}):
        found.add(found.place(), Result(fields, ExitStatus.OK))
    assert found.sum_up() == 0
    prose, literal = written(made.stderr).splitlines() or ["", ""]
    assert (
        prose.startswith("r1: the answers to 1 of 3 lines had nothing short in them to vote on; see `prose`") != quiet
    )
    assert literal.startswith("r1: 2 pairs of answers could only be compared as text") != quiet


def test_answers_without_their_form_are_counted_apart() -> None:
    made = console()
    found = results(made)
    for valid, status in ((True, 0), (False, 3), (None, 3), (None, 0)):
        found.add(found.place(), Result({"valid": valid}, ExitStatus(status)))
    assert found.sum_up() == 3
    assert found.complete == 2
    assert written(made.stderr).splitlines() == [
        "r1: 1 of 4 answers is incomplete; see `finish_reason` in its object",
        "r1: 1 of 4 answers does not have its form; see `valid` in its object",
    ]


def test_a_single_line_that_failed_is_one() -> None:
    made = console()
    found = results(made)
    found.add(found.place(), Result({"error": "no"}, ExitStatus.USAGE))
    assert found.sum_up() == 2
    assert written(made.stderr) == "r1: 1 of 1 line failed; see `error` in its object\n"


def test_thinking_is_printed_as_a_whole_before_its_object() -> None:
    made = console()
    found = results(made)
    first, second = found.place(), found.place()
    found.add(second, Result({"line": 2}, ExitStatus.OK, thinking="two\nlines"))
    assert written(made.stderr) == ""
    found.add(first, Result({"line": 1}, ExitStatus.OK, thinking="one"))
    assert written(made.stderr) == "one\ntwo\nlines\n"
