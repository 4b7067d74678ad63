"""JSON of all commands: one form for times, one key for one thing, and an object for every error."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import typer
from hypothesis import given, settings
from hypothesis import strategies as st

from r1.app import app
from r1.commands import doctor
from r1.render.event_lines import event_lines
from r1_quantize.events import Waiting
from tests.conftest import Run
from tests.fakes.chats import write_three_chats
from tests.fakes.consoles import console, written
from tests.fakes.diagnoses import diagnosis
from tests.fakes.in_process import run_here

COMMANDS = {
    "list": "list --json",
    "show": "show tiny --json",
    "verify": "verify tiny --json",
    "types": "quantize tiny --list-types --json",
    "run": "run -m tiny --no-stdin --max-tokens 40 --json 17+25?",
    "jsonl": "run -m tiny --max-tokens 40 --jsonl",
    "votes": "run -m tiny --no-stdin --max-tokens 90 --votes 2 --json 17+25?",
    "eval": "eval --builtin tiny -m tiny --limit 3 --json",
    "bench": "bench tiny -p 8 -n 2 -r 2 -d 0 --json",
    "doctor": "doctor --json",
    "history": "history --json",
    "search": "history search --json wood",
    "chat": "history show 1 --thinking --json",
    "delete": "history delete -y 3 --json",
    "rm": "rm -y tiny --json",
}
"""A command for each kind of output."""

WORDS_FOR_TIME = re.compile(
    r"(^|_)(seconds?|secs?|sec|ms|millis\w*|minutes?|hours?|time|duration|elapsed|eta|took)($|_)"
)
LOOKS_LIKE_A_MOMENT = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d.*")
MOMENTS = {"started", "updated", "made_on", "created"}


def objects(done: subprocess.CompletedProcess[bytes]) -> list[Any]:
    """The JSON on stdout: one indented value, or a value on each line."""
    text = done.stdout.decode()
    try:
        return [json.loads(text)]
    except json.JSONDecodeError:
        return [json.loads(line) for line in text.splitlines()]


def pairs(value: object) -> Iterator[tuple[str, object]]:
    """Every key with its value, nested ones included."""
    if isinstance(value, dict):
        yield from value.items()
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from pairs(inner)


@pytest.fixture
def printed(
    r1: Run, own_home: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> list[tuple[str, object]]:
    """The keys and values that the command named by the parameter prints."""
    monkeypatch.setattr(doctor, "examine", lambda *_: diagnosis())  # measuring the memory takes a second
    write_three_chats(own_home / "history.db")
    done = r1(*COMMANDS[request.param].split(), stdin=b'"17+25?"\n', R1_HOME=str(own_home), R1_THREADS="1")
    assert done.returncode in {0, 3}, done.stderr
    return [pair for value in objects(done) for pair in pairs(value)]


@pytest.mark.parametrize("printed", COMMANDS, indirect=True)
class TestTimes:
    """A duration is seconds under a key that ends in _s; a moment is ISO 8601 with a zone."""

    def test_have_one_form(self, printed: list[tuple[str, object]]) -> None:
        assert printed
        for key, value in printed:
            assert key.endswith(("_per_second", "_s")) or not WORDS_FOR_TIME.search(key), key
            if key.endswith("_s"):
                numbers = value if isinstance(value, list) else [value]
                assert all(one is None or (isinstance(one, (int, float)) and one >= 0) for one in numbers), (key, value)
            if key in MOMENTS or (isinstance(value, str) and LOOKS_LIKE_A_MOMENT.fullmatch(value)):
                assert isinstance(value, str)
                assert datetime.fromisoformat(value).tzinfo is not None, (key, value)
        assert "session" not in dict(printed)


def test_waiting_of_a_pull_is_in_seconds() -> None:
    screen = console()
    list(event_lines(screen, iter([Waiting(0.5, "it failed")]), "x", lambda _: {}))
    assert json.loads(written(screen.stdout))["wait_s"] == 0.5


class TestErrors:
    """Every command with --json prints an object when it fails, for errors that Typer finds, too."""

    @pytest.mark.parametrize(
        ("command", "status"),
        [
            ("run --json -m nosuch --no-stdin hi", 4),
            ("run --jsonl -m nosuch", 4),
            ("run --json --no-stdin", 2),
            ("run --json --temp hot hi", 2),
            ("run --json --temp 99 --no-stdin hi", 2),
            ("run --json --nosuch hi", 2),
            ("list --json extra", 2),
            ("show --json", 2),
            ("show nosuch --json", 4),
            ("verify nosuch --json", 4),
            ("bench --json nosuch", 4),
            ("eval --json", 2),
            ("eval --json --builtin nosuch", 2),
            ("eval --json --builtin tiny -m nosuch", 4),
            ("bench --json --depths x tiny", 2),
            ("doctor --json x", 2),
            ("rm -y nosuch --json", 4),
            ("rm tiny --json", 2),
            ("quantize nosuch --list-types --json", 4),
            ("history show 99 --json", 4),
            ("history show x --json", 2),
            ("history --json show 99", 4),
            ("history search --json", 2),
            ("history delete --json -y 99", 4),
            ("history nosuch --json", 2),
        ],
    )
    def test_are_an_object(self, r1: Run, own_home: Path, command: str, status: int) -> None:
        write_three_chats(own_home / "history.db")
        done = r1(*command.split(), R1_HOME=str(own_home))
        (error,) = objects(done)
        assert done.stderr.decode() == f"r1: {error['error']}\n"
        assert (error["exit_code"], done.returncode) == (status, status)

    @pytest.mark.parametrize(
        "command", ["pull nosuch --json", "quantize nosuch --json", "quantize --json", "pull --x --json"]
    )
    def test_are_an_event_of_pull_and_quantize(self, r1: Run, command: str) -> None:
        done = r1(*command.split())
        last = json.loads(done.stdout.splitlines()[-1])
        assert list(last) == ["event", "error", "exit_code"]
        assert (last["event"], last["exit_code"]) == ("failed", done.returncode)
        assert done.stderr.decode() == f"r1: {last['error']}\n"

    @given(
        command=st.sampled_from(
            [
                *("run", "show", "verify", "bench", "rm", "quantize", "list", ""),
                *("history", "history show", "history search", "history delete", "history list"),
            ]
        ),
        words=st.lists(
            st.sampled_from(
                [
                    *(
                        "nosuch",
                        "nosuch:Q4_K_M",
                        "",
                        "-",
                        "--",
                        "99",
                        "x",
                        "~nosuchuser/m.gguf",
                        "/dev/null",
                        "ä b",
                        "-5",
                    ),
                    *("--temp", "--ctx", "-1", "1e999", "--device", "--model", "-m", "-q", "-y", "--all", "--nosuch"),
                    *("--jsonl", "--kv-type", "F16", "--thinking", "Hide", "-t", "q4_k_m", "--list-types", "--type="),
                    *("--chat", "--no-stdin", "-f", "--seed=", "--tune", "--depths", "-p", "\udcff", "\n", "--json=1"),
                ]
            ),
            max_size=5,
        ),
    )
    @settings(max_examples=60)
    def test_any_command_line_that_fails_prints_one_object(self, command: str, words: list[str]) -> None:
        """Also where the parser refuses the line. Nothing is here, so that no command does anything that takes long."""
        line = [*command.split(), "--json", *words]
        with TemporaryDirectory() as folder:
            done = run_here(*line, environ={"R1_HOME": f"{folder}/none", "R1_MODEL": "nosuch", "HOME": folder})
            assert not Path(folder, "none").exists()
        assert done.returncode in {0, 2, 4, 7}, (line, done)
        assert b"unexpected error" not in done.stderr
        if done.returncode:
            error = objects(done)[-1]
            assert error["exit_code"] == done.returncode
            assert done.stderr.endswith(f"r1: {error['error']}\n".encode("utf-8", "backslashreplace"))

    def test_every_command_with_json_is_here(self) -> None:
        """A new command with --json must be added to the tables of this module."""
        root = typer.main.get_command(app)
        every = {**root.commands, **{f"history {name}": one for name, one in root.commands["history"].commands.items()}}
        with_json = {name for name, one in every.items() if any("--json" in param.opts for param in one.params)}
        tested = {name for name in with_json if any(f"{line} ".startswith(f"{name} ") for line in COMMANDS.values())}
        # the first two have tests of their own; the last one is `history`
        assert with_json - tested == {"pull", "serve", "history list"}
