"""Symbolic equality of formulas, by math-verify in a process of its own, which may hang or die.

math-verify reads LaTeX into SymPy and simplifies. That can take forever, or all memory, for a formula of a few
characters, and nothing inside the process could stop it. So another process does it, with a limit of time and one of
memory; `symbolic_child` is its program.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import IO, TYPE_CHECKING, Self

if TYPE_CHECKING:
    from subprocess import Popen

LONGEST = 2_000
"""Characters of a formula; a longer one is not compared."""

_LIMIT_S = 3.0  # for one comparison
_MEMORY = 1 << 30  # bytes of address space
_START_S = 60.0  # for the imports, from a cold disk
_MARGIN_S = 5.0  # after which a process that did not end itself is killed


class Verifier:
    """A helper process: started by the first comparison, and again after one that it did not survive.

    Not for several threads at once. `close` ends the process; it also ends when this one does, at the latest after the
    comparison under way.
    """

    def __init__(self, limit_s: float = _LIMIT_S, memory: int = _MEMORY) -> None:
        """With a time limit for a comparison, and a limit of the process's address space in bytes."""
        self._limit_s = limit_s
        self._memory = memory
        self._process: Popen[str] | None = None
        self._is_broken = False

    @classmethod
    def if_installed(cls) -> Self | None:
        """None without math-verify, which is in the extra `math`. Imports nothing."""
        return cls() if find_spec("math_verify") else None

    def verify(self, gold: str, answer: str) -> bool | None:
        """Whether two formulas in LaTeX, without `$`, are equal. None: the process hung, died, or could not read them.

        Takes at most the time limit, and a few seconds more for the first one. Symmetric.
        """
        if max(len(gold), len(answer)) > LONGEST or not self._is_running():
            return None
        return self._ask(json.dumps([gold, answer]), self._limit_s + _MARGIN_S)

    def close(self) -> None:
        """Ends the process. The next comparison would start another one."""
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with suppress(OSError):  # what could not be written any more
                    pipe.close()

    def _is_running(self) -> bool:
        """Starts the process if there is none. One that never gets ready is not tried again."""
        if self._process is None and not self._is_broken:
            try:
                self._process = _start(self._limit_s, self._memory)
            except OSError:
                self._is_broken = True
            else:
                self._ask(None, _START_S)
                self._is_broken = self._process is None
        return self._process is not None

    def _ask(self, request: str | None, limit_s: float) -> bool | None:
        """What the process replies; if it does not, it is ended."""
        assert self._process is not None
        timer = threading.Timer(limit_s, self._process.kill)
        timer.daemon = True
        timer.start()
        try:
            reply = _exchange(self._process, request)
        except BaseException:  # also Ctrl-C: the reply would be taken for that of the next request
            self.close()
            raise
        finally:
            timer.cancel()
        if reply is None:
            self.close()
            return None
        return None if reply == "null" else reply == "true"


def _exchange(process: Popen[str], request: str | None) -> str | None:
    """The line that the process replies; None if it has ended."""
    stdin, stdout = _pipes(process)
    try:
        if request is not None:
            stdin.write(f"{request}\n")
            stdin.flush()
        return stdout.readline().strip() or None
    except OSError:
        return None


def _pipes(process: Popen[str]) -> tuple[IO[str], IO[str]]:
    assert process.stdin is not None
    assert process.stdout is not None
    return process.stdin, process.stdout


def _start(limit_s: float, memory: int) -> Popen[str]:
    """Raises OSError. Ctrl-C in the terminal does not reach the process; its reply is awaited, or it is killed."""
    from subprocess import DEVNULL, PIPE, Popen

    program = str(Path(__file__).with_name("symbolic_child.py"))
    command = [sys.executable, "-P", program, str(limit_s), str(memory)]
    environ = {**os.environ, "PYTHONHASHSEED": "0"}  # sympy's results can depend on the order of sets
    flags = 0
    if sys.platform == "win32":
        from subprocess import CREATE_NEW_PROCESS_GROUP

        flags = CREATE_NEW_PROCESS_GROUP
    return Popen(
        command,
        stdin=PIPE,
        stdout=PIPE,
        stderr=DEVNULL,
        text=True,
        encoding="ascii",
        env=environ,
        creationflags=flags,
        start_new_session=True,
    )
