"""`r1 chat`, and `r1` alone: a chat in the terminal, or in plain text where there is none to draw on.

Knows: how a chat is opened: which model, which session, which view. Does not know: how it goes on.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from r1.chat.view import Opening
from r1.console import Console
from r1.history.history import History, location
from r1.library import find_model, known_models, must_be_here
from r1.settings import Settings
from r1_quantize.errors import ModelNotFound, UsageError

_PATIENCE = 0.1  # seconds


@dataclass(frozen=True, slots=True)
class ChatOptions:
    """What the command line says about the chat. `model_given`: by a flag or an argument, not by a default."""

    model_given: bool = False
    go_on: bool = False
    session: str | None = None
    plain: bool = False


def chat(console: Console, wish: ChatOptions, settings: Settings) -> int:
    """Until the person leaves; the status of the last answer where nobody is there to see it."""
    if wish.go_on and wish.session is not None:
        raise UsageError("--continue takes up the last chat and --session a certain one; leave one of them out")
    # what is locked is written half a second later; nobody's keys are to wait for it
    with History.open(location(console.environ), patience=_PATIENCE) as history:
        session = _session(history, wish)
        opening = _opening(console, history, settings, wish, session)
        if wish.plain or not _can_draw(console):
            from r1.chat.plain import run_plain

            return run_plain(console, history, settings, opening)
        from r1.chat.screen import run_screen

        return run_screen(console, history, settings, opening)


def _session(history: History, wish: ChatOptions) -> int | None:
    if wish.session is not None:
        return history.find(wish.session)
    if not wish.go_on:
        return None
    latest = history.latest()
    if latest is None:
        raise UsageError("there is no chat to continue yet; `r1` opens one")
    return latest


def _opening(console: Console, history: History, settings: Settings, wish: ChatOptions, session: int | None) -> Opening:
    """The model is the one that was asked for, else the session's own, else the default. Raises ModelNotFound."""
    reference = settings.model
    turns = history.turns(session) if session is not None else []
    if turns and not wish.model_given:
        try:
            reference = must_be_here(console, turns[-1].asked.model)
        except ModelNotFound:
            console.warn(f"{turns[-1].asked.model}, which this chat was with, is not here any more")
    shown = {"show": True, "only": True, "hide": False}
    return Opening(
        reference=must_be_here(console, reference),
        check=lambda name: must_be_here(console, name),
        find=lambda name: _find(console, name),
        models=lambda: known_models(console.environ),
        hints=lambda: _hints(console, settings),
        session=session,
        shows_thinking=None if settings.thinking is None else shown[settings.thinking],
    )


def _find(console: Console, reference: str) -> tuple[str, Path]:
    model = find_model(console, reference)
    return model.reference, model.path


def _hints(console: Console, settings: Settings) -> Iterable[str]:
    from r1.hints import unused_gpus

    return unused_gpus(console.environ) if settings.device == "auto" else ()


def _can_draw(console: Console) -> bool:
    """A terminal on both sides, and one that knows more than lines."""
    terminals = console.stdin_is_terminal and console.stdout_is_terminal
    return terminals and console.environ.get("TERM", "dumb" if os.name == "posix" else "") not in {"dumb", "unknown"}
