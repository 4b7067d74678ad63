"""The line below the draft: model, context used and left, thinking shown or hidden, the last speed.

Knows: what is said of a chat, in how many words on which width. Does not know: styles, drawing.
"""

from __future__ import annotations

from rich.cells import cell_len

from r1.chat.chat import Chat
from r1.chat.view import name_of

_SEPARATOR = " · "


def toolbar(chat: Chat, width: int) -> list[tuple[str, str]]:
    """Fragments of text and class (`warning` or nothing); on narrow screens in fewer words, and on two lines."""
    long, short = _parts(chat, brief=False), _parts(chat, brief=True)
    parts = long if _length(long) < width else short
    fragments: list[tuple[str, str]] = []
    column = 0
    for style, text in parts:
        lead = "" if not fragments else _SEPARATOR if column + cell_len(_SEPARATOR + text) < width else "\n"
        column = cell_len(text) if lead in {"", "\n"} else column + cell_len(lead + text)
        fragments += [("", lead), (style, text)]
    return fragments


def _parts(chat: Chat, *, brief: bool) -> list[tuple[str, str]]:
    thinking = "shown" if chat.shows_thinking else "hidden"
    parts = [("", _model(chat)), _context(chat, brief=brief), ("", f"thinking {thinking}"), ("", _speed(chat))]
    return [(style, text) for style, text in parts if text]


def _length(parts: list[tuple[str, str]]) -> int:
    return sum(cell_len(text) for _, text in parts) + len(_SEPARATOR) * (len(parts) - 1)


def _model(chat: Chat) -> str:
    name = name_of(chat.reference)
    if chat.loading is not None:
        return f"loading {name} {chat.loading:.0%}" if chat.loading < 1 else f"preparing {name}"
    return name if chat.ready else f"{name} not loaded"


def _context(chat: Chat, *, brief: bool) -> tuple[str, str]:
    if chat.ready is None:
        return "", ""
    style = "class:warning" if chat.nearly_full else ""
    left = max(chat.ready.ctx - chat.used, 0)
    if brief:
        return style, f"{_short(chat.used)} used, {_short(left)} left"
    return style, f"context {chat.used:,} used, {left:,} left"


def _speed(chat: Chat) -> str:
    timings = chat.turns[-1].timings if chat.turns else None
    return f"{timings.decode_tps:.1f} tok/s" if timings and timings.decode_tps else ""


def _short(tokens: int) -> str:
    return str(tokens) if tokens < 1000 else f"{tokens / 1000:.1f}k"
