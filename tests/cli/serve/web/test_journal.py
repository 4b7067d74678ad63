"""The lines of the log, for people and for programs, and that nothing of a prompt is in them."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import pytest

from r1.console import Console
from r1.engine.events import Finished, FinishReason, Timings, Usage
from r1.serve.asked import Asked, Pace
from r1.serve.entry import Entry
from r1.serve.errors import ApiError
from r1.serve.web.journal import Journal, JournalOptions
from r1.serve.web.metrics import Metrics
from tests.fakes.consoles import console, written

SECRET = "xyzzysecretxyzzy"
PATH = "/v1/chat/completions"


def asked_with(*reasons: FinishReason, unread: int = 0) -> Asked:
    """A question whose replies ended so; of `unread` more no end was read. Each has 3 + 4 tokens, at 30 a second while
    it was generated; all of them took half a second.
    """
    asked = Asked("qwen-7b:Q4_K_M", lambda: None)
    for _ in range(len(reasons) + unread):
        asked.add(lambda: None, ())
    timings = Timings(0.125, 90.0, 30.0, 1.0)
    asked.finished += [Finished(reason, Usage(1200, 3, 4, cached_tokens=1000), timings) for reason in reasons]
    asked.pace = Pace(since=100.0, until=100.5, tokens=7 * len(reasons))
    return asked


def entry_of(asked: Asked | None = None, error: ApiError | None = None, **facts: Any) -> Entry:
    defaults = {"client": "127.0.0.1", "agent": "OpenAI/Python", "status": 200, "prompt": SECRET}
    return Entry("POST", facts.pop("path", PATH), asked=asked, error=error, **{**defaults, **facts})


def lines_of(entries: Sequence[Entry], *, log_prompts: bool = False, quiet: bool = False) -> list[str]:
    """What is said for people."""
    said = console()
    said.quiet = quiet
    journal = Journal(said, JournalOptions(log_prompts=log_prompts), Metrics())
    for entry in entries:
        journal.add(entry)
    assert written(said.stdout) == ""
    return written(said.stderr).splitlines()


def object_of(entry: Entry, *, log_prompts: bool = False) -> Any:
    """What is said for programs."""
    said = console()
    Journal(said, JournalOptions(as_json=True, log_prompts=log_prompts), Metrics()).add(entry)
    assert written(said.stderr) == ""
    [line] = written(said.stdout).splitlines()
    return json.loads(line)


def parts(line: str) -> list[str]:
    return line.split(" · ")


class TestForPeople:
    def test_a_reply(self) -> None:
        [line] = lines_of([entry_of(asked_with("stop"))])
        time, *rest = parts(line)
        assert re.fullmatch(r"\d\d:\d\d:\d\d", time)
        assert rest == ["127.0.0.1", "OpenAI/Python", "qwen-7b:Q4_K_M", "1,200 + 7 tokens", "30 tok/s", "stop"]

    def test_several_replies_share_the_prompt(self) -> None:
        [line] = lines_of([entry_of(asked_with("stop", "length", "stop"))])
        assert parts(line)[4:] == ["1,200 + 21 tokens", "42 tok/s", "stop, length"]

    @pytest.mark.parametrize(
        ("asked", "end"),
        [
            (asked_with(unread=1), "left by the client"),
            (asked_with("stop", unread=1), "stop, left by the client"),
            (asked_with("interrupted"), "ended by the server"),
            (asked_with("loop"), "loop"),
        ],
    )
    def test_the_end_says_who_ended_it(self, asked: Asked, end: str) -> None:
        [line] = lines_of([entry_of(asked)])
        assert parts(line)[-1] == end

    def test_a_refusal(self) -> None:
        refusal = ApiError(404, "'x' is no model of this machine;\nit has tiny:Q8_0")
        [line] = lines_of([entry_of(error=refusal, status=404)])
        assert parts(line)[3:] == [
            f"POST {PATH}",
            "404",
            "'x' is no model of this machine; it has tiny:Q8_0",
        ]

    def test_an_error_after_the_answer_had_begun(self) -> None:
        asked = asked_with("stop", unread=1)
        asked.error = ApiError(503, "not enough memory")
        [line] = lines_of([entry_of(asked)])
        assert parts(line)[-2:] == ["200", "not enough memory"]

    def test_what_is_neither_a_reply_nor_an_error_is_not_told(self) -> None:
        assert lines_of([entry_of(path="/v1/models"), entry_of(path="/health", agent="")]) == []

    def test_a_quiet_server_says_nothing(self) -> None:
        assert lines_of([entry_of(asked_with("stop")), entry_of(error=ApiError(500, "x"))], quiet=True) == []

    def test_control_characters_reach_no_terminal(self) -> None:
        evil = "\x1b]0;evil\x07\x9b31m"
        entries = [
            entry_of(error=ApiError(404, f"no {evil}"), path=f"/{evil}", agent=evil),
            entry_of(asked_with("stop"), prompt=f"{evil}\n12:00:00 · forged"),
        ]
        lines = lines_of(entries, log_prompts=True)
        assert len(lines) == 2
        assert not re.search(r"[\x00-\x1f\x7f-\x9f]", "".join(lines))

    def test_long_paths_and_errors_are_cut(self) -> None:
        [line] = lines_of([entry_of(error=ApiError(404, "x" * 10_000), path="/" + "y" * 10_000)])
        assert len(line) < 400


class TestForPrograms:
    def test_a_reply(self) -> None:
        asked = asked_with("stop", "length")
        asked.wait_s = 0.25
        told = object_of(entry_of(asked))
        assert datetime.fromisoformat(told.pop("started")).tzinfo is not None
        assert told.pop("total_s") >= 0
        assert told == {
            "event": "request",
            "client": "127.0.0.1",
            "agent": "OpenAI/Python",
            "method": "POST",
            "path": PATH,
            "status": 200,
            "error": None,
            "model": "qwen-7b:Q4_K_M",
            "wait_s": 0.25,
            "ttft_s": 0.125,
            "prompt_tokens": 1200,
            "cached_tokens": 1000,
            "thinking_tokens": 6,
            "answer_tokens": 8,
            "decode_tps": 28.0,
            "finish_reasons": ["stop", "length"],
        }

    def test_all_requests_are_told(self) -> None:
        told = object_of(entry_of(path="/v1/models"))
        assert (told["path"], told["error"], "model" in told) == ("/v1/models", None, False)

    def test_one_that_was_left_before_anything_was_sent(self) -> None:
        told = object_of(entry_of(asked_with(unread=1), status=None))
        assert (told["status"], told["finish_reasons"], told["ttft_s"]) == (None, [], None)

    def test_half_a_character_in_a_prompt(self) -> None:
        assert object_of(entry_of(prompt="\ud800"), log_prompts=True)["prompt"] == "\ud800"

    def test_a_long_path_is_cut(self) -> None:
        assert len(object_of(entry_of(path="/" + "y" * 60_000))["path"]) <= 200

    def test_where_it_listens(self) -> None:
        said = console()
        journal = Journal(said, JournalOptions(as_json=True), Metrics())
        journal.listening("http://127.0.0.1:8017", None, needs_key=False)
        assert json.loads(written(said.stdout)) == {
            "event": "listening",
            "address": "http://127.0.0.1:8017",
            "model": None,
        }


class TestPrompts:
    """Nothing of them is told, unless it is asked for."""

    ENTRIES = (
        entry_of(asked_with("stop")),
        entry_of(error=ApiError(400, f"messages is {SECRET}", param="messages"), status=400),
        entry_of(error=ApiError(500, SECRET, logged="an error"), status=500),
    )

    def test_by_default(self) -> None:
        told = "\n".join([*lines_of(self.ENTRIES), *(json.dumps(object_of(entry)) for entry in self.ENTRIES)])
        assert SECRET not in told
        assert "messages cannot be used" in told

    def test_where_they_are_asked_for(self) -> None:
        lines = lines_of(self.ENTRIES, log_prompts=True)
        assert [SECRET in line for line in lines] == [True] * 3
        assert object_of(self.ENTRIES[0], log_prompts=True)["prompt"] == SECRET


class TestListening:
    def said(self, model: str | None, *, needs_key: bool, quiet: bool = False) -> str:
        told = console()
        told.quiet = quiet
        Journal(told, JournalOptions(), Metrics()).listening("http://127.0.0.1:8017", model, needs_key=needs_key)
        return written(told.stderr)

    def test_the_address_and_what_clients_need(self) -> None:
        assert self.said("tiny:Q8_0", needs_key=False) == (
            "serving tiny:Q8_0 on http://127.0.0.1:8017; OpenAI clients use http://127.0.0.1:8017/v1; "
            "no key is needed\n"
        )

    def test_a_key_of_ones_own(self) -> None:
        assert self.said(None, needs_key=True).endswith("; clients must send the key\n")

    def test_a_quiet_server_does_not_say_it(self) -> None:
        assert self.said(None, needs_key=False, quiet=True) == ""


class TestEnding:
    def said(self, active: int, *, as_json: bool = False) -> str:
        told = console()
        Journal(told, JournalOptions(as_json), Metrics()).ending(active, 30)
        return written(told.stderr) + written(told.stdout)

    def test_what_is_waited_for(self) -> None:
        assert self.said(1) == "ending: 1 request has 30 s left; Ctrl-C again ends it now\n"
        assert self.said(12) == "ending: 12 requests have 30 s left; Ctrl-C again ends them now\n"

    def test_nothing_is_said_where_nobody_waits(self) -> None:
        assert (self.said(0), self.said(1, as_json=True)) == ("", "")


class BrokenStream(io.StringIO):
    def __init__(self) -> None:
        super().__init__()
        self.writes = 0

    def write(self, _: str) -> int:
        self.writes += 1
        raise BrokenPipeError(32, "Broken pipe")


class TestBrokenLog:
    """Its reader has gone away, or the disk is full."""

    @pytest.fixture
    def said(self) -> Console:
        made = console()
        made.stdout = BrokenStream()
        return made

    def test_serving_goes_on_and_says_so_once(self, said: Console) -> None:
        journal = Journal(said, JournalOptions(as_json=True), Metrics())
        for _ in range(3):
            journal.add(entry_of(asked_with("stop")))
        assert written(said.stderr) == "r1: cannot write the log (Broken pipe); serving goes on without it\n"

    def test_before_it_serves_it_is_an_error(self, said: Console) -> None:
        with pytest.raises(BrokenPipeError):
            Journal(said, JournalOptions(as_json=True), Metrics()).listening("http://x", None, needs_key=False)
