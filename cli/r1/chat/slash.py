"""The commands about turns: their thinking, asking again, files, copies.

Knows: what each does to the chat. Does not know: how they are found or shown.
"""

from __future__ import annotations

import os
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from r1.chat.chat import Chat
from r1.chat.command import brief, command, count, last, turns
from r1.chat.terminal import copy
from r1.history.history import StoredTurn
from r1.render.reply import turn_lines
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


_SETTABLE = ("temp", "top-p", "max-tokens", "seed", "ctx")


@command("model", "[NAME]", "go on with another model", words=lambda chat: chat.models(), takes_path=True)
def _model(chat: Chat, argument: str) -> None:
    if not argument:
        others = ", ".join(chat.models())
        chat.say(f"this is {chat.reference}; /model NAME goes on with another: {others}")
        return
    chat.load(chat.check(argument))


@command("set", "[NAME VALUE]", "temp, top-p, max-tokens, seed, ctx",
          words=lambda _: _SETTABLE, anytime=True)  # fmt: skip
def _set(chat: Chat, argument: str) -> None:
    from r1.settings import changed

    name, _, value = argument.partition(" ")
    if not name:
        chat.say(", ".join(f"{known} {_setting(chat, known)}" for known in _SETTABLE))
        return
    if name not in _SETTABLE or not value.strip():
        raise UsageError(f"/set {'|'.join(_SETTABLE)} VALUE (or default), for example /set temp 0.5")
    settings = changed(chat.settings, name, None if value.strip() in {"auto", "default", "random"} else value.strip())
    if name == "ctx" and chat.ready and (settings.ctx or 0) > chat.ready.trained:
        raise UsageError(f"ctx: {settings.ctx:,} is too long; this model was trained for {chat.ready.trained:,} tokens")
    chat.change(settings)
    chat.say("ctx auto" if name == "ctx" and settings.ctx is None else f"{name} {_setting(chat, name)}")


@command(
    "system", "[TEXT|off]", "set a system prompt, which R1 was not trained for", words=lambda _: ("off",), anytime=True
)
def _system(chat: Chat, argument: str) -> None:
    if not argument:
        chat.say(f"system prompt: {chat.settings.system or 'none, as DeepSeek advises'}")
        return
    if argument != "off" and not chat.warned_of_system:
        chat.warned_of_system = True
        chat.warn("R1 was not trained with a system prompt; instructions belong in the message itself")
    chat.change(replace(chat.settings, system=None if argument == "off" else argument))
    chat.say("no system prompt" if argument == "off" else "system prompt set; /system off takes it away")


@command("stats", "", "how fast the last turn was, and the memory it takes", anytime=True)
def _stats(chat: Chat, _: str) -> None:
    import psutil

    turn = next((turn for turn in reversed(chat.turns) if turn.timings and turn.usage), None)
    memory = psutil.Process().memory_info().rss
    lines = [f"memory       {units.size(memory)} resident"]
    lines += [f"plan         {chat.ready.plan}"] if chat.ready and chat.ready.plan else []
    if turn is not None and turn.timings and turn.usage:
        timings, usage = turn.timings, turn.usage
        tokens = f"{usage.thinking_tokens:,} thinking + {usage.answer_tokens:,} answer"
        lines = [
            f"prefill      {timings.prefill_tps:.1f} tok/s",
            f"decode       {timings.decode_tps:.1f} tok/s",
            f"first token  {timings.ttft_s:.2f} s",
            f"whole turn   {timings.total_s:.1f} s, {tokens} tokens",
            *lines,
        ]
    chat.say("\n".join(lines))


@command("context", "", "what takes room in the context, and how much is left", anytime=True)
def _context(chat: Chat, _: str) -> None:
    if chat.ready is None:
        raise UsageError("the model is not loaded yet")
    left = max(chat.ready.ctx - chat.used, 0)
    lines = [f"{chat.used:,} of {chat.ready.ctx:,} tokens used, {left:,} left (trained for {chat.ready.trained:,})"]
    lines += [
        f"  {turn.number:>3}  {length:>7,}  {brief(turn.asked.question, 40)}"
        for turn, length in zip(chat.kept_turns, chat.lengths, strict=False)
    ]
    trimmed = len(chat.turns) - len(chat.kept_turns)
    lines += [f"  without {turns(trimmed)} (/trim, or no answer)"] if trimmed else []
    chat.say("\n".join(lines))


@command("trim", "[N]", "leave the N oldest turns out of the context; without N, half of it")
def _trim(chat: Chat, argument: str) -> None:
    kept = chat.kept_turns
    if len(kept) < 2:
        raise UsageError("there is nothing to leave out but the last turn; /clear begins anew")
    most = count(argument, len(kept) - 1) if argument else _half(chat, len(kept))
    chat.trim(kept[:most])
    chat.say(f"the model no longer sees {turns(most)}, of {len(kept)}; the history keeps everything")


def _half(chat: Chat, kept: int) -> int:
    """How many of the oldest turns hold half of the tokens; never all of them."""
    if len(chat.lengths) != kept:  # not counted yet
        return kept // 2
    total = oldest = 0
    for length in chat.lengths[:-1]:
        if total >= sum(chat.lengths) / 2:
            break
        total, oldest = total + length, oldest + 1
    return max(oldest, 1)


def _setting(chat: Chat, name: str) -> str:
    value = getattr(chat.settings, name.replace("-", "_"))
    if name == "ctx" and value is None:
        return f"auto ({chat.ready.ctx:,})" if chat.ready else "auto"
    return "random" if value is None else str(value)


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
    style = chat.view.style
    older = len(chat.turns) - _SHOWN
    if older > 0:
        chat.say(f"… {older} older turns (/export writes them all)")
    for turn in chat.turns[-_SHOWN:]:
        tokens = turn.usage.thinking_tokens if turn.usage else 0
        trace = turn.thinking if chat.shows_thinking else ""
        thought = (turn.thinking_s, tokens, trace) if turn.thinking else None
        names = [file.name for file in turn.asked.files]
        chat.view.print(turn_lines(turn.asked.question, names, thought, turn.answer, style))
        chat.unseen = None if chat.shows_thinking or not turn.thinking else turn
        if turn.finish_reason is None:
            chat.warn("this reply was cut off when the program ended (/retry asks again)")


def _when(moment: float) -> str:
    return datetime.fromtimestamp(moment).strftime("%Y-%m-%d %H:%M")
