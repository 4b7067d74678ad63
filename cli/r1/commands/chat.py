"""`r1 chat`, and `r1` alone: chooses the model, the session and the view of a chat."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from r1.chat.view import Opening
from r1.commands.models import find_draft
from r1.console import Console
from r1.evaluate.vote import vote_options
from r1.history.history import History, location
from r1.kv_store.kv_folder import folder_in
from r1.library import find_model, known_models, resolve_model
from r1.settings import Settings
from r1_quantize.errors import ChatNotFound, ModelNotFound, UsageError

_LOCK_TIMEOUT_S = 0.1  # the chat must not freeze while another program has the history locked; it retries later


@dataclass(frozen=True, slots=True)
class ChatOptions:
    """The options of the command line. `model_given`: the model was named there; it is not a default."""

    model_given: bool = False
    resume_last: bool = False
    session: str | None = None
    plain: bool = False


def chat(console: Console, options: ChatOptions, settings: Settings) -> int:
    """Chats until the user quits. Without a terminal, answers one prompt and returns that answer's status."""
    if options.resume_last and options.session is not None:
        raise UsageError("--continue and --chat cannot be combined; leave one of them out")
    vote_options(replace(settings, thinking=None))  # raises, too
    with History.open(location(console.environ), lock_timeout_s=_LOCK_TIMEOUT_S) as history:
        session = _session(history, options)
        opening = _opening(console, history, settings, options, session)
        if options.plain or not _can_draw(console):
            from r1.chat.plain import run_plain

            return run_plain(console, history, settings, opening)
        from r1.chat.screen import run_screen

        return run_screen(console, history, settings, opening)


def _session(history: History, options: ChatOptions) -> int | None:
    if options.session is not None:
        return history.find(options.session)
    if not options.resume_last:
        return None
    latest = history.latest()
    if latest is None:
        raise ChatNotFound("there is no chat to continue; `r1` starts one")
    return latest


def _opening(
    console: Console, history: History, settings: Settings, options: ChatOptions, session: int | None
) -> Opening:
    """The model is the one on the command line, else the session's, else the default. Raises ModelNotFound."""
    reference = settings.model
    turns = history.turns(session) if session is not None else []
    if turns and not options.model_given:
        try:
            reference = resolve_model(console, turns[-1].asked.model)
        except ModelNotFound:
            if not console.stdin_is_terminal:  # otherwise the chat says so
                console.warn(f"this chat used {turns[-1].asked.model}, which is no longer on this machine")
    return Opening(
        reference=resolve_model(console, reference),
        check=lambda name: resolve_model(console, name),
        find=lambda name: _find(console, name),
        models=lambda: known_models(console.environ),
        find_draft=lambda: find_draft(console, settings),
        hints=lambda: _hints(console, settings),
        session=session,
        shows_thinking=_shows_thinking(console, settings),
        kv_folder=folder_in(console.environ, settings.cache_size),
    )


def _shows_thinking(console: Console, settings: Settings) -> bool | None:
    """What was asked for; else, for a pipe, what `r1 run` does, and for a person (None) what the last chat did."""
    if settings.thinking is not None:
        return settings.thinking != "hide"
    return None if console.stdin_is_terminal else console.stderr_is_terminal


def _find(console: Console, reference: str) -> tuple[str, Path]:
    model = find_model(console, reference)
    return model.reference, model.path


def _hints(console: Console, settings: Settings) -> Iterable[str]:
    from r1.hints import unused_gpus

    return unused_gpus(console.environ) if settings.device == "auto" else ()


def _can_draw(console: Console) -> bool:
    """True for a terminal on both sides that can do more than print lines."""
    terminals = console.stdin_is_terminal and console.stdout_is_terminal
    return terminals and console.environ.get("TERM", "dumb" if os.name == "posix" else "") not in {"dumb", "unknown"}
