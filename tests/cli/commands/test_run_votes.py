"""`r1 run --votes`: as text, JSON and JSON Lines, with the real program and `tiny`, which errs when it is hot."""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Run, Start

HOT = ("--temp", "1.3", "--seed", "11")
SUM = "What is 17 + 25?"


def report(r1: Run, *options: str) -> dict[str, Any]:
    done = r1("run", "--json", *HOT, *options, SUM)
    assert (done.returncode, done.stderr) == (0, b"")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


class TestText:
    """stdout is the winner's answer and nothing else."""

    def test_the_answer_that_most_samples_give(self, r1: Run) -> None:
        done = r1("run", *HOT, "--votes", "8", SUM)
        assert (done.returncode, done.stdout, done.stderr) == (0, b"\\(17 + 25 = \\boxed{42}\\)\n", b"")

    def test_the_winner_s_thinking_where_it_is_asked_for(self, r1: Run) -> None:
        done = r1("run", *HOT, "--votes", "4", "--thinking", "show", SUM)
        assert done.stdout.endswith(b"\\boxed{42}\\)\n")
        assert b"17 + 25" in done.stderr

    def test_prose_is_not_voted_on(self, r1: Run) -> None:
        done = r1("run", "--votes", "8", "Who are you?")
        assert done.returncode == 0
        assert done.stdout.startswith(b"I am tiny")
        assert done.stderr == b"r1: the answers have nothing short in them to vote on; this is the first one\n"
        assert r1("run", "-q", "--votes", "8", "Who are you?").stderr == b""


class TestJson:
    """The winner's object, with the votes and all samples."""

    def test_the_votes_are_those_of_the_samples(self, r1: Run) -> None:
        found = report(r1, "--votes", "6", "--confidence", "1", "--parallel", "4")
        finals = [sample["final"] for sample in found["samples"] if sample["finish_reason"] == "stop"]
        assert found["votes"][0]["count"] == finals.count("42")
        assert sum(vote["count"] for vote in found["votes"]) == sum(final is not None for final in finals)
        assert found["agreement"] == pytest.approx(finals.count("42") / len(finals), abs=1e-4)
        assert found["seed"] in [sample["seed"] for sample in found["samples"] if sample["answer"] == found["answer"]]
        assert found["samples"][0]["seed"] == 11
        assert found["context"]["sequences"] == 4

    def test_prose_is_marked(self, r1: Run) -> None:
        found = json.loads(r1("run", "--json", "--votes", "8", "Who are you?").stdout)
        assert (found["prose"], found["stopped_early"], found["votes"]) == (True, False, [])
        assert report(r1, "--votes", "2")["prose"] is False

    def test_the_timings_are_those_of_the_vote(self, r1: Run) -> None:
        """The prompt is read for the first sample, whichever wins."""
        timings = report(r1, "--votes", "5", "--confidence", "1")["timings"]
        assert timings["prefill_tps"] > 0
        assert 0 < timings["ttft_s"] < timings["total_s"]

    def test_the_same_seed_gives_the_same_vote(self, r1: Run) -> None:
        one, two = (report(r1, "--votes", "5", "--threads", "1") for _ in range(2))
        assert (one["votes"], one["samples"]) == (two["votes"], two["samples"])

    def test_no_more_samples_at_once_than_votes(self, r1: Run) -> None:
        assert report(r1, "--votes", "2", "--parallel", "8")["context"]["sequences"] == 2

    def test_the_first_to_end(self, r1: Run) -> None:
        found = report(r1, "--votes", "8", "--first", "1")
        ended = [sample for sample in found["samples"] if sample["finish_reason"] != "interrupted"]
        assert sum(vote["count"] for vote in found["votes"]) == len(ended)  # more than one if they end together
        assert 1 <= len(ended) <= found["context"]["sequences"]
        assert not found["stopped_early"]

    def test_the_answers_of_a_form_are_compared_as_they_are(self, r1: Run) -> None:
        found = report(r1, "--votes", "5", "--confidence", "1", "--choices", "42,43")
        assert {vote["answer"] for vote in found["votes"]} <= {"42", "43"}
        assert found["valid"] is True


class TestEndsWithoutAWinner:
    """Exit code 3, with what there is."""

    CUT_OFF = (*HOT, "--votes", "3", "--max-tokens", "20", "--reserve", "0")

    def test_samples_that_were_all_cut_off(self, r1: Run) -> None:
        done = r1("run", *self.CUT_OFF, SUM)
        assert done.returncode == 3
        assert done.stderr.startswith(b"r1: none of 3 samples has an answer to vote on \xc2\xb7 ")
        assert b"the limit of 20 tokens was reached; raise --max-tokens" in done.stderr

    def test_a_chat_on_pipes_says_the_same(self, r1: Run, own_home: Path) -> None:
        said = [r1(word, *self.CUT_OFF, stdin=SUM.encode(), R1_HOME=str(own_home)) for word in ("run", "chat")]
        assert [done.returncode for done in said] == [3, 3]
        assert said[0].stderr == said[1].stderr

    @pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
    def test_ctrl_c_gives_the_winner_so_far(self, start: Start, pensive_path: Any) -> None:
        options = ("-m", pensive_path, "--loop-guard", "off", "--votes", "3", "--json")
        process = start("run", "--no-stdin", *options, "--max-tokens", "100000", "--ctx", "4096", "hi")
        with pytest.raises(Exception, match="timed out"):
            process.wait(2)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=300)
        assert process.returncode == 130
        assert json.loads(out)["finish_reason"] == "interrupted"
        assert err == b"r1: the vote was interrupted before a sample had an answer to vote on\n"


class TestLines:
    """Each line of --jsonl by a vote of its own, with its own number of votes if it has one."""

    def test_every_line_has_its_votes(self, r1: Run) -> None:
        lines = [{"prompt": SUM}, {"prompt": "What is 90 - 12?", "votes": 3}, {"prompt": "2+3", "votes": 1}]
        stdin = "".join(f"{json.dumps(line)}\n" for line in lines).encode()
        done = r1("run", "--jsonl", *HOT, "--votes", "5", stdin=stdin)
        found = [json.loads(line) for line in done.stdout.splitlines()]
        assert (done.returncode, done.stderr) == (0, b"")
        assert [each["line"] for each in found] == [1, 2, 3]
        assert [each["answer"][-12:] for each in found[:2]] == ["\\boxed{42}\\)", "\\boxed{78}\\)"]
        assert len(found[1]["samples"]) <= 3
        assert "votes" not in found[2]


class TestBadInput:
    """One line, exit code 2, before the model is loaded."""

    def test_votes_may_come_from_the_environment(self, r1: Run) -> None:
        done = r1("run", "--first", "5", SUM, R1_VOTES="4")
        assert done.stderr.decode().startswith("r1: --first 5 is more than --votes 4")

    def test_what_the_environment_says_about_votes_needs_none(self, r1: Run) -> None:
        assert r1("run", "--temp", "0", SUM, R1_FIRST="2", R1_CONFIDENCE="0.9").stderr == b""

    def test_a_line_with_an_option_of_a_vote_needs_votes(self, r1: Run) -> None:
        done = r1("run", "--jsonl", "--first", "1", stdin=b'{"prompt": "hi", "first": 2}\n"hi"\n')
        bad, good = map(json.loads, done.stdout.splitlines())
        assert bad["error"] == 'line 1: "first" needs "votes"; add "votes", or leave it out'
        assert good["answer"]

    @pytest.mark.parametrize(
        ("options", "line"),
        [
            (["--votes", "0"], "--votes: '0' is not a whole number from 1 to 1024"),
            (["--votes", "many"], "--votes: 'many' is not a whole number"),
            (["--votes", "4", "--first", "5"], "--first 5 is more than --votes 4; lower it, or raise the votes"),
            (["--votes", "4", "--confidence", "0.5"], "--confidence: '0.5' is not a number above 0.5"),
            (["--first", "2"], "--first needs --votes; add --votes K, or leave it out"),
            (["--confidence", "0.9"], "--confidence needs --votes; add --votes K, or leave it out"),
            (["--votes", "4", "--temp", "0"], "at temperature 0 all votes are the same"),
            (["--votes", "4", "--thinking", "only"], "--votes are for answers"),
            (["--parallel", "4"], "--parallel is for the many prompts of --jsonl"),
        ],
    )
    def test_each(self, r1: Run, options: list[str], line: str) -> None:
        done = r1("run", "-m", "/nonexistent.gguf", *options, SUM)
        assert done.returncode == 2
        assert done.stderr.decode().startswith(f"r1: {line}")
        assert done.stderr.count(b"\n") == 1
