r"""The problems of an evaluation: lines of JSON with a question and its answer, or the built-in ones.

The names of the fields are those of published sets, in any case: a question is `problem`, `question` or `prompt`; its
answer is `answer`, as MATH-500 and AIME have it, or what follows `####` in it, as in GSM8K. A line with choices has
them as `choices` or `options` (an array, an object by letter, or ARC's `text` and `label`), or as fields A, B, C and D;
its answer is a letter, a choice, or a number that counts from 0, as in MMLU. In place of an answer a line can have a
`check`: a regular expression that the final answer matches.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO

from r1.console import printable
from r1.evaluate.choices import LETTERS
from r1.forms.regex import Node, compile_regex, matches
from r1.prompt_input import BadLine as UnreadableLine
from r1.prompt_input import decode_json, is_utf8
from r1_quantize import units
from r1_quantize.errors import UsageError

INSTRUCTION = r"Please reason step by step, and put your final answer within \boxed{}."
"""What DeepSeek adds to mathematical questions: "Usage Recommendations" in the README of DeepSeek-R1."""

CHOICE_INSTRUCTION = r"Please reason step by step, and put the letter of the right choice within \boxed{}."

BUILT_IN = ("tiny",)
"""The names that `builtin` knows."""

_QUESTIONS = ("problem", "question", "prompt")
_ANSWERS = ("answer", "answerkey")
_IDS = ("id", "unique_id", "problem_id", "question_id", "task_id")
_CHOICES = ("choices", "options")
_COLUMNS = "abcdefghij"  # of choices
_KNOWN = frozenset((*_QUESTIONS, *_ANSWERS, *_IDS, *_CHOICES, *_COLUMNS, "check"))
_LONGEST_LINE = 16 << 20  # bytes
_MOST_SKIPPED = 1 << 30  # bytes of a line that is too long, before the rest is not looked for any more
_LONGEST_ID = 200  # characters
_GSM8K_MARK = "####"


@dataclass(frozen=True)
class Problem:
    """A question, and how to know a right answer: by `answer`, or by a regular expression, `check`.

    `line` is its number in the file, from 1. With `choices`, the answer is a letter.
    """

    id: str
    line: int
    question: str
    answer: str | None
    check: str | None = None
    choices: tuple[str, ...] = ()

    def prompt(self, instruction: str | None) -> str:
        """What the model is asked: the question, the choices by letter, and then the instruction."""
        choices = "\n".join(f"{letter}) {text}" for letter, text in zip(LETTERS, self.choices, strict=False))
        return "\n\n".join(part for part in (self.question, choices, instruction) if part)

    def passes_check(self, answer: str) -> bool:
        """Whether the whole of an answer matches `check`, which is there."""
        return matches(self._expression, answer)

    @cached_property
    def _expression(self) -> Node:
        return compile_regex(self.check or "")


@dataclass(frozen=True, slots=True)
class BadLine:
    """A line that is no problem, and why."""

    line: int
    reason: str


def read_problems(source: BinaryIO) -> Iterator[Problem | BadLine]:
    """What each line of `source` is; blank lines are skipped.

    Raises OSError if it cannot be read, and UsageError for a line without an end.
    """
    for number, raw in enumerate(_lines(source), start=1):
        if raw is None:
            yield BadLine(number, f"line {number} is longer than {units.size(_LONGEST_LINE)}")
        elif raw.strip():
            try:
                yield _problem(number, decode_json(number, raw))
            except UnreadableLine as exc:
                yield BadLine(number, str(exc))


def builtin(name: str) -> list[Problem]:
    """The problems that come with r1: `tiny` has the 400 questions that the model of this name was not trained on.

    Raises UsageError for another name.
    """
    if name not in BUILT_IN:
        raise UsageError(f"no built-in problems are called {name!r:.80}; there are: {', '.join(BUILT_IN)}")
    with builtin_file(name).open("rb") as file:
        return [problem for problem in read_problems(file) if isinstance(problem, Problem)]


def builtin_file(name: str) -> Path:
    """The file that `builtin` reads; `scripts/tiny/problems.py` writes it."""
    return Path(__file__).with_name(f"{name}.jsonl")


def _lines(source: BinaryIO) -> Iterator[bytes | None]:
    """Each line; None for one that is too long. Raises UsageError if its end is too far away."""
    while line := source.readline(_LONGEST_LINE):
        is_whole = len(line) < _LONGEST_LINE or line.endswith(b"\n")
        yield line if is_whole else None
        skipped = 0
        while not is_whole and (piece := source.readline(_LONGEST_LINE)):
            skipped += len(piece)
            is_whole = piece.endswith(b"\n")
            if skipped > _MOST_SKIPPED:
                raise UsageError(f"a line has more than {units.size(_MOST_SKIPPED)}; each line holds one problem")


def _problem(number: int, value: object) -> Problem:
    """Raises UnreadableLine."""
    if not isinstance(value, dict):
        raise UnreadableLine(f"line {number} is not a JSON object")
    record = _in_lower_case(number, value)
    question = _text(number, record, _QUESTIONS)
    if question is None:
        raise UnreadableLine(f'line {number} has no question; name it "problem", "question" or "prompt"')
    choices = _choices(number, record)
    answer, check = _answer(number, record), _check(number, record)
    if answer is None and check is None:
        raise UnreadableLine(f'line {number} has no "answer", and no "check"')
    if answer is not None and choices:
        _, value = _first(record, _ANSWERS) or ("", None)
        answer = _letter(number, value, answer, choices)
    texts = tuple(text for _, text in choices)
    return Problem(_id(number, record), number, question, answer, check, texts)


def _in_lower_case(number: int, value: Mapping[str, Any]) -> dict[str, Any]:
    """The fields by their names in lower case. Raises UnreadableLine for `Question` beside `question`."""
    record: dict[str, Any] = {}
    for name, content in value.items():
        if name.lower() in record and name.lower() in _KNOWN:
            raise UnreadableLine(f'line {number} has two fields "{name.lower()}", in other case; leave one of them out')
        record[name.lower()] = content
    return record


def _first(record: Mapping[str, Any], names: tuple[str, ...]) -> tuple[str, Any] | None:
    """The first of these fields that the record has, with its value. Null counts as none."""
    return next(((name, record[name]) for name in names if record.get(name) is not None), None)


def _text(number: int, record: Mapping[str, Any], names: tuple[str, ...]) -> str | None:
    """The text of the first of these fields; None without any, and if it is blank. Raises UnreadableLine."""
    found = _first(record, names)
    if found is None:
        return None
    name, value = found
    if not isinstance(value, str):
        raise UnreadableLine(f'line {number}: "{name}" is not text')
    if not is_utf8(value):
        raise UnreadableLine(f'line {number}: "{name}" has half of a surrogate pair, which is not a character')
    return value if value.strip() else None


def _answer(number: int, record: Mapping[str, Any]) -> str | None:
    """The answer as text: it may be a number, true or false. Raises UnreadableLine for anything else."""
    found = _first(record, _ANSWERS)
    if found is None:
        return None
    name, value = found
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int) or (isinstance(value, float) and math.isfinite(value)):
        return _number(number, value)
    text = _text(number, {name: value}, (name,))
    return None if text is None else text.rpartition(_GSM8K_MARK)[2].strip() or None


def _number(number: int, value: float) -> str:
    try:
        return str(value)
    except ValueError as exc:  # Python writes no integer of thousands of digits
        raise UnreadableLine(f'line {number}: "answer" is too long a number; write it as text') from exc


def _check(number: int, record: Mapping[str, Any]) -> str | None:
    check = _text(number, record, ("check",))
    if check is not None:
        try:
            compile_regex(check)
        except UsageError as exc:
            raise UnreadableLine(f'line {number}: "check": {exc}') from exc
    return check


def _id(number: int, record: Mapping[str, Any]) -> str:
    """On one line, and without what would change a terminal."""
    found = _first(record, _IDS)
    value = found[1] if found is not None else None
    if isinstance(value, int) and not isinstance(value, bool) and value.bit_length() < _LONGEST_ID:
        return str(value)
    text = printable(" ".join(value[:_LONGEST_ID].split())) if isinstance(value, str) else ""
    return text.encode("utf-8", "replace").decode() or f"line {number}"


Choices = list[tuple[str, str]]
"""Each choice with the label that the file gives it."""


def _choices(number: int, record: Mapping[str, Any]) -> Choices:
    """The choices in their order; none for a question without. Raises UnreadableLine."""
    found = _first(record, _CHOICES)
    if found is not None:
        pairs = _listed(found[1])
    elif all(record.get(letter) is not None for letter in "ab"):
        columns = (letter for letter in _COLUMNS if record.get(letter) is not None)
        pairs = [(letter.upper(), record[letter]) for letter in columns]
    else:
        return []
    texts = [(str(label), _choice_text(text)) for label, text in pairs]
    choices = [(label, text) for label, text in texts if text]
    if len(choices) < len(texts) or not 2 <= len(choices) <= len(LETTERS):
        raise UnreadableLine(f"line {number} has choices that are not from 2 to {len(LETTERS)} texts")
    return choices


def _listed(value: object) -> list[tuple[object, object]]:
    """An array, an object by label, or ARC's object of two arrays; none for anything else."""
    if isinstance(value, list):
        return [*zip(LETTERS, value, strict=False)] if len(value) <= len(LETTERS) else []
    if not isinstance(value, dict):
        return []
    texts, labels = value.get("text"), value.get("label")
    if isinstance(texts, list) and isinstance(labels, list) and len(texts) == len(labels):
        return [*zip(labels, texts, strict=True)]
    return [*value.items()]


def _choice_text(value: object) -> str:
    """Empty for what is no choice."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return f"{value}" if abs(value) < 1e300 else ""
    return value.strip() if isinstance(value, str) and is_utf8(value) else ""


def _letter(number: int, value: object, answer: str, choices: Choices) -> str:
    """The letter of the choice that is the answer: by its label, by its text, or by its number. Raises UnreadableLine.

    Labels may be numbers themselves, as some of ARC's. Otherwise a number counts the choices from 0, and so does its
    text, unless it is that of a choice.
    """
    label = answer.strip("(). ").upper()
    is_number = isinstance(value, int) and not isinstance(value, bool)
    by_label = [place for place, (known, _) in enumerate(choices) if known.upper() == label]
    by_text = [place for place, (_, text) in enumerate(choices) if text == answer and not is_number]
    if places := by_label + by_text:
        return LETTERS[places[0]]
    if len(answer) <= 2 and answer.isdecimal() and int(answer) < len(choices):
        return LETTERS[int(answer)]
    raise UnreadableLine(f"line {number} has an answer that is none of its choices")
