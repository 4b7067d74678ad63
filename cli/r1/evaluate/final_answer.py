r"""What an answer says in the end: what is in its last `\boxed{…}`, a short last line, or all of it with a form."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

from r1.evaluate.formula import last_boxed
from r1.evaluate.normal_form import Infinity, Letter, Number, Truth, Words, normal_form
from r1.evaluate.units import is_known

if TYPE_CHECKING:
    from r1.forms.form import Form

_LONGEST_LINE = 120  # characters
_TAIL = 2_000  # characters at the end of an answer, where its last line is looked for

_FRAME = re.compile(r"(?:\\[\[\]()]|\\(?:begin|end)\{\w+\*?\}|[*_$\s])+|```\w*|(?:-\s*){3,}|={3,}")
_RESULTS = (
    "answer|result|solution|choice|option|total|value|sum|product|difference|quotient|remainder|probability|number|count"
    "|average|mean|median|area|perimeter|volume|length|distance|height|width|radius|speed|cost|price|age|ratio"
)
_LEAD = re.compile(
    rf"(?:.{{0,80}}?\b(?:{_RESULTS})\b[^:=]{{0,40}}?(?:\s(?:is|are|equals)\b|[:=])"
    r"|(?:so|thus|therefore|hence)\b,?)[\s:=*_]*",
    re.IGNORECASE,
)
_DENIAL = re.compile(r"\b(?:wrong|incorrect|false)\b", re.IGNORECASE)
_COUNT = re.compile(r"There (?:is|are) (?:exactly |only )?(\d[\d,]*) [^\d,;:]{1,40} in \S+(?: [^\d\s]+){0,2}")
_MARKUP = re.compile(r"\*\*|__|`|^\s*#+")
_EMOJI = re.compile(r"[\s\u2600-\u27bf\ufe0f\U0001f000-\U0001faff]+$")
_OUTSIDE = re.compile(r"^(?:\\[(\[]|\s)+|(?:\\[)\]]|\s)+$")  # of a formula
_FRAMES = re.compile(r"(?<!\\)\\[()\[\]]")
_ITEM = re.compile(r"(\d+[.)]|[A-Za-z][.):]|[-*•])\s+(\S.*)")  # of a list
_LONE_LETTER = re.compile(r"[A-Za-z]\.?")
_COUNTED = re.compile(r"[^A-Za-z]*\s[a-z]+")


def final_answer(answer: str, form: Form | None = None) -> str | None:
    r"""The answer in short; None where there is none, as in prose, and where an answer does not have the `form`.

    With a form it is the whole answer; JSON with its keys sorted, and numbers that are equal written alike. Without one
    it is the content of the last complete box; or else the last line, if it is a number, perhaps with a unit, or the
    letter of a choice, or yes or no. Takes time in proportion to the length.
    """
    if form is not None:
        return _formed(answer.strip(), form)
    return last_boxed(answer) or _short_last_line(answer)


def _formed(answer: str, form: Form) -> str | None:
    if not answer or form.problem(answer) is not None:
        return None
    return _canonical_json(answer) if form.kind == "schema" else answer


def _canonical_json(text: str) -> str:
    """As it is, where Python cannot read it: an integer of thousands of digits, nested thousands of levels."""
    try:
        return json.dumps(json.loads(text, parse_float=_number), sort_keys=True, ensure_ascii=False, allow_nan=False)
    except (ValueError, RecursionError):
        return text


def _number(text: str) -> float:
    """1.0 as 1: JSON Schema takes them for equal."""
    number = float(text)
    return int(number) if number.is_integer() and abs(number) < 1 << 53 else number


def _short_last_line(answer: str) -> str | None:
    lines = [line for line in map(_cleaned, answer[-_TAIL:].splitlines()) if line and not _FRAME.fullmatch(line)]
    line, before = lines[-1] if lines else "", lines[-2] if len(lines) > 1 else ""
    if not line or len(line) > _LONGEST_LINE:
        return None
    led = _behind_lead(line)
    is_led = led != line
    said = _bare(led if is_led else _without_lead(line, before))
    return next((each for each in (_bare(_right_side(said)), said) if each and _is_short(each, is_led)), None)


def _bare(text: str) -> str:
    """Without the frame of a formula, and the end of a sentence, which may stand in the frame."""
    while (inner := _without_frame(text)) != text:
        text = inner
    return text


def _without_frame(text: str) -> str:
    r"""Frames that do not belong together are left, as in `\(5\) or \(6\)`."""
    text = text.lstrip("=≈: ").rstrip(".,;: ")
    inner = _OUTSIDE.sub("", text)
    text = text.strip() if _FRAMES.search(inner) else inner
    is_framed = len(text) > 2 and text[0] == text[-1] == "$" and "$" not in text.strip("$")
    return text[1:-1].strip() if is_framed else text


def _cleaned(line: str) -> str:
    return _EMOJI.sub("", _MARKUP.sub("", line.strip())).strip()


def _behind_lead(line: str) -> str:
    """What follows "The answer is", of which there can be two: "Final answer: the sum is 42"."""
    for _ in range(2):
        if (lead := _LEAD.match(line)) is not None:
            line = "" if _DENIAL.search(lead.group()) else line[lead.end() :].strip()
    return line


def _without_lead(line: str, before: str) -> str:
    """What a line says by itself: nothing if it is an item of a list, or a signature."""
    if (count := _COUNT.fullmatch(line.rstrip("."))) is not None:
        return count[1]
    if _LONE_LETTER.fullmatch(line):
        return "" if before.endswith(",") else line
    item = _ITEM.fullmatch(line)
    if item is None:
        return line
    mark, rest = item.groups()
    if mark[0].isdigit() or mark.endswith(":") or _ITEM.fullmatch(before):
        return ""
    if mark[0].isalpha():  # of a choice, with its text
        return line
    is_minus = mark == "-" and not before.endswith(":")
    return "" if re.search("[A-Za-z]{2}", rest) else line if is_minus else rest


def _right_side(line: str) -> str:
    """What is behind the last equals sign of a calculation, as in 17 + 25 = 42; not of `x = 1 or x = 2`."""
    left, _, right = line.rpartition("=")
    return right.strip() if left and not re.search(r"(?<!\\)\b[A-Za-z]{2,}|[,;]", left) else ""


def _is_short(text: str, is_led: bool) -> bool:
    """A number without a lead is no answer in front of more words than what it counts: 1984 George Orwell."""
    form = normal_form(text)
    if isinstance(form, Words):
        return is_led and form.text[0].isdigit()  # a date or time
    if isinstance(form, Number) and not is_led:
        return form.unit is None or is_known(form.unit) or _COUNTED.fullmatch(text) is not None
    return isinstance(form, Number | Infinity | Letter | Truth)
