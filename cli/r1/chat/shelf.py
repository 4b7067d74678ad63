"""The commands about whole chats: listed, taken up, named, exported, begun anew.

Knows: what each does to the chat. Does not know: how they are found or shown.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from r1.chat.chat import Chat
from r1.chat.command import command, turns
from r1.render.transcript import turn_lines
from r1_quantize.errors import UsageError

_SHOWN = 20
"""Turns that are shown when a session is taken up."""


@command("sessions", "", "the chats that can be taken up again", anytime=True)
def _sessions(chat: Chat, _: str) -> None:
    sessions = chat.history.sessions(limit=20)
    if not sessions:
        chat.say("no chats yet")
        return
    lines = [f"{info.id:>5}  {_when(info.updated)}  {turns(info.turns):>8}  {info.title}" for info in sessions]
    chat.say("\n".join([*lines, "/load ID takes one up"]))


@command("load", "ID", "take up another chat", words=lambda chat: [str(info.id) for info in chat.history.sessions(20)])
def _load(chat: Chat, argument: str) -> None:
    if not argument:
        raise UsageError("/load ID; /sessions lists them")
    chat.take_up(chat.history.find(argument))
    show_conversation(chat)


@command("title", "TEXT", "name this chat", anytime=True)
def _title(chat: Chat, argument: str) -> None:
    if not argument:
        raise UsageError("/title TEXT")
    if chat.session is None:
        raise UsageError("nothing was said yet; a title comes after the first question")
    chat.history.title(chat.session, argument)
    chat.say(f"this chat is now called: {argument}")


@command("export", "FILE [--with-thinking]", "write this chat to a .md or .json file", takes_path=True, anytime=True)
def _export(chat: Chat, argument: str) -> None:
    from r1.history.export import write

    with_thinking = argument.endswith("--with-thinking")
    path = argument.removesuffix("--with-thinking").strip()
    if not path:
        raise UsageError("/export FILE.md or /export FILE.json, with --with-thinking for the traces")
    if chat.session is None:
        raise UsageError("nothing was said yet")
    chat.keep()
    target = Path(path).expanduser()
    write(chat.history, chat.session, target, with_thinking=with_thinking)
    chat.say(f"written: {target}")


@command("clear", "", "begin anew; what was said stays in the history")
def _clear(chat: Chat, _: str) -> None:
    chat.take_up(None)
    chat.say("a new chat")


def show_conversation(chat: Chat) -> None:
    """The turns so far, the oldest left out when there are many."""
    paper = chat.view.paper
    older = len(chat.turns) - _SHOWN
    if older > 0:
        chat.say(f"… {older} older turns (/export writes them all)")
    for turn in chat.turns[-_SHOWN:]:
        tokens = turn.usage.thinking_tokens if turn.usage else 0
        trace = turn.thinking if chat.shows_thinking else ""
        thought = (turn.thinking_s, tokens, trace) if turn.thinking else None
        names = [file.name for file in turn.asked.files]
        chat.view.print(turn_lines(turn.asked.question, names, thought, turn.answer, paper))
        chat.unseen = None if chat.shows_thinking or not turn.thinking else turn
        if turn.finish_reason is None:
            chat.warn("this reply was cut off when the program ended (/retry asks again)")


def _when(moment: float) -> str:
    return datetime.fromtimestamp(moment).strftime("%Y-%m-%d %H:%M")
