"""`r1 eval`, with the built-in model: what it prints, how it goes on, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Run, printed
from tests.fakes.in_process import run_here

TINY = ("eval", "-m", "tiny", "--temp", "0", "--parallel", "4")
PROBLEMS = [
    {"question": "What is 17 + 25?", "answer": 42},
    {"question": "How many r's are in strawberry?", "answer": "3"},
    {"question": "Which is larger, 9.11 or 9.9?", "answer": "9.11"},  # wrong, so that tiny is
    {"question": "What is 20 + 22?", "check": "4[12]"},
]


def lines(*values: object) -> bytes:
    return b"".join((value if isinstance(value, bytes) else json.dumps(value).encode()) + b"\n" for value in values)


@pytest.fixture
def problems(tmp_path: Path) -> Path:
    path = tmp_path / "problems.jsonl"
    path.write_bytes(lines(*PROBLEMS))
    return path


def samples(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_bytes().splitlines()[1:]]


class TestFigures:
    """What is printed."""

    def test_of_the_built_in_problems(self, r1: Run) -> None:
        """The model is right in at least 95 of 100 (tests/e2e/test_held_out.py), and so in most of 20."""
        found = json.loads(printed(r1(*TINY, "--builtin", "tiny", "--limit", "20", "--json")))
        assert found["problems"] == {"name": "tiny, built in", "asked": 20, "usable": 400}
        assert found["pass_at_1"]["value"] >= 0.8
        assert (found["complete"], found["samples"]) == (True, 20)
        assert found["instructions"] == [{"text": None, "problems": 20}]
        assert found["context"] == {"tokens": 2048, "kv_type": "f16"}  # what it was trained for
        assert sum(found["thinking_end"].values()) == 20
        assert found["model"] == "tiny:Q8_0"

    def test_of_a_file_in_words(self, r1: Run, problems: Path) -> None:
        text = printed(r1(*TINY, problems, "--no-instruct"))
        assert f"{problems}: 4 problems, 1 sample each\n" in text
        assert "pass@1       75.0 % ± 25.0\n" in text
        assert "instruction  none\n" in text
        assert "at most 32,768 tokens in a context of 2,048, seed 0\n" in text
        assert "votes" not in text

    def test_of_stdin(self, r1: Run) -> None:
        found = json.loads(printed(r1(*TINY, "-", "--no-instruct", "--json", stdin=lines(*PROBLEMS[:2]))))
        assert (found["problems"]["name"], found["pass_at_1"]) == (
            "stdin",
            {"value": 1.0, "error": None, "problems": 2},
        )

    @pytest.mark.parametrize(
        ("options", "instruction"),
        [
            ((), "Please reason step by step, and put your final answer within \\boxed{}."),
            (("--instruct", "Be brief."), "Be brief."),
            (("--no-instruct",), None),
        ],
    )
    def test_what_is_added_to_a_question_is_said(
        self, r1: Run, problems: Path, options: tuple[str, ...], instruction: str | None
    ) -> None:
        found = json.loads(printed(r1(*TINY, problems, "--limit", "1", "--max-tokens", "4", "--json", *options)))
        assert found["instructions"] == [{"text": instruction, "problems": 1}]

    def test_samples_of_the_same_problem_differ_and_are_counted(self, r1: Run, problems: Path, tmp_path: Path) -> None:
        file = tmp_path / "samples.jsonl"
        command = ("eval", "-m", "tiny", "--temp", "2", "--top-p", "1", problems, "--no-instruct", "-k", "4", "--json")
        found = json.loads(printed(r1(*command, "--output", file)))
        assert [each["k"] for each in found["cons"]] == [1, 2, 4]
        drawn = samples(file)
        assert len({each["seed"] for each in drawn}) == len(drawn) == 16
        assert found["pass_at_1"]["value"] == pytest.approx(sum(each["correct"] for each in drawn) / 16)
        assert found["tokens"]["total"] == sum(
            each["thinking_tokens"] + each["answer_tokens"] + each["discarded_tokens"] for each in drawn
        )

    def test_an_order_of_its_own(self, r1: Run, problems: Path, tmp_path: Path) -> None:
        orders = []
        for seed in ("1", "1", "2", "3"):
            file = tmp_path / f"samples{len(orders)}.jsonl"
            command = (*TINY, problems, "--no-instruct", "--max-tokens", "2", "--parallel", "1", "-o", file)
            printed(r1(*command, "--shuffle", seed))
            orders.append(tuple(each["line"] for each in samples(file)))
        assert orders[0] == orders[1]
        assert len(set(orders)) > 1
        assert {tuple(sorted(order)) for order in orders} == {(1, 2, 3, 4)}


class TestGoingOn:
    """`--output FILE`."""

    def test_only_what_is_missing_is_drawn_and_the_figures_are_the_same(
        self, r1: Run, problems: Path, tmp_path: Path
    ) -> None:
        file, whole = tmp_path / "samples.jsonl", tmp_path / "whole.jsonl"
        command = (*TINY, problems, "--no-instruct", "--json")
        json.loads(printed(r1(*command, "-o", file, "--limit", "2")))
        first = file.read_bytes()
        parts = json.loads(printed(r1(*command, "-o", file)))
        once = json.loads(printed(r1(*command, "-o", whole)))
        assert file.read_bytes().startswith(first)
        assert sorted((each["line"], each["answer"]) for each in samples(file)) == sorted(
            (each["line"], each["answer"]) for each in samples(whole)
        )
        same = ("pass_at_1", "cons", "samples", "thinking_end", "usage", "tokens", "complete")
        assert {name: parts[name] for name in same} == {name: once[name] for name in same}

    def test_says_how_much_is_there(self, environ: dict[str, str], problems: Path, tmp_path: Path) -> None:
        file = tmp_path / "samples.jsonl"

        def said(*options: str) -> str:
            command = (*TINY, problems, "--max-tokens", "2", "-o", file, *options)
            return run_here(*command, environ=environ, stderr_is_terminal=True).stderr.decode()

        assert " already" not in said("--limit", "2")
        assert f"r1: {file} has 2 of the 4 samples already; going on from there" in said()
        assert f"r1: {file} has all 4 samples already" in said()

    def test_a_complete_one_needs_no_model(self, r1: Run, problems: Path, tmp_path: Path) -> None:
        command = (*TINY, problems, "--no-instruct", "-o", tmp_path / "samples.jsonl", "--json")
        first = r1(*command)
        assert printed(r1(*command)) == printed(first)

    @pytest.mark.parametrize(
        ("change", "says"),
        [
            (("--temp", "0.5"), "another temp, 0.0 instead of 0.5"),
            (("--instruct", "Be brief."), "another instruction, not given instead of Be brief."),
            (("--seed", "5"), "another seed, 0 instead of 5"),
            (("--effort", "low"), "another think budget, not given instead of 1024"),
            (("--ctx", "1024"), "another ctx, not given instead of 1024"),
        ],
    )
    def test_a_changed_setting_starts_over_and_says_so(
        self, r1: Run, problems: Path, tmp_path: Path, change: tuple[str, ...], says: str
    ) -> None:
        file = tmp_path / "samples.jsonl"
        command = (*TINY, problems, "--max-tokens", "2", "-o", file)
        printed(r1(*command, "--no-instruct"))
        before = file.read_bytes()
        done = r1(*command, *(change if "--instruct" in change else ("--no-instruct", *change)))
        assert done.returncode == 0
        assert says in done.stderr.decode()
        assert "starting over" in done.stderr.decode()
        assert file.with_name("samples.old.jsonl").read_bytes() == before
        assert len(samples(file)) == 4

    def test_another_order_or_more_samples_of_each_change_none_of_them(
        self, r1: Run, problems: Path, tmp_path: Path
    ) -> None:
        """A file of questions with choices and without: the usual instruction is not the same for all."""
        problems.write_bytes(lines(PROBLEMS[0], {"question": "?", "choices": ["a", "b"], "answer": 0}))
        file = tmp_path / "samples.jsonl"
        command = (*TINY, problems, "--max-tokens", "2", "-o", file)
        for options in (("--shuffle", "1"), ("--shuffle", "2"), ("-k", "2"), ("--limit", "1")):
            printed(r1(*command, *options))
        assert sorted((each["line"], each["sample"]) for each in samples(file)) == [(1, 0), (1, 1), (2, 0), (2, 1)]
        assert not file.with_name("samples.old.jsonl").exists()

    def test_another_way_to_say_the_same_changes_nothing(
        self, r1: Run, problems: Path, tmp_path: Path, tiny_path: Path
    ) -> None:
        """--effort max is no budget, and a file may be reached by another path."""
        file = tmp_path / "samples.jsonl"
        command = ("eval", "--temp", "0", problems, "--no-instruct", "--max-tokens", "2", "-o", file)
        printed(r1(*command, "-m", tiny_path))
        before = file.read_bytes()
        for options in (("--effort", "max"), ("--think-budget", "off"), ("--loop-guard", "on")):
            done = r1(*command, "-m", tiny_path.parent / ".." / tiny_path.parent.name / tiny_path.name, *options)
            assert (done.returncode, done.stderr, file.read_bytes()) == (0, b"", before)

    def test_the_context_is_that_of_the_samples_before(self, r1: Run, problems: Path, tmp_path: Path) -> None:
        """As if there had been less memory then."""
        file = tmp_path / "samples.jsonl"
        command = (*TINY, problems, "--no-instruct", "--max-tokens", "400", "-o", file, "--json")
        printed(r1(*command, "--limit", "1"))
        first, sample = map(json.loads, file.read_bytes().splitlines())
        assert first["context"] == {"tokens": 2048, "kv_type": "f16"}
        file.write_bytes(lines({**first, "context": {"tokens": 256, "kv_type": "q8_0"}}, sample))
        assert json.loads(printed(r1(*command)))["context"] == {"tokens": 256, "kv_type": "q8_0"}
        assert len(samples(file)) == 4

    def test_a_line_that_is_damaged_is_named_until_its_sample_is_drawn_again(
        self, r1: Run, problems: Path, tmp_path: Path
    ) -> None:
        file = tmp_path / "samples.jsonl"
        command = (*TINY, problems, "--no-instruct", "--max-tokens", "2", "-o", file)
        printed(r1(*command))
        first, _, *rest = file.read_bytes().splitlines()
        file.write_bytes(lines(first, b"{", *rest))
        expected = f"r1: {file}: 1 line could not be read; what is missing is drawn again\n"
        assert [r1(*command).stderr.decode() for _ in range(2)] == [expected, ""]

    def test_what_was_compared_as_text_is_judged_again(self, r1: Run, tmp_path: Path) -> None:
        """As if math-verify had not been there: it knows that x^2-1 is (x-1)(x+1), and is installed for the tests."""
        problems, file = tmp_path / "problems.jsonl", tmp_path / "samples.jsonl"
        problems.write_bytes(lines({"question": "Factor x^2-1", "answer": "(x-1)(x+1)"}))
        command = (*TINY, problems, "--no-instruct", "--max-tokens", "2", "-o", file, "--json")
        printed(r1(*command))
        first, sample = map(json.loads, file.read_bytes().splitlines())
        literally = {"final": "x^2-1", "correct": False, "how": "literal", "finish_reason": "stop"}
        file.write_bytes(lines(first, {**sample, **literally}))
        found = json.loads(printed(r1(*command)))
        assert (found["pass_at_1"]["value"], found["compared_literally"]) == (1.0, 0)

    def test_a_changed_file_starts_over(self, r1: Run, problems: Path, tmp_path: Path) -> None:
        command = (*TINY, problems, "--no-instruct", "--max-tokens", "2", "-o", tmp_path / "samples.jsonl")
        printed(r1(*command))
        problems.write_bytes(lines(*PROBLEMS[:2]))
        assert "another problem file" in r1(*command).stderr.decode()

    @pytest.mark.skipif(not Path("/dev/full").exists(), reason="has no /dev/full")
    def test_a_full_disk_ends_it_with_5(self, r1: Run, problems: Path) -> None:
        done = r1(*TINY, problems, "-o", "/dev/full")
        assert done.returncode == 5
        assert done.stderr == b"r1: /dev/full: No space left on device; free some space and run it again to resume\n"


class TestBadInput:
    """Named, and the rest goes on; or refused."""

    BAD = (b"\xff", b'{"question": "1+1?"}', {"answer": 2}, [1], {"question": 5, "answer": 1}, {"question": "a"})

    def test_lines_that_are_no_problems_are_named_and_the_rest_is_asked(self, r1: Run, tmp_path: Path) -> None:
        file = tmp_path / "problems.jsonl"
        file.write_bytes(lines(PROBLEMS[0], *self.BAD, PROBLEMS[1]))
        done = r1(*TINY, file, "--no-instruct", "--json")
        assert done.returncode == 2
        errors = done.stderr.decode().splitlines()
        assert errors[0] == "r1: line 2 is not UTF-8 (byte 1)"
        assert errors[1] == 'r1: line 3 has no "answer", and no "check"'
        assert errors[-1] == "r1: 1 other line cannot be used either"
        found = json.loads(done.stdout)
        assert (found["samples"], found["pass_at_1"]["value"]) == (2, 1.0)
        assert [bad["line"] for bad in found["bad_lines"]] == [2, 3, 4, 5, 6, 7]
        assert r1(*TINY, file, "--no-instruct", "--skip-bad").returncode == 0

    def test_questions_that_are_longer_than_the_context_are_named_and_left_out(self, r1: Run, tmp_path: Path) -> None:
        """As lines that are no problems: they say nothing about the model."""
        problems, file = tmp_path / "problems.jsonl", tmp_path / "samples.jsonl"
        problems.write_bytes(lines({"question": "word " * 5000, "answer": 1}, b"{", PROBLEMS[0], PROBLEMS[1]))
        longer = {"question": "a " * 600, "answer": 1}
        problems.write_bytes(problems.read_bytes() + lines(*[longer] * 5))
        command = (*TINY, problems, "--no-instruct", "--json", "--ctx", "512", "-k", "2", "-o", file)
        done = r1(*command)
        assert done.returncode == 2
        errors = done.stderr.decode().splitlines()
        assert [error[:15] for error in errors[:3]] == ["r1: line 2 is n", "r1: line 1: the", "r1: line 5: the"]
        assert errors[-1] == "r1: 1 other line cannot be used either"
        found = json.loads(done.stdout)
        assert (found["pass_at_1"]["value"], found["finish_reason"], found["complete"]) == (1.0, {"stop": 4}, True)
        assert (found["problems"]["asked"], found["undecided"]) == (2, [])
        assert [bad["line"] for bad in found["bad_lines"]] == [1, 2, 5, 6, 7, 8, 9]
        assert {each["line"] for each in samples(file)} == {3, 4}
        assert r1(*command, "--skip-bad").returncode == 0

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ((), "give either a FILE of problems (`-`: stdin) or --builtin tiny"),
            (("x.jsonl", "--builtin", "tiny"), "give either a FILE of problems (`-`: stdin) or --builtin tiny"),
            (("--builtin", "aime"), "no built-in problems are called 'aime'; there are: tiny"),
            (("missing.jsonl",), "missing.jsonl: cannot be read (No such file or directory)"),
            (
                ("tiny",),
                "tiny: cannot be read (No such file or directory); for the built-in problems: --builtin tiny",
            ),
            (("-",), "stdin has no problems; each line is a JSON object with a question and its answer"),
            (
                ("--builtin", "tiny", "-o", "-"),
                "--output - is no file to go on from; give it a name, and use --json for figures on stdout",
            ),
            (("--builtin", "tiny", "-o", "/"), "--output /: cannot be written (Is a directory); choose another file"),
            (
                ("--builtin", "tiny", "--instruct", "x", "--no-instruct"),
                "--instruct adds to each question and --no-instruct adds nothing; leave one of them out",
            ),
        ],
    )
    def test_is_refused(self, r1: Run, arguments: tuple[str, ...], message: str) -> None:
        done = r1("eval", "-m", "tiny", *arguments)
        assert (done.returncode, done.stderr.decode()) == (2, f"r1: {message}\n")

    def test_a_file_of_something_else_is_not_overwritten(self, r1: Run, problems: Path) -> None:
        before = problems.read_bytes()
        done = r1(*TINY, problems, "-o", problems)
        assert done.returncode == 2
        assert b"has something else than samples of r1 eval" in done.stderr
        assert problems.read_bytes() == before
