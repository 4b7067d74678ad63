"""The results of prompt lines: one JSON object each, in the order of the lines or as they come."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from r1.console import Console
from r1.evaluate.symbolic import Verifier
from r1.evaluate.vote_report import literal_line
from r1.render.lines_progress import LinesProgress
from r1.render.outcome import ended_early
from r1_quantize import units
from r1_quantize.errors import ExitStatus

Fields = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Result:
    """The JSON object of a line, and the exit status that it stands for. `thinking` is to be shown on stderr."""

    fields: Fields
    status: ExitStatus
    thinking: str = ""


class Results:
    """Prints results. Those that have to wait for an earlier line are held."""

    def __init__(self, console: Console, progress: LinesProgress, *, in_order: bool) -> None:
        self.complete = 0  # answers
        self._console = console
        self._progress = progress
        self._in_order = in_order
        self._held: dict[int, Result] = {}
        self._places = 0
        self._next = 0
        self._lines = 0
        self._errors = 0
        self._incomplete = 0
        self._invalid = 0
        self._prose = 0
        self._literally = 0  # pairs of answers that were compared as texts
        self._thinking_ended = 0  # by something else than the model
        self._first_error = ExitStatus.OK

    @property
    def held(self) -> int:
        """Results that wait for an earlier line."""
        return len(self._held)

    def place(self) -> int:
        """The place of the next line."""
        self._places += 1
        return self._places - 1

    def add(self, place: int, result: Result) -> None:
        """Prints the result of the line at `place`, once the results of all earlier places are printed.

        Raises BrokenPipeError if the reader of stdout went away, and R1Error if stdout cannot be written.
        """
        if not self._in_order:
            self._print(result)
            return
        self._held[place] = result
        while self._next in self._held:
            self._print(self._held.pop(self._next))
            self._next += 1

    def print_held(self) -> None:
        """Prints the results that still wait; for an end before all lines are answered."""
        for place in sorted(self._held):
            self._print(self._held.pop(place))

    def sum_up(self) -> ExitStatus:
        """Warns about lines that failed, and answers that were cut off or have not their form; says whose thinking was
        ended, and what became of votes. The first failure determines the status.
        """
        self._say_what_scripts_may_miss()
        if self._errors:
            self._console.warn(f"{self._of(self._errors, 'line')} failed; {_see('error', self._errors)}")
        if self._incomplete:
            are = "is" if self._incomplete == 1 else "are"
            see = _see("finish_reason", self._incomplete)
            self._console.warn(f"{self._of(self._incomplete, 'answer')} {are} incomplete; {see}")
        if self._invalid:
            have = "does not have its" if self._invalid == 1 else "do not have their"
            self._console.warn(f"{self._of(self._invalid, 'answer')} {have} form; {_see('valid', self._invalid)}")
        if self._errors:
            return self._first_error
        return ExitStatus.INCOMPLETE if self._incomplete or self._invalid else ExitStatus.OK

    def _say_what_scripts_may_miss(self) -> None:
        """What is no failure, although an answer may be worse for it."""
        if self._console.quiet:
            return
        if self._thinking_ended:
            lines, see = self._of(self._thinking_ended, "line"), _see("thinking_end", self._thinking_ended)
            self._console.warn(f"the thinking for {lines} was ended before the model did; {see}")
        if self._prose:
            lines, see = self._of(self._prose, "line"), _see("prose", self._prose)
            self._console.warn(f"the answers to {lines} had nothing short in them to vote on; {see}")
        if self._literally:
            has_math_verify = Verifier.if_installed() is not None
            say = self._console.note if has_math_verify else self._console.warn
            say(literal_line(self._literally, has_math_verify=has_math_verify))

    def _of(self, number: int, noun: str) -> str:
        """`1 of 4 lines`."""
        return f"{number:,} of {units.count(self._lines, noun)}"

    def _print(self, result: Result) -> None:
        self._lines += 1
        if "error" in result.fields:
            self._first_error = self._first_error if self._errors else result.status
            self._errors += 1
        else:
            self.complete += result.status is ExitStatus.OK
            is_invalid = result.fields.get("valid") is False
            self._invalid += is_invalid
            self._incomplete += result.status is ExitStatus.INCOMPLETE and not is_invalid
            self._thinking_ended += _thinking_ended_early(result.fields)
            self._prose += result.fields.get("prose") is True
            self._literally += result.fields.get("compared_literally", 0)
        with self._progress.aside():
            if result.thinking:
                self._console.err(f"{result.thinking}\n", dim=True)
            self._console.json(result.fields, one_line=True)


def _see(key: str, results: int) -> str:
    return f"see `{key}` in {'its object' if results == 1 else 'their objects'}"


def _thinking_ended_early(fields: Fields) -> bool:
    usage = fields.get("usage", {})
    return ended_early(fields.get("thinking_end"), fields.get("finish_reason", "stop"), usage.get("thinking_tokens", 0))
