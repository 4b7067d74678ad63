r"""What an answer says in the end: what is in its last `\boxed{…}`, a short last line, or all of it with a form."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

from r1.evaluate.formula import last_boxed
from r1.evaluate.normal_form import Infinity, Letter, NormalForm, Number, Truth, normal_form

if TYPE_CHECKING:
    from r1.forms.form import Form

_LONGEST_LINE = 120  # characters
_TAIL = 2_000  # characters at the end of an answer, where its last line is looked for

_FRAME = re.compile(r"(?:\\[\[\]()]|\\(?:begin|end)\{\w+\*?\}|[*_$\s])+|```\w*")
_LEAD = re.compile(
    r"(?:.{0,80}?\b(?:answer|result|solution|choice|option|total|value)\b[^:=]{0,40}?(?:\s(?:is|are|equals)\b|[:=])"
    r"|(?:so|thus|therefore|hence)\b,?)[\s:=*_]*",
    re.IGNORECASE,
)
_MARKUP = re.compile(r"\*\*|__|`|^\s*#+")


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
    lines = (line.strip() for line in reversed(answer[-_TAIL:].splitlines()))
    line = next((line for line in lines if line and not _FRAME.fullmatch(line)), "")
    if len(line) > _LONGEST_LINE:
        return None
    line = _MARKUP.sub("", line).strip()
    lead = _LEAD.match(line)
    said = line[lead.end() :].strip() if lead else line
    said = said.lstrip("=: ").rstrip(".,;: ")
    return next((each for each in (_right_side(said), said) if each and _is_short(normal_form(each))), None)


def _right_side(line: str) -> str:
    """What is behind the last equals sign of a calculation, as in 17 + 25 = 42; not of `x = 1 or x = 2`."""
    left, _, right = line.rpartition("=")
    return right.strip() if left and not re.search(r"(?<!\\)\b[A-Za-z]{2,}|[,;]", left) else ""


def _is_short(form: NormalForm | None) -> bool:
    return isinstance(form, Number | Infinity | Letter | Truth)
