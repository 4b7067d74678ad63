"""Every command with every state of the three standard streams: the right exit code and line, never a surprise."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from typing import NamedTuple

import pytest

from tests.fakes.stream_states import Case, Ended, run_cases

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="uses /dev/full, fork and POSIX terminals")


class Command(NamedTuple):
    """A cheap form of a command. `status` is its exit code when stdin is empty, `prints` whether it writes to stdout.

    `needs_stdin`: it exits with 2 if stdin cannot be read. `slow`: it is left out of states that others cover.
    """

    arguments: str
    status: int = 0
    prints: bool = True
    needs_stdin: bool = False
    slow: bool = False


COMMANDS = (
    Command("run --temp 0 hi"),
    Command("run --json --temp 0 hi", slow=True),
    Command("run --thinking show --temp 0 hi", slow=True),
    Command("run", status=2, prints=False, needs_stdin=True),
    Command("run -", status=2, prints=False, needs_stdin=True),
    Command("run --json", status=2, needs_stdin=True),
    Command("run --jsonl", prints=False, needs_stdin=True),
    Command("", status=2, prints=False, needs_stdin=True),
    Command("chat", status=2, prints=False, needs_stdin=True),
    Command("chat --plain", status=2, prints=False, needs_stdin=True),
    Command("list"),
    Command("list --json", slow=True),
    Command("show tiny"),
    Command("verify tiny", slow=True),
    Command("pull tiny"),
    Command("pull tiny --json", slow=True),
    Command("quantize tiny -t Q9", status=2, prints=False),
    Command("quantize tiny --list-types", slow=True),
    Command("rm nothing", status=4, prints=False),
    Command("rm tiny", status=2, prints=False),
    Command("doctor", slow=True),
    Command("bench -p 8 -n 2 -r 1 --depths 0", slow=True),
    Command("history", prints=False),
    Command("history --json"),
    Command("history show 9", status=4, prints=False),
    Command("history delete 9", status=4, prints=False),
    Command("--help", slow=True),
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


def quick(command: Command) -> bool:
    return not command.slow


def wrong(expected: Expected, environ: dict[str, str]) -> list[tuple[Case, int, Ended]]:
    """The cases that end otherwise: with another exit code, or not with one line for an error and none for the rest."""
    ends = run_cases([case for case, _ in expected], environ)
    return [
        (case, status, ended)
        for (case, status), ended in zip(expected, ends, strict=True)
        if ended.status != status or not says_what_it_should(case, ended)
    ]


def says_what_it_should(case: Case, ended: Ended) -> bool:
    if case.stderr != "file" or "show" in case.arguments:
        return True
    lines = [line for line in ended.stderr.splitlines() if not line.startswith(("r1: no chats", "> "))]
    if ended.status in {0, 141}:
        return lines == []
    return len(lines) == 1 and lines[0].startswith("r1: ") and "unexpected" not in lines[0]


def test_stdin(environ: dict[str, str]) -> None:
    """What cannot be read is an error only where it is needed; an empty one is no surprise; Ctrl-D ends a chat."""

    def unreadable(command: Command) -> int:
        return 2 if command.needs_stdin else command.status

    def terminal(command: Command) -> int:
        return 0 if command.arguments in {"", "chat", "chat --plain"} else command.status

    def reads(command: Command) -> bool:
        return quick(command) and (command.needs_stdin or "hi" in command.arguments)

    first, *others = UNREADABLE
    table = every("stdin", [first], unreadable, lambda _: True)
    table += every("stdin", others, unreadable, reads)
    table += every("stdin", EMPTY, lambda command: command.status, reads)
    table += every("stdin", ["terminal"], terminal, reads)
    assert wrong(table, environ) == []


def test_stdout(environ: dict[str, str]) -> None:
    """Closed: 141, silently; a reader that is gone likewise; not for writing: 2; a full disk: 5; otherwise as usual."""

    def usual(command: Command) -> int:
        return command.status

    def unless_it_fails(status: int) -> Callable[[Command], int]:
        return lambda command: status if command.prints and command.status == 0 else command.status

    def prints(command: Command) -> bool:
        return quick(command) and command.prints

    table = every("stdout", WRITABLE, usual, prints)
    table += every("stdout", ["closed"], lambda _: 141, quick)
    table += every("stdout", ["read_only"], lambda _: 2, quick)
    first, *others = READER_IS_GONE
    table += every("stdout", [first], unless_it_fails(141), lambda _: True)
    table += every("stdout", others, unless_it_fails(141), prints)
    table += every("stdout", ["full"], unless_it_fails(5), quick)
    assert wrong(table, environ) == []


def test_stderr_never_changes_the_exit_code(environ: dict[str, str]) -> None:
    def complains(command: Command) -> bool:
        return command.status != 0 or "show" in command.arguments

    assert wrong(every("stderr", UNUSABLE_STDERR, lambda command: command.status, complains), environ) == []
