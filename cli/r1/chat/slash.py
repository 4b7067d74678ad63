"""The commands about turns: their thinking, asking again, files, copies.

Knows: what each does to the chat. Does not know: how they are found or shown.
"""

from __future__ import annotations

import os
from pathlib import Path

from r1.chat.chat import Chat
from r1.chat.clipboard import copy
from r1.chat.command import brief, command, count, last
from r1.history.history import StoredTurn
from r1_quantize import units
from r1_quantize.errors import UsageError

_MOST_BYTES_A_TOKEN = 16


@command("think", "show|hide", "show the thinking, or hide it (ctrl-t)", words=lambda _: ("show", "hide"), anytime=True)
def _think(chat: Chat, argument: str) -> None:
    if argument not in {"show", "hide"}:
        raise UsageError("/think show, or /think hide")
    chat.show_thinking(argument == "show")
    chat.say("thinking is shown" if argument == "show" else "thinking is hidden; /trace brings it up")


@command(
    "trace",
    "[N]",
    "the thinking of the last turn, or of turn N",
    words=lambda chat: [str(turn.number) for turn in chat.turns],
    anytime=True,
)
def _trace(chat: Chat, argument: str) -> None:
    turn = _turn(chat, argument)
    if not turn.thinking:
        raise UsageError(f"turn {turn.number} has no thinking")
    chat.show_trace(turn)


@command("retry", "", "ask the last question again, in place of its answer")
def _retry(chat: Chat, _: str) -> None:
    turn = last(chat)
    chat.replaces = turn
    chat.files = list(turn.asked.files)
    chat.ask(turn.asked.question)


@command("undo", "", "take back the last question and its answer")
def _undo(chat: Chat, _: str) -> None:
    turn = last(chat)
    chat.undo()
    chat.say(f"taken back: {brief(turn.asked.question)}")


@command("edit", "", "change the last question; sent, it stands in place of the old one")
def _edit(chat: Chat, _: str) -> None:
    turn = last(chat)
    chat.replaces = turn
    chat.files = list(turn.asked.files)
    chat.view.set_draft(turn.asked.question)


@command("file", "PATH|off", "attach a file to the next message, or none", takes_path=True, anytime=True)
def _file(chat: Chat, argument: str) -> None:
    from r1.request import read_attachment

    if not argument:
        raise UsageError("/file PATH, for example /file notes.txt; /file off takes them back")
    if argument == "off":
        chat.files.clear()
        chat.say("no file goes along with the next message")
        return
    path = Path(argument).expanduser()
    if path.exists() and not path.is_file():
        raise UsageError(f"{path}: no file that could be read to its end")
    _require_room(chat, path)
    file = read_attachment(path)
    chat.files.append(file)
    chat.say(f"{file.name} goes along with the next message: {len(file.content):,} characters")


def _require_room(chat: Chat, path: Path) -> None:
    """A token stands for a few bytes, so what is far too large is known before it is read."""
    if chat.ready is not None and path.is_file() and path.stat().st_size > _MOST_BYTES_A_TOKEN * chat.ready.trained:
        most = f"{chat.ready.trained:,} tokens"
        raise UsageError(f"{path}: {units.size(path.stat().st_size)} is more than this model can read ({most})")


@command("copy", "[code N|trace]", "copy the last answer, its Nth code block, or its thinking",
          words=lambda _: ("code", "trace"), anytime=True)  # fmt: skip
def _copy(chat: Chat, argument: str) -> None:
    turn = last(chat)
    what, text = _wanted(turn, argument.split())
    if not text:
        raise UsageError(f"turn {turn.number} has no {what}")
    copy(text, os.environ, chat.view.escape)
    chat.say(f"copied: {what} of turn {turn.number}, {len(text):,} characters")


def _turn(chat: Chat, argument: str) -> StoredTurn:
    if not argument:
        return last(chat)
    for turn in chat.turns:
        if str(turn.number) == argument:
            return turn
    raise UsageError(f"there is no turn {argument}; they are numbered 1 to {last(chat).number}")


def _wanted(turn: StoredTurn, words: list[str]) -> tuple[str, str]:
    """What /copy is asked for, in words and as text."""
    if not words:
        return "the answer", turn.answer
    if words == ["trace"]:
        return "the thinking", turn.thinking
    if words[0] != "code" or len(words) > 2:
        raise UsageError("/copy, /copy code N, or /copy trace")
    blocks = _code_blocks(turn.answer)
    if not blocks:
        return "code", ""
    number = count(words[1], len(blocks)) if len(words) == 2 else 1
    return f"code block {number}", blocks[number - 1]


def _code_blocks(answer: str) -> list[str]:
    from markdown_it import MarkdownIt

    tokens = MarkdownIt().parse(answer)
    return [token.content.rstrip("\n") for token in tokens if token.type in {"fence", "code_block"}]
