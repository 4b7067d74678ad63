r"""An answer as a formula: without what is there for the eye only, such as `$`, `\left`, `\text{…}` and `\,`.

All in linear time, and for short texts only: the patterns are many.
"""

from __future__ import annotations

import re
from typing import NamedTuple

LONGEST = 2_000
"""Characters of a text that is read as a formula. A longer answer is compared as it is."""

CURRENCY = "\x01"  # a dollar sign that is money

_BOXES = re.compile(  # a run of backslashes is looked at from its beginning only: in linear time
    r"(?<!\\)\\+(?:boxed|fbox)\s*\{|(?<!\\)\\+(?:boxed|fbox)\s+([^\s\\{}$]+)|\\.|[{}]", re.DOTALL
)
_BETWEEN_BOXES = re.compile(r"(?:[\s,;$&}]|\\q?quad|\\[,;()\[\]\\ ]|\\(?:text|textbf|mathrm)\{|and|or)*")
_NOT_SPACE = re.compile(r"\S")
_LONGEST_ANSWER = 1_000_000  # characters; longer than any model's
_FARTHEST = 60  # characters between two boxes


def last_boxed(text: str) -> str | None:
    r"""What stands in the last `\boxed{…}` or `\fbox{…}` that is closed and not empty; None without one.

    Of boxes in each other, it is the outer one. Of several in a row, with nothing but commas, `and` or `or` between
    them, it is a list of all: R1 writes some lists so. Only the last million characters are looked at.
    """
    text = text[-_LONGEST_ANSWER:]
    boxes = _boxes(text)
    last = len(boxes)
    while last > 1 and _are_neighbours(text, boxes[last - 2].end, boxes[last - 1].start):
        last -= 1
    contents = (text[box.inner_start : box.inner_end].strip() for box in boxes[max(last - 1, 0) :])
    return ", ".join(dict.fromkeys(contents)) or None


class _Box(NamedTuple):
    """Where a box begins and ends in a text, and where its content does."""

    start: int
    end: int
    inner_start: int
    inner_end: int


def _are_neighbours(text: str, end: int, begin: int) -> bool:
    return begin - end <= _FARTHEST and _BETWEEN_BOXES.fullmatch(text, end, begin) is not None


def _boxes(text: str) -> list[_Box]:
    """In their order, without the empty ones, and those in another one."""
    boxes: list[_Box] = []
    opened: list[re.Match[str] | None] = []  # a match for each open brace that is that of a box
    for match in _BOXES.finditer(text):
        token = match.group()
        if token == "}":
            box = opened.pop() if opened else None
            if box is not None and _NOT_SPACE.search(text, box.end(), match.start()) is not None:
                while boxes and boxes[-1].start > box.start():
                    boxes.pop()
                boxes.append(_Box(box.start(), match.end(), box.end(), match.start()))
        elif match[1]:
            boxes.append(_Box(match.start(), match.end(), match.start(1), match.end(1)))
        elif token == "{":
            opened.append(None)
        elif token.endswith("{") and token != r"\{":
            opened.append(match)
    return boxes


_CHARACTERS = {
    **{
        "−": "-",
        "–": "-",
        "—": "-",
        "×": r"\times ",
        "·": r"\cdot ",
        "⋅": r"\cdot ",
        "÷": r"\div ",
        "∕": "/",
        "⁄": "/",
    },
    **{"±": r"\pm ", "∞": r"\infty ", "√": r"\sqrt ", "π": r"\pi ", "≤": r"\leq ", "≥": r"\geq ", "≠": r"\neq "},
    **{
        "∪": r"\cup ",
        "∩": r"\cap ",
        "∈": r"\in ",
        "∅": r"\emptyset ",
        "≈": r"\approx ",
        "θ": r"\theta ",
        "°": r"^\circ ",
    },
    **{"½": r"\frac{1}{2}", "⅓": r"\frac{1}{3}", "⅔": r"\frac{2}{3}", "¼": r"\frac{1}{4}", "¾": r"\frac{3}{4}"},
    **{"⅕": r"\frac{1}{5}", "⅛": r"\frac{1}{8}", "％": "%", "（": "(", "）": ")", "，": ",", "＝": "=", "’": "'"},
    **{chr(0xFF10 + digit): str(digit) for digit in range(10)},
    **dict.fromkeys("\u00a0\u2007\u2009\u200a\u202f", r"\,"),
    **dict.fromkeys("\u200b\u2060\ufeff\u2061\u2062", ""),
}
_TRANSLATION = str.maketrans(_CHARACTERS)

_RAISED = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻", "0123456789-")
_SUPERSCRIPT = re.compile("[⁰¹²³⁴⁵⁶⁷⁸⁹⁻]+")

_TEXT = re.compile(
    r"\\(?:text(?:bf|it|rm|normal|sf|tt|up)?|math(?:rm|bf|it|sf|tt)|[mh]box|operatorname\*?|emph|boldsymbol|bm)"
    r"\s*\{([^{}]*)\}"
)
_LETTER_UNIT = re.compile(
    r"(?<=[\w})])(?:\\[,;: ]|~|\s)*\\(?:text(?:rm|normal)?|mathrm)\s*\{\s*([mshgLlNJWVKA])\s*\}(?![a-zA-Z])"
)
_LETTER_UNITS = {
    **{"m": "meters", "s": "seconds", "h": "hours", "g": "grams", "L": "liters", "l": "liters", "N": "newtons"},
    **{"J": "joules", "W": "watts", "V": "volts", "K": "kelvins", "A": "amperes"},
}
_SUBSTITUTIONS = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"(?<=\d)\s*(?:\{,\}|,\\!|\\[,;: !]|\{ \}|~)\s*(?=\d{3}(?!\d))", ""),  # between thousands
        (r"(?<!\\)\\[()\[\]]", " "),  # around a formula
        (r"\\(?:left|right|middle|[bB]igg?[lrm]?)(?![a-zA-Z])\s*\.?", ""),
        (r"\\(?:displaystyle|textstyle|limits|nolimits)(?![a-zA-Z])", ""),
        (r"(?<!\\)\\!", ""),
        (r"(?<!\\)\\(?:[,;: ]|q?quad(?![a-zA-Z]))|~", " "),
        (r"\\[dtc]frac(?![a-zA-Z])", r"\\frac"),
        (r"\\(le|ge|ne)(?![a-zA-Z])", r"\\\1q"),
        (r"<=", r"\\leq "),
        (r">=", r"\\geq "),
        (r"(?<=[a-zA-Z ])!=", r"\\neq "),  # behind a number, it is a factorial
        (r"\\lt(?![a-zA-Z])", "<"),
        (r"\\gt(?![a-zA-Z])", ">"),
        (r"\\lbrace(?![a-zA-Z])", r"\\{"),
        (r"\\rbrace(?![a-zA-Z])", r"\\}"),
        (r"\\(?:varnothing(?![a-zA-Z])|\{\s*\\\})", r"\\emptyset "),
        (r"\\%", "%"),
        (r"\^\s*(?:\{\s*\\circ\s*\}|\\circ(?![a-zA-Z]))|\\degree(?![a-zA-Z])", r"^\\circ "),
        (r"^((?:(?!\\(?:sin|cos|tan|cot|sec|csc)).)*)\^\\circ\s*([CF]?)\s*$", r"\1 degrees \2"),
        (r"(?<![\\a-zA-Z])infinity(?![a-zA-Z])", r"\\infty "),
        (r"^\s*(?:\*\*|__|\*|`)(.*?)(?:\*\*|__|\*|`)([.]?)\s*$", r"\1\2"),  # Markdown
        (r"\s+", " "),
        (r"^[\s=:]+|[\s,;]+$|(?<!\.)\.\s*$", ""),
    )
)

_KEY_SUBSTITUTIONS = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"\\frac\s*(\d)\s*(\d)", r"\\frac{\1}{\2}"),
        (r"\\frac\s*(\d)\s*\{", r"\\frac{\1}{"),
        (r"\\sqrt\s*(\w)", r"\\sqrt{\1}"),
        (r"([_^])\{(\w)\}", r"\1\2"),
        (r"\\(?:cdot|times)(?![a-zA-Z])", "*"),
        (r"(?<!\d)\s+|\s+(?!\d)|\"", ""),  # 1 2 is not 12
        (r"(?<=[\d)}])\*(?=[a-zA-Z\\(])", ""),
        (r"(?<![<>!:])==", "="),
    )
)


def formula(text: str) -> str:
    """The formula, or the words, in an answer of at most LONGEST characters; spaces are single."""
    text = _SUPERSCRIPT.sub(lambda digits: f"^{{{digits.group().translate(_RAISED)}}}", last_boxed(text) or text)
    text = _without_dollars(text.translate(_TRANSLATION))
    text = _LETTER_UNIT.sub(lambda unit: f" {_LETTER_UNITS[unit[1]]}", text)  # without \text it is a variable
    for _ in range(2):  # \textbf{(\text{C})}
        text = _TEXT.sub(r" \1 ", text)
    for pattern, replacement in _SUBSTITUTIONS:
        text = pattern.sub(replacement, text)
    return text.strip()


def key(cleaned: str) -> str:
    """What two formulas have in common that differ only in how LaTeX can be written; for comparing."""
    for pattern, replacement in _KEY_SUBSTITUTIONS:
        cleaned = pattern.sub(replacement, cleaned)
    return cleaned


def _without_dollars(text: str) -> str:
    """Dollar signs in pairs are around formulas; another one is money, as an escaped one is."""
    text = text.replace(r"\$", CURRENCY)
    return text.replace("$", CURRENCY if text.count("$") % 2 else " ")
