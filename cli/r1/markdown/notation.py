"""Mathematics on a grid of characters: superscripts and subscripts, fractions, columns, tall brackets."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from itertools import zip_longest

from rich.cells import cell_len

_MARKS = re.compile("[\x02\x03]")  # around a box; they have no width
_SMALL = [
    (0xB2, 0xBA),
    (0x2B0, 0x2E5),
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
    "⌊": ("⌊", ("⎢", "⎢", "⎣")),
    "⌋": ("⌋", ("⎥", "⎥", "⎦")),
    "⌈": ("⌈", ("⎡", "⎢", "⎢")),
    "⌉": ("⌉", ("⎤", "⎥", "⎥")),
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
_TIGHT = re.compile(r"\s*([-+=<>·×/≤≥≠∈→|])\s*")


def raised(text: str) -> str:
    """A superscript."""
    return _script(text, _RAISED, "^")


def lowered(text: str) -> str:
    """A subscript. A word needs no brackets: v_avg."""
    script = _script(text, _LOWERED, "_")
    return f"_{script[2:-1]}" if script.startswith("_(") and script[2:-1].isalpha() else script


def _script(text: str, signs: dict[str, str], mark: str) -> str:
    text = _TIGHT.sub(r"\1", text.strip())
    if text and all(sign in signs for sign in text):
        return "".join(signs[sign] for sign in text)
    return f"{mark}{text}" if len(text) == 1 else f"{mark}{bracketed(text)}"


def bracketed(text: str) -> str:
    """`text` in brackets, unless it is in brackets already."""
    return text if is_enclosed(text) else f"({text})"


def is_enclosed(text: str) -> bool:
    """Whether the first character is a bracket that the last one closes."""
    depth = 0
    for index, sign in enumerate(text):
        depth += (sign == "(") - (sign == ")")
        if not depth:
            return sign == ")" and index == len(text) - 1
    return False


def over_each(text: str, sign: str) -> str:
    """Adds a combining character to every letter, for bars and arrows over several letters."""
    return "".join(letter if letter.isspace() else letter + sign for letter in text)


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


def scripted(block: str, lower: str, upper: str) -> str:
    """A block with a superscript at its first line and a subscript at its last."""
    lines = block.split("\n")
    lines[0] += upper
    lines[-1] += lower
    return "\n".join(lines)


def grid(rows: Sequence[Sequence[str]], *, alternate: bool, sides: str = "") -> str:
    """Cells in columns; `alternate` aligns them right, left, right, …, as in equations; `sides` has l or r for each."""
    widths = [max(map(columns, column)) for column in zip_longest(*rows, fillvalue="")]
    gap = 1 if alternate else 2
    right = [not index % 2 if alternate else sides[index : index + 1] == "r" for index in range(len(widths))]
    blocks = []
    for row in rows:
        block, width = "", 0
        for cell, cell_width, is_right in zip(row, widths, right, strict=False):
            block = beside(padded(block, width), padded(cell, cell_width, right=is_right))
            width += cell_width + gap
        blocks += [line.rstrip() for line in block.split("\n")]
    return "\n".join(blocks)


def enclosed(block: str, left: str, right: str) -> str:
    """A block of lines between brackets of its height."""
    if not left and not right:
        return block
    lines = block.split("\n")
    width = max(map(columns, lines))
    edges = [_bracket(side, len(lines)) for side in (left, right)]
    gap = " " if left else ""
    return "\n".join(
        f"{one}{gap}{padded(line, width)} {other}".rstrip()
        for one, line, other in zip(edges[0], lines, edges[1], strict=True)
    )


def _bracket(side: str, height: int) -> list[str]:
    if not side:
        return [""] * height
    if side not in _BRACKETS:
        return [side if row == (height - 1) // 2 else " " * columns(side) for row in range(height)]
    single, (top, middle, bottom) = _BRACKETS[side]
    if height == 1:
        return [single]
    signs = [top, *[middle] * (height - 2), bottom]
    if side == "{" and height % 2:
        signs[height // 2] = "⎨"
    return signs


def columns(text: str) -> int:
    """The width of `text` on a terminal; of several lines, that of the widest."""
    return max(cell_len(_MARKS.sub("", line)) for line in text.split("\n"))


def padded(block: str, width: int, *, right: bool = False) -> str:
    """`block`, with each line filled with spaces to `width` columns; `right` moves it to the right side."""
    margin = " " * (width - columns(block)) if right else ""
    lines = [margin + line for line in block.split("\n")]
    return "\n".join(line + " " * (width - columns(line)) for line in lines)
