"""Text that somebody else wrote, put into a Markdown document so that it cannot break out of its place.

Knows: the blocks of CommonMark that reach beyond their own line. Does not know: chats.
"""

from __future__ import annotations

import re

_DEEPER = 2
"""Levels by which a heading sinks: the document's own are # and ##."""

_FENCE = re.compile(r"\s*(`{3,}|~{3,})(.*)")
_HEADING = re.compile(r"^( {0,3})(#{1,6})(?=[ \t]|$)")
_UNDERLINE = re.compile(r" {0,3}(=+|-+)[ \t]*")  # which would make a heading of the line before
_TAG = re.compile(r"<(?=[a-zA-Z/!?])(?![a-zA-Z][a-zA-Z0-9+.-]*:)")  # not <https://…>
_REACHING = re.compile(r"<(?=/?(?:details|summary|script|style|pre|textarea)\b|!|\?)", re.IGNORECASE)
_SPAN = re.compile(r"((?<!`)(`+)(?!`).*?(?<!`)\2(?!`))")


def contained(text: str) -> str:
    """Markdown as it is, but for headings, which sink, tags, which are shown, and a fence that was left open."""
    lines: list[str] = []
    fence = ""
    for line in text.strip("\n").splitlines():
        match = _FENCE.fullmatch(line)
        if fence:
            lines.append(line)
            if match and match[1].startswith(fence) and not match[2].strip():
                fence = ""
        elif match and not (match[1][0] == "`" and "`" in match[2]):
            fence = match[1]
            lines.append(line)
        else:
            if _UNDERLINE.fullmatch(line) and lines and lines[-1].strip():
                lines.append("")
            lines.append(escaped(_HEADING.sub(_sunk, line)))
    return "\n".join([*lines, fence] if fence else lines)


def escaped(line: str) -> str:
    """A line whose tags are shown rather than obeyed; what stands in backticks is left, unless it reaches far."""
    parts = _SPAN.split(line)  # outside, span, its backticks, outside, …
    spans = (part if index % 3 == 0 else _REACHING.sub("&lt;", part) for index, part in enumerate(parts))
    return "".join(
        _TAG.sub("&lt;", part) if index % 3 == 0 else part for index, part in enumerate(spans) if index % 3 != 2
    )


def fenced(text: str) -> str:
    """Exactly `text`, in a fence longer than any in it."""
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", text)), default=0))
    return f"{fence}text\n{text}\n{fence}"


def code(text: str) -> str:
    """One line of text in backticks."""
    words = " ".join(text.split())
    ticks = "`" * (1 + max(map(len, re.findall("`+", words)), default=0))
    return f"{ticks} {words} {ticks}" if "`" in words else f"{ticks}{words}{ticks}"


def quoted(text: str) -> str:
    """As a block quote."""
    return "\n".join(f"> {line}".rstrip() for line in contained(text).splitlines())


def _sunk(heading: re.Match[str]) -> str:
    return heading[1] + "#" * min(6, len(heading[2]) + _DEEPER)
