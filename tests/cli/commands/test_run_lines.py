"""`r1 run --jsonl`: many prompts, several at once, and a night's work that survives a kill."""

from __future__ import annotations

import json
import re
import signal
import sys
from collections import Counter
from dataclasses import replace
from io import TextIOWrapper
from pathlib import Path
from typing import Any

import pytest

from r1.commands.run_lines import LineOptions, run_lines
from r1.jsonl import asking
from r1.prompt_input import PromptOptions
from r1.settings import Settings
from r1_quantize.errors import UsageError
from scripts.tiny.questions import held_out
from tests.cli.commands.test_run import SIGNALS, TestJson, signal_after
from tests.conftest import Run
from tests.fakes.consoles import console
from tests.fakes.in_process import run_here

SUMS = [f"What is {number} + {number}?" for number in range(11, 17)]


def as_lines(prompts: list[Any]) -> bytes:
    return "".join(json.dumps(prompt) + "\n" for prompt in prompts).encode()


def objects(output: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in output.splitlines()]


class TestObjects:
    """One per line of stdin."""

    @pytest.mark.parametrize("parallel", ["1", "4"])
    def test_they_come_in_order_with_their_ids(self, r1: Run, parallel: str) -> None:
        stdin = as_lines([{"id": index, "prompt": text} for index, text in enumerate(SUMS)])
        done = r1("run", "--jsonl", "--temp", "0", "--parallel", parallel, stdin=stdin)
        found = objects(done.stdout)
        assert (done.returncode, done.stderr) == (0, b"")
        assert [each["id"] for each in found] == list(range(6))
        assert [each["line"] for each in found] == list(range(1, 7))
        assert all(f"{{{2 * number}}}" in each["answer"] for number, each in zip(range(11, 17), found, strict=True))
        assert all(tuple(each) == ("id", "line", "prompt_sha256", *TestJson.KEYS) for each in found)
        assert all(each["context"]["sequences"] == int(parallel) for each in found)
        assert [each["context"]["threads"] for each in found] == [1] * 6

    def test_unordered_each_comes_as_it_ends(self, r1: Run) -> None:
        """The first answer has about 160 tokens, the second about 40."""
        stdin = as_lines([{"id": "long", "prompt": "hi"}, {"id": "short", "prompt": "2+3"}])
        arguments = ("run", "--jsonl", "--temp", "0", "--parallel", "2")
        assert [each["id"] for each in objects(r1(*arguments, "--unordered", stdin=stdin).stdout)] == ["short", "long"]
        assert [each["id"] for each in objects(r1(*arguments, stdin=stdin).stdout)] == ["long", "short"]

    def test_greedy_answers_do_not_depend_on_how_many_are_answered_at_once(self, r1: Run) -> None:
        """They may where two tokens are nearly as likely, but tiny is sure of these."""
        stdin = as_lines([question.text for question in held_out()[::40]])
        one, eight = (
            objects(r1("run", "--jsonl", "--temp", "0", "--parallel", number, stdin=stdin).stdout)
            for number in ("1", "8")
        )
        assert len(one) == 10
        assert [(each["thinking"], each["answer"]) for each in one] == [
            (each["thinking"], each["answer"]) for each in eight
        ]

    def test_bad_lines_have_errors_in_their_places(self, r1: Run) -> None:
        stdin = b'"hi"\n{"id": 7}\n' + as_lines([{"id": 8, "prompt": "x" * 400}]) + b'\n"hi"\n'
        done = r1("run", "--jsonl", "--ctx", "256", "--temp", "0", "--parallel", "2", stdin=stdin)
        first, bad, long, last = objects(done.stdout)
        assert done.returncode == 2
        assert bad == {"id": 7, "line": 2, "error": bad["error"]}
        assert bad["error"].startswith("line 2 ")
        assert tuple(long) == ("id", "line", "prompt_sha256", "error")
        assert "tokens, and the context holds 256" in long["error"]
        assert first["answer"] == last["answer"] != ""
        assert last["line"] == 5  # a blank line counts
        assert done.stderr == b"r1: 2 of 4 lines failed; see `error` in their objects\n"

    @pytest.mark.parametrize("mode", ["ab", "wb", "r+b"])
    def test_results_that_would_be_read_as_prompts_are_refused(self, tmp_path: Path, mode: str) -> None:
        """As `cat file >> file` is, which would not end."""
        file = tmp_path / "prompts"
        file.write_bytes(as_lines(SUMS))
        with file.open(mode) as stdout, file.open("rb") as stdin:
            made = replace(console(stdin), stdout=TextIOWrapper(stdout))
            with pytest.raises(UsageError, match="stdin and stdout are the same file"):
                run_lines(made, PromptOptions(()), LineOptions(), Settings())

    def test_the_status_is_3_when_an_answer_is_incomplete(self, r1: Run) -> None:
        done = r1("run", "--jsonl", "--max-tokens", "5", "--parallel", "2", stdin=as_lines(SUMS[:2]))
        assert done.returncode == 3
        assert [each["finish_reason"] for each in objects(done.stdout)] == ["length"] * 2
        assert done.stderr == b"r1: 2 of 2 answers are incomplete; see `finish_reason` in their objects\n"

    def test_with_a_seed_one_is_answered_at_a_time_unless_a_number_is_given(self, r1: Run) -> None:
        arguments = ("run", "--jsonl", "--seed", "5", "--temp", "2", "--max-tokens", "40")
        alone, again = (objects(r1(*arguments, stdin=as_lines(["hi"] * 3)).stdout) for _ in range(2))
        assert [each["context"]["sequences"] for each in alone] == [1] * 3
        assert len({each["thinking"] for each in [*alone, *again]}) == 1
        parallel = objects(r1(*arguments, "--parallel", "3", stdin=as_lines(["hi"] * 3)).stdout)
        assert [(each["context"]["sequences"], each["seed"]) for each in parallel] == [(3, 5)] * 3

    @pytest.mark.parametrize("parallel", ["1", "3"])
    def test_thinking_is_shown_on_stderr_in_the_order_of_the_lines(self, r1: Run, parallel: str) -> None:
        done = r1(
            *("run", "--jsonl", "--temp", "0", "--thinking", "show", "--parallel", parallel), stdin=as_lines(SUMS[:3])
        )
        assert done.stderr.decode() == "".join(f"{each['thinking']}\n" for each in objects(done.stdout))

    @pytest.mark.parametrize("options", [["--think-budget", "2"], ["--thinking", "only", "--think-budget", "2"]])
    def test_thinking_that_was_ended_is_counted_and_the_answers_are_whole(self, r1: Run, options: list[str]) -> None:
        done = r1("run", "--jsonl", "--temp", "0", *options, stdin=as_lines(SUMS[:3]))
        assert [each["thinking_end"] for each in objects(done.stdout)] == ["budget"] * 3
        assert done.returncode == 0
        assert done.stderr == (
            b"r1: the thinking for 3 of 3 lines was ended before the model did; see `thinking_end` in their objects\n"
        )
        assert r1("run", "--jsonl", "-q", "--temp", "0", *options, stdin=as_lines(SUMS[:1])).stderr == b""

    def test_thinking_only(self, r1: Run) -> None:
        done = r1(*("run", "--jsonl", "--temp", "0", "--thinking", "only", "--parallel", "3"), stdin=as_lines(SUMS[:3]))
        assert (done.returncode, done.stderr) == (0, b"")
        assert all(each["thinking"] and not each["answer"] for each in objects(done.stdout))


class TestOwnOptions:
    """A line may have options of its own, which beat those of the command line."""

    def test_each_is_for_its_line(self, r1: Run) -> None:
        lines = [
            {"id": "plain", "prompt": SUMS[0]},
            {"id": "budget", "prompt": SUMS[0], "think_budget": 2},
            {"id": "none", "prompt": SUMS[0], "effort": "none"},
            {"id": "choices", "prompt": SUMS[0], "choices": ["22", "23"]},
            {"id": "regex", "prompt": SUMS[0], "regex": "[0-9]{3}"},
            {"id": "grammar", "prompt": SUMS[0], "grammar": 'root ::= "<" [0-9]+ ">"'},
            {"id": "wrong", "prompt": SUMS[0], "temp": "hot"},
            {"id": "bad form", "prompt": SUMS[0], "regex": "("},
            {"id": "cut", "prompt": SUMS[0], "max_tokens": 1, "seed": 7},
        ]
        done = r1("run", "--jsonl", "--temp", "0", "--parallel", "4", "--effort", "high", stdin=as_lines(lines))
        found = {each["id"]: each for each in objects(done.stdout)}
        assert [*found] == [line["id"] for line in lines]
        ends = {name: each.get("thinking_end") for name, each in found.items()}
        natural = dict.fromkeys(("plain", "choices", "regex", "grammar"), "natural")
        nothing = dict.fromkeys(("wrong", "bad form", "cut"))
        assert ends == {**natural, **nothing, "budget": "budget", "none": "budget"}
        assert found["none"]["thinking"] == ""
        assert found["choices"]["answer"] in {"22", "23"}
        assert re.fullmatch("[0-9]{3}", found["regex"]["answer"])
        assert re.fullmatch("<[0-9]+>", found["grammar"]["answer"])
        assert [found[name]["valid"] for name in ("plain", "choices", "regex", "grammar")] == [None, True, True, True]
        assert found["wrong"]["error"].startswith("line 7: \"temp\": 'hot' is not a number from 0 to 10")
        assert found["bad form"]["error"].startswith('line 8: "regex": ')
        assert (found["cut"]["seed"], found["cut"]["finish_reason"], found["cut"]["usage"]["thinking_tokens"]) == (
            *(7, "length"),
            1,
        )
        assert done.returncode == 2
        assert done.stderr.decode().splitlines() == [
            "r1: the thinking for 1 of 9 lines was ended before the model did; see `thinking_end` in its object",
            "r1: 2 of 9 lines failed; see `error` in their objects",
            "r1: 1 of 9 answers is incomplete; see `finish_reason` in its object",
        ]

    def test_a_form_of_the_command_line_is_that_of_all_other_lines(self, r1: Run) -> None:
        lines = [SUMS[0], {"prompt": SUMS[1], "choices": "x,y"}, SUMS[2]]
        done = r1("run", "--jsonl", "--temp", "0", "--regex", "[0-9]{2}", stdin=as_lines(lines))
        first, second, third = (each["answer"] for each in objects(done.stdout))
        assert (first.isdigit(), second in {"x", "y"}, third.isdigit()) == (True, True, True)

    def test_a_longer_reply_has_room(self, r1: Run, endless_path: Path) -> None:
        """The context was made for replies of 40 tokens."""
        lines = ["hi", {"prompt": "hi", "max_tokens": 300}]
        options = ("--max-tokens", "40", "--parallel", "2", "--loop-guard", "off")
        done = r1("run", "-m", endless_path, "--jsonl", "--temp", "0", *options, stdin=as_lines(lines))
        usages = [each["usage"] for each in objects(done.stdout)]
        assert [usage["thinking_tokens"] + usage["answer_tokens"] for usage in usages] == [40, 300]
        assert [each["finish_reason"] for each in objects(done.stdout)] == ["length"] * 2

    def test_a_seed_gives_the_text_that_it_gives_alone(self, r1: Run) -> None:
        wild = ("--temp", "2", "--max-tokens", "40")
        alone = json.loads(r1("run", "--json", *wild, "--seed", "5", "hi").stdout)
        lines = [{"prompt": "hi", "seed": seed} for seed in (5, 6, 5)]
        found = objects(r1("run", "--jsonl", *wild, "--parallel", "1", stdin=as_lines(lines)).stdout)
        assert [each["seed"] for each in found] == [5, 6, 5]
        texts = [(each["thinking"], each["answer"]) for each in found]
        assert texts[0] == texts[2] == (alone["thinking"], alone["answer"]) != texts[1]

    def test_with_thinking_only_there_has_to_be_some(self, r1: Run) -> None:
        lines = [{"prompt": SUMS[0], "effort": "none"}, SUMS[1]]
        first, second = objects(r1("run", "--jsonl", "--thinking", "only", stdin=as_lines(lines)).stdout)
        assert first["error"].startswith("line 1: only the thinking is to be printed, and a budget of 0 leaves none")
        assert second["thinking"]

    def test_a_schema_of_every_line_is_compiled_once(self, environ: dict[str, str], monkeypatch: Any) -> None:
        compiled: list[object] = []
        form_in = asking.form_in

        def counting(record: dict[str, object]) -> object:
            compiled.append(record)
            return form_in(record)

        monkeypatch.setattr(asking, "form_in", counting)
        schema = {"enum": ["once", "twice"]}
        lines = as_lines([{"prompt": text, "schema": schema, "effort": "none"} for text in SUMS])
        done = run_here("run", "--jsonl", "--temp", "0", environ=environ, stdin=lines)
        assert [json.loads(each["answer"]) in schema["enum"] for each in objects(done.stdout)] == [True] * 6
        assert compiled == [{"schema": schema}]


class TestOptions:
    """`--parallel`, `--unordered` and `--resume` belong to `--jsonl`."""

    @pytest.mark.parametrize("options", [["--parallel", "2"], ["--unordered"], ["--resume", "f"]], ids=" ".join)
    def test_without_jsonl_they_are_usage_errors(self, r1: Run, options: list[str]) -> None:
        done = r1("run", *options, "hi")
        assert (done.returncode, done.stdout) == (2, b"")
        assert done.stderr.decode() == (
            f"r1: {options[0]} is for the many prompts of --jsonl; add --jsonl, or leave it out\n"
        )

    def test_a_variable_for_parallel_does_not_matter_to_one_prompt(self, r1: Run) -> None:
        report = json.loads(r1("run", "--json", "--temp", "0", "hi", R1_PARALLEL="4").stdout)
        assert (report["finish_reason"], report["context"]["sequences"]) == ("stop", 1)
        found = objects(r1("run", "--jsonl", "--temp", "0", stdin=b'"hi"\n', R1_PARALLEL="4").stdout)
        assert found[0]["context"]["sequences"] == 4

    @pytest.mark.parametrize("number", ["0", "65", "two"])
    def test_a_wrong_number_is_named(self, r1: Run, number: str) -> None:
        done = r1("run", "--jsonl", "--parallel", number, stdin=b'"hi"\n')
        assert done.returncode == 2
        assert done.stderr.decode() == f"r1: --parallel: '{number}' is not a whole number from 1 to 64\n"


class TestResume:
    """Lines that have a complete answer in an earlier output are skipped."""

    def resumed(self, r1: Run, tmp_path: Path, earlier: bytes, stdin: bytes, *words: str) -> list[dict[str, Any]]:
        file = tmp_path / "earlier.jsonl"
        file.write_bytes(earlier)
        done = r1(*("run", "--jsonl", "--temp", "0", "--parallel", "2"), "--resume", file, *words, stdin=stdin)
        assert (done.returncode, done.stderr) == (0, b"")
        return objects(done.stdout)

    @pytest.mark.parametrize("has_ids", [True, False])
    @pytest.mark.parametrize("words", [(), ("Answer",)])
    def test_both_outputs_together_have_each_line_once(
        self, r1: Run, tmp_path: Path, has_ids: bool, words: tuple[str, ...]
    ) -> None:
        ids = ["a", "b", "b", None, {"x": 1}, "a"]
        stdin = as_lines(
            [{"id": each, "prompt": text} if has_ids else text for each, text in zip(ids, SUMS, strict=True)]
        )
        first_lines = b"".join(stdin.splitlines(keepends=True)[:3])
        earlier = r1("run", "--jsonl", "--temp", "0", "--unordered", *words, stdin=first_lines).stdout
        found = [*objects(earlier), *self.resumed(r1, tmp_path, earlier, stdin, *words)]
        assert Counter(each["prompt_sha256"] for each in found).most_common(1)[0][1] == 1
        assert sorted(each["line"] for each in found) == [1, 2, 3, 4, 5, 6]
        assert self.resumed(r1, tmp_path, as_lines(found), stdin, *words) == []

    def test_incomplete_answers_and_errors_are_answered_again(self, r1: Run, tmp_path: Path) -> None:
        cut = r1("run", "--jsonl", "--max-tokens", "5", stdin=as_lines(SUMS[:2])).stdout
        assert [each["line"] for each in self.resumed(r1, tmp_path, cut, as_lines(SUMS[:3]))] == [1, 2, 3]

    def test_when_everything_is_answered_the_model_is_not_loaded(self, environ: dict[str, str], tmp_path: Path) -> None:
        """A context that is too long for the model is refused when it is loaded."""
        prompts, file = tmp_path / "prompts", tmp_path / "earlier.jsonl"
        prompts.write_bytes(b'"2+3"\n\n{"prompt": "2+3", "id": 1}\n')
        command = ("run", "--jsonl", "--temp", "0", "--resume", file)
        for options, lines, status in (([], [1, 3], 0), (["--ctx", "1000000"], [], 0)):
            with prompts.open("rb") as stdin:
                done = run_here(*command, *options, environ=environ, stdin=stdin)
            assert ([each["line"] for each in objects(done.stdout)], done.returncode) == (lines, status)
            file.write_bytes(done.stdout)
        with prompts.open("rb") as stdin:  # now it is empty
            assert run_here(*command, "--ctx", "1000000", environ=environ, stdin=stdin).returncode == 2

    def test_a_person_is_told_what_was_skipped(self, environ: dict[str, str], tmp_path: Path) -> None:
        file = tmp_path / "earlier.jsonl"
        command = ("run", "--jsonl", "--temp", "0", "--resume", file)
        first = run_here(*command, environ=environ, stdin=as_lines(SUMS[:1]), stderr_is_terminal=True)
        assert b"does not exist yet, so all lines are answered" in first.stderr
        file.write_bytes(first.stdout)
        second = run_here(*command, environ=environ, stdin=as_lines(SUMS[:3]), stderr_is_terminal=True)
        assert b"r1: 1 line was answered before; 2 answered now\n" in second.stderr
        quiet = run_here(*command, "-q", environ=environ, stdin=as_lines(SUMS[:3]), stderr_is_terminal=True)
        assert quiet.stderr == b""

    def test_another_prompt_with_the_same_id_is_skipped_with_a_warning(self, r1: Run, tmp_path: Path) -> None:
        file = tmp_path / "earlier.jsonl"
        file.write_bytes(r1("run", "--jsonl", "--temp", "0", stdin=as_lines([{"id": 1, "prompt": "hi"}])).stdout)
        done = r1("run", "--jsonl", "--resume", file, stdin=as_lines([{"id": 1, "prompt": "hello"}]))
        assert (done.returncode, done.stdout) == (0, b"")
        assert re.fullmatch(rb"r1: 1 skipped line had another prompt when answered; [^\n]+\n", done.stderr)

    def test_a_file_that_cannot_be_read_is_an_error_before_the_model_is_loaded(self, r1: Run, tmp_path: Path) -> None:
        done = r1("run", "--jsonl", "--resume", tmp_path, stdin=b'"hi"\n')
        assert (done.returncode, done.stderr.count(b"\n")) == (2, 1)
        assert b"cannot be read" in done.stderr
        assert list(objects(done.stdout)[0]) == ["error", "exit_code"]


@pytest.mark.parametrize(("number", "status"), SIGNALS)
class TestSignals:
    """Ctrl-C, SIGTERM and SIGHUP print what is under way, in order, with what there is."""

    @pytest.mark.parametrize(("parallel", "begun"), [("1", [1]), ("3", [1, 2, 3])])
    def test_while_it_answers(
        self,
        environ: dict[str, str],
        monkeypatch: pytest.MonkeyPatch,
        number: int,
        status: int,
        parallel: str,
        begun: list[int],
    ) -> None:
        signal_after(monkeypatch, number, batches=8)
        done = run_here(
            *("run", "--jsonl", "--temp", "0", "--parallel", parallel), environ=environ, stdin=as_lines(SUMS)
        )
        assert (done.returncode, done.stderr) == (status, b"")
        found = objects(done.stdout)
        assert [each["line"] for each in found] == begun
        assert [each["finish_reason"] for each in found] == ["interrupted"] * len(begun)
        assert all(each["thinking"] for each in found)


@pytest.mark.skipif(sys.platform == "win32", reason="SIGUSR1 is POSIX's")
def test_answer_now_is_for_all_replies_under_way(
    environ: dict[str, str], monkeypatch: pytest.MonkeyPatch, pensive_path: Path
) -> None:
    """The signal comes while two lines are answered; the third begins later, and thinks up to its budget."""
    signal_after(monkeypatch, signal.SIGUSR1, batches=9)
    options = ("--temp", "0", "--parallel", "2", "--choices", "42,43", "--think-budget", "30")
    done = run_here("run", "-m", pensive_path, "--jsonl", *options, environ=environ, stdin=as_lines(SUMS[:3]))
    found = objects(done.stdout)
    assert [each["thinking_end"] for each in found] == ["user", "user", "budget"]
    assert [each["valid"] for each in found] == [True] * 3
    assert done.returncode == 0
