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
import time
from collections.abc import Callable
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from subprocess import Popen

LONGEST = 2_000
"""Characters of a formula; a longer one is not compared."""

_LIMIT_S = 3.0  # for one comparison
_MEMORY = 1 << 30  # bytes of address space
_START_S = 60.0  # for the imports, from a cold disk
_MARGIN_S = 5.0  # after which a process that did not end itself is killed
_LOOK_S = 0.1  # between two looks at whether the wait is to end


class Verifier:
    """A helper process: started by the first comparison, and again after one that it did not survive.

    Not for several threads at once. `close` ends the process; it also ends when this one does, at the latest after the
    comparison under way.
    """

    def __init__(self, limit_s: float = _LIMIT_S, memory: int = _MEMORY) -> None:
        """With a time limit for a comparison, and a limit of the process's address space in bytes."""
        self.spent_s = 0.0  # on comparing, without the starts
        self._limit_s = limit_s
        self._memory = memory
        self._helper: _Helper | None = None
        self._is_broken = False
        self._hangs = Hangs()

    @classmethod
    def if_installed(cls) -> Self | None:
        """None without math-verify, which is in the extra `math`. Imports nothing."""
        return cls() if find_spec("math_verify") else None

    def verify(self, gold: str, answer: str, interrupted: Callable[[], bool] = lambda: False) -> bool | None:
        """Whether two formulas in LaTeX, without `$`, are equal. None: the process hung, died, or could not read them;
        or `interrupted`, which is looked at every tenth of a second, says yes. That ends the process.

        Takes at most the time limit, and a few seconds more for the first one. A formula that the process did not
        survive reading, or comparing with two others, is not given to it again. Symmetric.
        """
        if max(len(gold), len(answer)) > LONGEST or self._hangs.is_too_hard(gold, answer):
            return None
        try:
            helper = self._running(interrupted)
            return None if helper is None else self._timed(helper, (gold, answer), interrupted)
        except BaseException:  # also Ctrl-C: the reply would be taken for that of the next request
            self.close()
            raise

    def close(self) -> None:
        """Ends the process. The next comparison would start another one."""
        helper, self._helper = self._helper, None
        if helper is not None:
            helper.end()

    def _running(self, interrupted: Callable[[], bool]) -> _Helper | None:
        """Starts a process if there is none. One that never gets ready is not tried again."""
        if self._helper is not None and self._helper.has_ended:
            self.close()
        if self._helper is None and not self._is_broken and not interrupted():
            try:
                self._helper = _Helper(self._limit_s, self._memory)
            except OSError:
                self._is_broken = True
                return None
            if self._helper.reply(_START_S, interrupted) is None:
                self.close()
                self._is_broken = not interrupted()
        return self._helper

    def _timed(self, helper: _Helper, pair: tuple[str, str], interrupted: Callable[[], bool]) -> bool | None:
        began = time.monotonic()
        try:
            return self._compared(helper, pair, interrupted)
        finally:
            self.spent_s += time.monotonic() - began

    def _compared(self, helper: _Helper, pair: tuple[str, str], interrupted: Callable[[], bool]) -> bool | None:
        helper.ask(json.dumps(pair))
        read = 0
        while (reply := helper.reply(self._limit_s + _MARGIN_S, interrupted)) in ("1", "2"):
            read = int(reply)
        if reply is not None:
            if reply == "null":
                return None
            self._hangs.had_result(pair)
            return reply == "true"
        self.close()
        if not interrupted():
            self._hangs.add(pair, read)
        return None


class Hangs:
    """Which formulas are too hard: those that a process did not survive reading, or comparing with two others.

    One that was compared with a result is none of them, however many hard ones it meets: a right answer is compared
    with every other one.
    """

    def __init__(self) -> None:
        self._partners: dict[str, set[str]] = {}
        self._too_hard: set[str] = set()
        self._compared: set[str] = set()  # with a result

    def is_too_hard(self, *formulas: str) -> bool:
        """Whether one of them is."""
        return not self._too_hard.isdisjoint(formulas)

    def had_result(self, pair: tuple[str, str]) -> None:
        """The two were compared."""
        self._compared.update(pair)

    def add(self, pair: tuple[str, str], read: int) -> None:
        """A pair of which `read` formulas were read when the process hung or died.

        If both were, either can be the reason, but not one that hung only with those that are too hard.
        """
        if read < len(pair):
            self._too_hard.update({pair[read]} - self._compared)
            return
        for one, other in (pair, pair[::-1]):
            self._partners.setdefault(one, set()).add(other)
        hard = {one for one in pair if len(self._partners[one] - self._too_hard) > 1}
        self._too_hard |= hard - self._compared


class _Helper:
    """The process. A thread reads what it writes, so that the wait for a reply can end before there is one."""

    def __init__(self, limit_s: float, memory: int) -> None:
        """Raises OSError."""
        self._process = _start(limit_s, memory)
        self._replies: SimpleQueue[str] = SimpleQueue()
        self._reading = threading.Thread(target=self._read, name="r1-symbolic", daemon=True)
        self._reading.start()

    @property
    def has_ended(self) -> bool:
        return self._process.poll() is not None

    def ask(self, request: str) -> None:
        """Of a process that has ended, the reply is None."""
        assert self._process.stdin is not None
        with suppress(OSError):
            self._process.stdin.write(f"{request}\n")
            self._process.stdin.flush()

    def reply(self, limit_s: float, interrupted: Callable[[], bool]) -> str | None:
        """The next line. None: the process has ended, or there is none in time, or `interrupted` says yes."""
        until = time.monotonic() + limit_s
        while time.monotonic() < until and not interrupted():
            with suppress(Empty):
                return self._replies.get(timeout=_LOOK_S) or None
        return None

    def end(self) -> None:
        self._process.kill()
        self._process.wait()
        self._reading.join()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with suppress(OSError):  # what could not be written any more
                    pipe.close()

    def _read(self) -> None:
        """An empty reply is the last one."""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._replies.put(line.strip())
        self._replies.put("")


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
