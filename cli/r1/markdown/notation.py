"""Mathematics on a grid of characters: superscripts and subscripts, fractions, columns, tall brackets."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from itertools import zip_longest

from rich.cells import cell_len

FRACTION, FRACTION_END = "\x04", "\x05"  # around a fraction until its neighbours are known
_MARKS = re.compile("[\x02-\x05]")  # marks of zero width; \x02 and \x03 are around a box
_SMALL = [
    (0xB2, 0xBA),
    (0x2B0, 0x2E0),
    (0x1D2C, 0x1DC0),
    (0x2070, 0x20A0),
    (0x2C7C, 0x2C7E),
]  # Unicode ranges with small signs
_BRACKETS = {  # for one line; for several: top, middle, bottom
    "(": ("(", ("⎛", "⎜", "⎝")),
    ")": (")", ("⎞", "⎟", "⎠")),
    "[": ("[", ("⎡", "⎢", "⎣")),
    "]": ("]", ("⎤", "⎥", "⎦")),
    "{": ("{", ("⎧", "⎪", "⎩")),
    "}": ("}", ("⎫", "⎪", "⎭")),
    "|": ("|", ("│", "│", "│")),
    "‖": ("‖", ("‖", "‖", "‖")),
}


def _signs(kind: str) -> dict[str, str]:
    """Character → its raised ("<super>") or lowered ("<sub>") form, from the Unicode character database."""
    signs = {"-": "⁻" if kind == "<super>" else "₋"}
    for first, end in _SMALL:
        for small in map(chr, range(first, end)):
            form, _, code = unicodedata.decomposition(small).partition(" ")
            if form == kind and " " not in code:
                signs.setdefault(chr(int(code, 16)), small)
    return signs


_RAISED = _signs("<super>") | {"∘": "°", "′": "′", "'": "′", "o": "ᵒ", "a": "ᵃ"}
_LOWERED = _signs("<sub>")
_SCRIPTS = "".join({*_RAISED.values(), *_LOWERED.values()}) + "^_"
_TIGHT = re.compile(r"\s*([-+=<>·×/≤≥≠∈→|])\s*")
_AFTER_NAME = re.compile(rf"(?<=[a-z]{{2}}) (?=[({re.escape(_SCRIPTS)}])")
_INSIDE = re.compile(r"(?<=[(\[{⌊⌈⟨]) +| +(?=[)\]}⌋⌉⟩])")
_SCRIPT = rf"[{re.escape(_SCRIPTS[:-2])}]*"
_FACTOR = re.compile(  # denominators that need no parentheses
    rf"(?:\d[\d.,]*|√?[^\W\d_]{_SCRIPT}|[d∂][^\W\d_]|√\d+|[^\W\d_]{{3,}}|√?\([^()]*\)){_SCRIPT}"
)
_TERM = re.compile(r"[^\s/+\-−±=,]+")  # numerators that need none


def raised(text: str) -> str:
    """A superscript."""
    return _script(text, _RAISED, "^")


def lowered(text: str) -> str:
    """A subscript."""
    return _script(text, _LOWERED, "_")


def _script(text: str, signs: dict[str, str], mark: str) -> str:
    text = _TIGHT.sub(r"\1", text.strip())
    if text and all(sign in signs for sign in text):
        return "".join(signs[sign] for sign in text)
    return f"{mark}{text}" if len(text) == 1 else f"{mark}({text})"


def fraction(above: str, below: str) -> str:
    """a/b, with parentheses where numerator or denominator would be ambiguous."""
    above, below = above.strip(), below.strip()
    above = above if _TERM.fullmatch(above) or _is_enclosed(above) else f"({above})"
    below = below if _FACTOR.fullmatch(below) else f"({below})"
    return f"{FRACTION}{above}/{below}{FRACTION_END}"


def root(text: str, degree: str) -> str:
    """√x, ∛(x+1)."""
    sign = {"": "√", "2": "√", "3": "∛", "4": "∜"}.get(degree) or f"{raised(degree)}√"
    text = text.strip()
    return sign + (text if re.fullmatch(r"\d+|\w", text) else f"({text})")


def over_each(text: str, sign: str) -> str:
    """Adds a combining character to every letter, for bars and arrows over several letters."""
    return "".join(letter if letter.isspace() else letter + sign for letter in text)


def settled(line: str) -> str:
    """`line` with parentheses around each fraction that would otherwise merge with its neighbours."""

    def set_off(match: re.Match[str]) -> str:
        before, after = line[: match.start()].rstrip()[-1:], line[match.end() :].lstrip()[:1]
        if before.isdigit() and re.fullmatch(r"\d+/\d+", match[1]):
            return f" {match[1]}"  # 2 1/2, a mixed number
        is_factor = before.isalnum() or (before and before in f")]{FRACTION_END}{_SCRIPTS}")
        is_factor = is_factor or after.isalnum() or (after and after in f"([√^{FRACTION}{_SCRIPTS}")
        return f"({match[1]})" if is_factor else match[1]

    line = re.sub(f"{FRACTION}([^{FRACTION}{FRACTION_END}]*){FRACTION_END}", set_off, line)
    line = re.sub(r" *(\u00a0+) *", r"\1", re.sub(r"[ \t\n]+", " ", line))  # no other space beside a wide one
    return _AFTER_NAME.sub("", _INSIDE.sub("", line))


def beside(left: str, right: str) -> str:
    """Two blocks of lines side by side, vertically centred."""
    if "\n" not in left and "\n" not in right:
        return left + right
    blocks = [left.split("\n"), right.split("\n")]
    height = max(map(len, blocks))
    for block in blocks:
        above = (height - 1) // 2 - (len(block) - 1) // 2
        block[:] = [""] * above + block + [""] * (height - above - len(block))
    width = max(map(columns, blocks[0]))
    return "\n".join(padded(one, width) + other for one, other in zip(*blocks, strict=True))


def grid(rows: Sequence[Sequence[str]], *, alternate: bool) -> str:
    """Cells in columns; `alternate` aligns them right, left, right, …, as in equations."""
    widths = [max(map(columns, column)) for column in zip_longest(*rows, fillvalue="")]
    gap = " " if alternate else "  "
    return "\n".join(
        gap.join(
            padded(cell, width, right=alternate and not index % 2)
            for index, (cell, width) in enumerate(zip(row, widths, strict=False))
        ).rstrip()
        for row in rows
    )


def enclosed(block: str, left: str, right: str) -> str:
    """A block of lines between brackets of its height."""
    if not left and not right:
        return block
    lines = block.split("\n")
    width = max(map(columns, lines))
    edges = [_bracket(side, len(lines)) for side in (left, right)]
    return "\n".join(
        f"{one} {padded(line, width)} {other}".strip()
        for one, line, other in zip(edges[0], lines, edges[1], strict=True)
    )


def _bracket(side: str, height: int) -> list[str]:
    if not side:
        return [""] * height
    single, (top, middle, bottom) = _BRACKETS[side]
    if height == 1:
        return [single]
    signs = [top, *[middle] * (height - 2), bottom]
    if side == "{" and height % 2:
        signs[height // 2] = "⎨"
    return signs


def columns(text: str) -> int:
    """The width of `text` on a terminal."""
    return cell_len(_MARKS.sub("", text))


def padded(text: str, width: int, *, right: bool = False) -> str:
    """`text`, filled with spaces to `width` columns."""
    spaces = " " * (width - columns(text))
    return spaces + text if right else text + spaces


def _is_enclosed(text: str) -> bool:
    return text.startswith("(") and text.endswith(")") and "(" not in text[1:] and ")" not in text[:-1]
