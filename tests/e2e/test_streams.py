"""Every command with every state of the three standard streams: the right exit code and line, never a surprise."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.fakes.stream_states import Case, Ended, run_cases

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="uses /dev/full, fork and POSIX terminals")


class Command(NamedTuple):
    """A cheap form of a command. `status` is its exit code when stdin is empty, `prints` whether it writes to stdout.

    `needs_stdin`: it exits with 2 if stdin cannot be read. `like_others`: it uses a stream in the same way as another
    command, which covers it in most states.
    """

    arguments: str
    status: int = 0
    prints: bool = True
    needs_stdin: bool = False
    like_others: bool = False


COMMANDS = (
    Command("run --temp 0 1+1"),
    Command("run --json --temp 0 1+1", like_others=True),
    Command("run --thinking show --temp 0 1+1", like_others=True),
    Command("run", status=2, prints=False, needs_stdin=True),
    Command("run -", status=2, prints=False, needs_stdin=True),
    Command("run --json", status=2, needs_stdin=True),
    Command("run --jsonl", prints=False, needs_stdin=True),
    Command("", status=2, prints=False, needs_stdin=True),
    Command("chat", status=2, prints=False, needs_stdin=True),
    Command("chat --plain", status=2, prints=False, needs_stdin=True, like_others=True),
    Command("list"),
    Command("list --json", like_others=True),
    Command("show tiny"),
    Command("verify tiny", like_others=True),
    Command("pull tiny"),
    Command("pull tiny --json", like_others=True),
    Command("quantize tiny -t Q9", status=2, prints=False),
    Command("quantize tiny --list-types", like_others=True),
    Command("rm nothing", status=4, prints=False),
    Command("rm tiny", status=2, prints=False),
    Command("doctor", like_others=True),
    Command("bench -p 8 -n 2 -r 1 --depths 0", like_others=True),
    Command("history", prints=False),
    Command("history --json"),
    Command("history show 9", status=4, prints=False),
    Command("history delete 9", status=4, prints=False),
    Command("--help", like_others=True),
    Command("--version"),
    Command("run --no-such-option", status=2, prints=False),
)

UNREADABLE = ("closed", "write_only", "socket_without_peer", "terminal_that_is_gone")
EMPTY = ("null", "read_write", "file", "socket", "pipe_at_its_end")
WRITABLE = ("write_only", "socket", "non_blocking_pipe", "terminal")
READER_IS_GONE = ("pipe_without_reader", "socket_without_peer", "terminal_that_is_gone")
UNUSABLE_STDERR = ("closed", "read_only", "full", "pipe_without_reader", "terminal_that_is_gone")

Expected = list[tuple[Case, int]]


def every(
    stream: str, states: Iterable[str], status: Callable[[Command], int], chosen: Callable[[Command], bool]
) -> Expected:
    """The chosen commands in every state."""
    return [
        (Case(tuple(command.arguments.split()))._replace(**{stream: state}), status(command))
        for state in states
        for command in filter(chosen, COMMANDS)
    ]


def of_its_own(command: Command) -> bool:
    return not command.like_others


def prints(command: Command) -> bool:
    return command.prints and of_its_own(command)


def wrong(expected: Expected, environ: dict[str, str]) -> list[tuple[Case, int, Ended]]:
    """The cases that end otherwise: with another exit code, or not with one line for an error and none for the rest."""
    ends = run_cases([case for case, _ in expected], environ)
    return [
        (case, status, ended)
        for (case, status), ended in zip(expected, ends, strict=True)
        if ended.status != status or not says_what_it_should(case, ended)
    ]


def says_what_it_should(case: Case, ended: Ended) -> bool:
    if case.stderr != "file" or "--thinking" in case.arguments:
        return True
    lines = [line for line in ended.stderr.splitlines() if not line.startswith(("r1: no chats", "> "))]
    if ended.status in {0, 141}:
        return lines == []
    return len(lines) == 1 and lines[0].startswith("r1: ") and "unexpected" not in lines[0]


@pytest.fixture
def environ(environ: dict[str, str], own_home: Path) -> dict[str, str]:
    """With a home of its own, because some of these lines write chats."""
    return {**environ, "R1_HOME": str(own_home)}


def test_stdin(environ: dict[str, str]) -> None:
    """What cannot be read is an error only where it is needed; an empty one is no surprise; Ctrl-D ends a chat."""

    def unreadable(command: Command) -> int:
        return 2 if command.needs_stdin else command.status

    def terminal(command: Command) -> int:
        return 0 if command.arguments in {"", "chat", "chat --plain"} else command.status

    def reads(command: Command) -> bool:
        return of_its_own(command) and (command.needs_stdin or command.arguments.endswith(" 1+1"))

    def is_not_doctor(command: Command) -> bool:
        """It measures the memory for a second, and never reads stdin."""
        return command.arguments != "doctor"

    first, *others = UNREADABLE
    table = every("stdin", [first], unreadable, is_not_doctor)
    table += every("stdin", others, unreadable, reads)
    table += every("stdin", EMPTY, lambda command: command.status, reads)
    table += every("stdin", ["terminal"], terminal, reads)
    assert wrong(table, environ) == []


def test_stdout(environ: dict[str, str]) -> None:
    """Closed, or not for writing: 2; a reader that is gone: 141, silently; a full disk: 5; otherwise as usual."""

    def usual(command: Command) -> int:
        return command.status

    def unless_it_fails(status: int) -> Callable[[Command], int]:
        return lambda command: status if command.prints and command.status == 0 else command.status

    table = every("stdout", WRITABLE, usual, prints)
    table += every("stdout", ["closed"], lambda _: 2, prints)
    table += every("stdout", ["read_only"], lambda _: 2, of_its_own)
    first, *others = READER_IS_GONE
    table += every("stdout", [first], unless_it_fails(141), lambda command: command.prints)
    table += every("stdout", others, unless_it_fails(141), prints)
    table += every("stdout", ["full"], unless_it_fails(5), prints)
    assert wrong(table, environ) == []


def test_stderr_never_changes_the_exit_code(environ: dict[str, str]) -> None:
    def complains(command: Command) -> bool:
        return command.status != 0 or "--thinking show" in command.arguments

    def asks_a_model(command: Command) -> bool:
        return complains(command) and command.arguments.startswith(("run", "chat"))

    first, *others = UNUSABLE_STDERR
    table = every("stderr", [first], lambda command: command.status, complains)
    table += every("stderr", others, lambda command: command.status, asks_a_model)
    assert wrong(table, environ) == []
