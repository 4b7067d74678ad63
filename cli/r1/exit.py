"""The end of a command: errors become one line on stderr and an exit code; with `--json` also an object on stdout.

The object is one line, `{"error": MESSAGE, "exit_code": N}`. In the output of `pull`, `quantize` and `serve`,
where each object has an `event`, it begins with `"event": "failed"`.
"""

from __future__ import annotations

import errno
import json
import re
import sys
import traceback
from collections.abc import Callable, Iterator
from itertools import takewhile
from pathlib import Path
from typing import TextIO

import typer

from r1.console import abandon, printable
from r1.interrupt import exit_on_signals
from r1.streams import check_output
from r1_quantize.errors import DISK_FULL, UNUSABLE_PATH, ExitStatus, NotEnoughSpace, R1Error, debugging, unexpected

_WITH_EVENTS = {"pull", "quantize", "serve"}
_SIGNALS = {ExitStatus.HUNG_UP, ExitStatus.TERMINATED}

_NO_MEMORY = "not enough memory; close other programs, or raise ulimit -v"
_NO_THREAD = "cannot start a thread; close other programs, or raise ulimit -u or ulimit -v"
_NO_FILES = "too many open files; close other programs, or raise ulimit -n"
_UNMAPPED = "failed to map segment from shared object"
"""What the dynamic linker says without memory, and about a library that may not be executed."""


def run_app(application: Callable[..., object]) -> int:
    """Runs the app on `sys.argv`. An error becomes one line on stderr and the exit code that is returned."""
    try:
        if sys.stdout is None:
            check_output(None)
        with exit_on_signals():
            status = application(standalone_mode=False)
        sys.stdout.flush()
    except typer.TyperException as exc:
        message = _in_our_style(exc.format_message())  # empty if the help has just been printed
        return _fail(f"{message} see {_help_command(exc)}", ExitStatus.USAGE) if message else ExitStatus.OK
    except (KeyboardInterrupt, typer.Abort):
        return _interrupted(ExitStatus.INTERRUPTED)
    except BrokenPipeError:
        return _closed_pipe()
    except SystemExit as exc:  # raised by Typer after shell completion, and for a broken pipe
        if exc.code in _SIGNALS:
            return _interrupted(ExitStatus(exc.code))
        return _closed_pipe() if isinstance(exc.__context__, BrokenPipeError) else int(exc.code or 0)
    except Exception as exc:
        return report(exc)
    if status == ExitStatus.INTERRUPTED and not isinstance(status, ExitStatus):  # Typer's status for Ctrl-C
        return _interrupted(ExitStatus.INTERRUPTED)
    return int(status) if isinstance(status, int) else ExitStatus.OK


def _in_our_style(message: str) -> str:
    """Typer's sentences as clauses of one line, to which another can be added; empty for an empty message.

    "No such command 'x'. Did you mean 'y'?" → "no such command 'x'; did you mean 'y'?"
    """
    line = message[:1].lower() + message[1:].rstrip(".")
    line = line.replace(". Did you mean ", "; did you mean ")
    line = re.sub(r" is not a valid int( range)?$", " is not a whole number", line)
    line = re.sub(r" is not in the range (\d+)<=x<=(\d+)$", r" is not from \1 to \2", line)
    line = re.sub(r"^got unexpected extra argument(?:\(s\)|s)? \((.+?)\)", r"too many arguments: \1", line)
    line = re.sub(r"(\S+) \(Possible options: (.+)\)$", lambda match: f"{match[1]}; did you mean {match[2]}?", line)
    return line if line.endswith("?") or not line else f"{line};"


def _help_command(exc: typer.TyperException) -> str:
    """The command that prints the help of the command that was misused."""
    context, names = getattr(exc, "ctx", None), list[str]()
    while context is not None and context.parent is not None:
        names.insert(0, str(context.info_name))
        context = context.parent
    return " ".join(["r1", *names, "--help"])


def _fail(message: str, status: ExitStatus, exc: Exception | None = None) -> ExitStatus:
    """Prints the message, and the object if JSON was requested; for debugging also the traceback of `exc`."""
    if exc is not None and debugging():
        traceback.print_exception(exc)
    line = printable(" ".join(message.split()))
    if sys.stderr is not None:
        _print(sys.stderr, f"r1: {line}\n")
    _print_object(line, status)
    return status


def _print_object(error: str, status: ExitStatus) -> None:
    """Prints the object for an error if JSON was requested; in ASCII, which every encoding of stdout has."""
    options = list(takewhile(lambda argument: argument != "--", sys.argv[1:]))  # the parser may have refused them
    if sys.stdout is None or {"--json", "--jsonl"}.isdisjoint(options):
        return
    command = next((option for option in options if not option.startswith("-")), None)
    event = {"event": "failed"} if command in _WITH_EVENTS else {}
    _print(sys.stdout, json.dumps({**event, "error": error, "exit_code": int(status)}) + "\n")


def _print(stream: TextIO, line: str) -> None:
    """Writes a last line. A broken stream must not change the exit code."""
    try:
        stream.write(line)
        stream.flush()
    except (OSError, R1Error):
        abandon(stream)


def _interrupted(status: ExitStatus) -> ExitStatus:
    """The end of a command that was interrupted before it could print a result of its own."""
    _print_object("interrupted", status)
    return status


def report(exc: Exception) -> ExitStatus:
    """Prints the line for an error, and with `--json` the object; returns the exit status."""
    lack = next(filter(None, map(_lack, _causes(exc))), None)
    if lack and not isinstance(exc, NotEnoughSpace):  # what the module that met it says would be misleading
        return _fail(*lack, exc)
    if isinstance(exc, R1Error):
        return _fail(str(exc), exc.exit_status)
    return _failed_file(exc) if isinstance(exc, OSError) else _fail(unexpected(exc), ExitStatus.UNFORESEEN, exc)


def _causes(exc: BaseException | None) -> Iterator[BaseException]:
    """The error, and the errors that it was raised from."""
    while exc is not None:
        yield exc
        exc = exc.__cause__


def _lack(exc: BaseException) -> tuple[str, ExitStatus] | None:
    """The message and status for an error that says that the system has run out of something; None for others."""
    number = exc.errno if isinstance(exc, OSError) else None
    may_be_memory = _UNMAPPED in str(exc) or isinstance(exc, SystemError)  # CPython's, where an allocation failed
    if isinstance(exc, MemoryError) or number == errno.ENOMEM or (may_be_memory and _memory_is_limited()):
        return _NO_MEMORY, ExitStatus.NO_SPACE
    if isinstance(exc, RuntimeError) and str(exc) == "can't start new thread":
        return _NO_THREAD, ExitStatus.NO_SPACE
    return (_NO_FILES, ExitStatus.USAGE) if number in {errno.EMFILE, errno.ENFILE} else None


def _memory_is_limited() -> bool:
    if sys.platform == "win32":
        return False
    import resource

    return resource.getrlimit(resource.RLIMIT_AS)[0] != resource.RLIM_INFINITY


def _failed_file(exc: OSError) -> ExitStatus:
    """For an error that no module translated, such as a folder of another user in the middle of a path."""
    if exc.errno in DISK_FULL:
        if exc.filename is None:
            abandon(sys.stdout)
        return _fail(f"cannot write to {exc.filename or 'stdout'}: no space left", ExitStatus.NO_SPACE)
    if exc.errno == errno.ENOENT and exc.filename is None and _working_folder_is_gone():
        return _fail("the current folder was deleted; change to another one", ExitStatus.USAGE, exc)
    if exc.filename is None or exc.errno not in UNUSABLE_PATH:
        return _fail(unexpected(exc), ExitStatus.UNFORESEEN, exc)
    return _fail(f"{exc.filename}: {exc.strerror}; check the path and its permissions", ExitStatus.USAGE, exc)


def _working_folder_is_gone() -> bool:
    try:
        Path.cwd()
    except OSError:
        return True
    return False


def _closed_pipe() -> ExitStatus:
    abandon(sys.stdout)
    return ExitStatus.CLOSED_PIPE
