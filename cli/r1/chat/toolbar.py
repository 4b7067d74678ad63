"""The line below the draft: vi mode, model, context used and left, thinking, and speed.

While the model thinks, its tokens and the budget take the place of whether the thinking is shown.
"""

from __future__ import annotations

from rich.cells import cell_len

from r1.chat.chat import Chat
from r1.chat.view import name_of

_SEPARATOR = " · "


def toolbar(chat: Chat, width: int, vi_mode: str = "") -> list[tuple[str, str]]:
    """Fragments of style class and text; on a narrow screen shorter, and on several lines. `vi_mode` comes first."""
    full, brief = (_parts(chat, vi_mode, brief=brief) for brief in (False, True))
    parts = full if _width(full) < width else brief
    fragments: list[tuple[str, str]] = []
    column = 0
    for style, text in parts:
        lead = "" if not fragments else _SEPARATOR if column + cell_len(_SEPARATOR + text) < width else "\n"
        column = cell_len(text) if lead in {"", "\n"} else column + cell_len(lead + text)
        fragments += [("", lead), (style, text)]
    return fragments


def _parts(chat: Chat, vi_mode: str, *, brief: bool) -> list[tuple[str, str]]:
    parts = [("", vi_mode), ("", _model(chat)), _context(chat, brief=brief), ("", _thinking(chat)), ("", _speed(chat))]
    return [(style, text) for style, text in parts if text]


def _width(parts: list[tuple[str, str]]) -> int:
    return sum(cell_len(text) for _, text in parts) + len(_SEPARATOR) * (len(parts) - 1)


def _model(chat: Chat) -> str:
    name, loading = name_of(chat.model.reference), chat.model.loading_to_show
    if loading is not None:
        return f"loading {name} {loading:.0%}" if loading < 1 else f"preparing {name}"
    return name if chat.model.ready or chat.model.loading is not None else f"{name} not loaded"


def _context(chat: Chat, *, brief: bool) -> tuple[str, str]:
    if not chat.model.is_counted:
        return "", ""
    style = "class:warning" if chat.model.is_nearly_full else ""
    used, left = chat.model.used, chat.model.left
    if brief:
        return style, f"{_short(used)} used, {_short(left)} left"
    return style, f"context {used:,} used, {left:,} left"


def _thinking(chat: Chat) -> str:
    reply = chat.reply
    if reply is None or not reply.is_thinking:
        return "thinking shown" if chat.thinking.is_shown else "thinking hidden"
    budget = f" of {reply.budget:,}" if reply.budget else ""
    return f"thinking {reply.text.thinking_tokens:,}{budget}"


def _speed(chat: Chat) -> str:
    """That of the running reply once it is measured, else of the last one."""
    tps = (chat.reply and chat.reply.decode_tps) or chat.model.decode_tps
    return f"{tps:.1f} tok/s" if tps else ""


def _short(tokens: int) -> str:
    return str(tokens) if tokens < 1000 else f"{tokens / 1000:.1f}k"
