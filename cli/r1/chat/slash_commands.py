"""The slash commands of a chat, in the order of /help."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace

from r1.chat.chat import Chat
from r1.chat.columns import beside
from r1.chat.conversation import show_conversation, show_other_model
from r1.chat.registry import Registry, command_help, help_lines
from r1.chat.reply_settings import (
    BUDGETS,
    FORMS,
    SETTINGS,
    budget,
    form,
    form_of,
    setting,
    with_budget,
    with_setting,
)
from r1.chat.stats import stats_lines
from r1.chat.terminal import copy
from r1.chat.view import name_of
from r1.chat.votes import votes, with_votes
from r1.history.history import SessionInfo, StoredTurn
from r1.render.style import Style
from r1_quantize import units
from r1_quantize.errors import UsageError
from r1_quantize.files import expanded

COMMANDS = Registry()

_LISTED_SESSIONS = 20
_MAX_TITLE = 200
_TABLE_COLUMNS = 60  # on a narrower screen /history takes two lines for each chat

# --- turns: their thinking, asking again, files, copying ---


@COMMANDS.add(
    "think", "show|hide", "show or hide the thinking (Ctrl-T)", completions=lambda _: ("show", "hide"), while_busy=True
)
def _think(chat: Chat, argument: str) -> None:
    """The choice is remembered for later chats."""
    if argument not in {"show", "hide"}:
        raise UsageError("usage: /think show or /think hide")
    chat.show_thinking(argument == "show")
    chat.notices.say("thinking shown" if argument == "show" else "thinking hidden; /trace shows it")


@COMMANDS.add(
    "trace",
    "[N]",
    "show the thinking of the last turn or turn N",
    completions=lambda chat: [str(turn.number) for turn in chat.turns],
    while_busy=True,
)
def _trace(chat: Chat, argument: str) -> None:
    """/trace 2 shows that of turn 2. Turns are numbered from 1."""
    turn = _turn(chat, argument)
    if not turn.thinking:
        raise UsageError(f"turn {turn.number} has no thinking")
    chat.thinking.print(turn)


@COMMANDS.add("retry", "", "ask the last question again")
def _retry(chat: Chat, _: str) -> None:
    """The new answer replaces the old one."""
    chat.retry(_last_turn(chat))


@COMMANDS.add("undo", "", "remove the last question and its answer")
def _undo(chat: Chat, _: str) -> None:
    """The model no longer sees the turn."""
    turn = _last_turn(chat)
    chat.undo()
    chat.notices.say(f"removed: {_brief(turn.asked.question)}")


@COMMANDS.add("edit", "", "edit the last question and ask it again")
def _edit(chat: Chat, _: str) -> None:
    """The new turn replaces the old one. Empty the draft to keep the old one."""
    chat.begin_edit(_last_turn(chat))


@COMMANDS.add("file", "PATH|off", "attach a file to the next message", takes_path=True, while_busy=True)
def _file(chat: Chat, argument: str) -> None:
    """The file must be text in UTF-8. Several files may be attached. /file off removes all of them."""
    from r1.prompt_input import read_attachment

    if not argument:
        raise UsageError("usage: /file PATH, for example /file notes.txt; /file off removes all")
    if argument == "off":
        chat.next.detach_all()
        chat.notices.say("no file will be attached")
        return
    path = expanded(argument)
    if path.exists() and not path.is_file():
        raise UsageError(f"{path}: not a regular file")
    file = read_attachment(path, chat.model.prompt_limit)
    chat.next.attach(file)
    chat.notices.say(f"{file.name} will be attached to the next message ({len(file.content):,} characters)")


@COMMANDS.add(
    "copy",
    "[code N|trace]",
    "copy the answer, a code block or the thinking",
    completions=lambda _: ("code", "trace"),
    while_busy=True,
)
def _copy(chat: Chat, argument: str) -> None:
    """/copy copies the last answer, /copy code 2 its second code block, /copy trace the thinking before it."""
    turn = _last_turn(chat)
    name, text = _text_to_copy(turn, argument.split())
    if not text:
        raise UsageError(f"turn {turn.number} has no {name}")
    copy(text, os.environ, chat.view.send_escape_code)
    chat.notices.say(f"copied: {name} of turn {turn.number} ({len(text):,} characters)")


# --- the model and its settings ---


@COMMANDS.add(
    "model",
    "[NAME]",
    "continue with another model",
    completions=lambda chat: chat.model.available(),
    takes_path=True,
)
def _model(chat: Chat, argument: str) -> None:
    """/model shows the present model. NAME is one that `r1 list` shows, or the path of a .gguf file."""
    if not argument:
        names = ", ".join(chat.model.available())
        chat.notices.say(f"the model is {chat.model.reference}; /model NAME switches to one of: {names}")
        return
    reference = chat.model.check(argument)
    if chat.model.ready is not None and reference == chat.model.reference:
        chat.notices.say(f"the model is already {name_of(reference)}")
    else:
        chat.load(reference)


@COMMANDS.add(
    "set",
    "[NAME VALUE]",
    "change temp, top-p, max-tokens, reserve, seed, ctx, loop-guard or speculate",
    completions=lambda _: SETTINGS,
    while_busy=True,
)
def _set(chat: Chat, argument: str) -> None:
    """/set shows all settings, /set temp one of them. /set temp default restores DeepSeek's recommendation.

    temp        0 to 10; 0: always the most likely token
    top-p       above 0, at most 1
    max-tokens  the longest reply, with its thinking
    reserve     tokens of it that the thinking leaves for the answer, or auto
    seed        a number, or random
    ctx         tokens of context, or auto
    loop-guard  on or off: ends thinking and answers that go round in circles
    speculate   off, lookup, draft or auto: how tokens are guessed ahead
    """
    name, value = [*argument.split(maxsplit=1), "", ""][:2]
    ready = chat.model.ready
    if name and name not in SETTINGS:
        raise UsageError(f"usage: /set {'|'.join(SETTINGS)} VALUE (or default), for example /set temp 0.5")
    if not value:
        names = [name] if name else SETTINGS
        chat.notices.say(", ".join(f"{known} {setting(chat.settings, known, ready)}" for known in names))
        return
    chat.change_settings(with_setting(chat.settings, name, value, ready))
    is_unknown = name == "ctx" and chat.settings.ctx is None  # what auto will be
    chat.notices.say(f"{name} {setting(chat.settings, name, None if is_unknown else ready)}")


@COMMANDS.add(
    "budget",
    "[N|LEVEL|off]",
    "limit the thinking to N tokens, from the next message on",
    completions=lambda _: BUDGETS,
    while_busy=True,
)
def _budget(chat: Chat, argument: str) -> None:
    """/budget shows it. Esc ends the thinking that is under way.

    0, none   no thinking
    low       1,024 tokens
    medium    4,096 tokens
    high      16,384 tokens
    max, off  no limit
    """
    if argument:
        chat.change_settings(with_budget(chat.settings, argument))
    chat.notices.say(budget(chat.settings))


COMMANDS.alias("effort", "budget")


@COMMANDS.add(
    "format",
    "[KIND VALUE|off]",
    "give answers a form, from the next message on",
    completions=lambda _: FORMS,
    takes_path=True,
    while_busy=True,
)
def _format(chat: Chat, argument: str) -> None:
    """/format shows it, /format off removes it. The thinking stays free.

    schema FILE|JSON  JSON that is valid under a JSON Schema
    choices A,B,...   one of these texts
    regex RE          text that matches a regular expression
    grammar FILE      text of a grammar in llama.cpp's GBNF
    """
    if argument:
        chat.next.form = form_of(argument)
    chat.notices.say(form(chat.next.form))


@COMMANDS.add(
    "votes",
    "[K|off]",
    "let K replies vote on the answer, from the next message on",
    completions=lambda _: ("4", "8", "16", "off"),
    while_busy=True,
)
def _votes(chat: Chat, argument: str) -> None:
    """/votes shows it. A vote ends as soon as the winner is certain enough.

    While it goes on, Ctrl-C ends it with the winner so far, and Esc makes the replies under way answer now.
    """
    if argument:
        chat.change_settings(with_votes(chat.settings, argument))
    chat.notices.say(votes(chat.settings))


@COMMANDS.add(
    "system",
    "[TEXT|off]",
    "set a system prompt (R1 was trained without one)",
    completions=lambda _: ("off",),
    while_busy=True,
)
def _system(chat: Chat, argument: str) -> None:
    """/system shows it, /system off removes it. It applies from the next message on."""
    if not argument:
        chat.notices.say(f"system prompt: {chat.settings.system or 'none, as DeepSeek recommends'}")
        return
    chat.change_settings(replace(chat.settings, system=None if argument == "off" else argument))
    chat.notices.say("system prompt removed" if argument == "off" else "system prompt set; /system off removes it")


@COMMANDS.add("stats", "", "show the last turn's speed and the memory used", while_busy=True)
def _stats(chat: Chat, _: str) -> None:
    import psutil

    chat.view.print(stats_lines(chat, psutil.Process().memory_info().rss) + "\n")


@COMMANDS.add("context", "", "show how the context is used, turn by turn", while_busy=True)
def _context(chat: Chat, _: str) -> None:
    ready = chat.model.ready
    if ready is None:
        raise UsageError("the model is not loaded yet")
    if not chat.model.is_counted:
        raise UsageError("the tokens are not counted yet; try again in a moment")
    used, left = chat.model.used, chat.model.left
    lines = [f"{used:,} of {ready.ctx:,} tokens used, {left:,} left (the model was trained for {ready.trained:,})"]
    lines += [
        f"  {turn.number:>3}  {tokens:>7,}  {_brief(turn.asked.question, 40)}"
        for turn, tokens in zip(chat.turns.in_context, chat.model.turn_tokens, strict=False)
    ]
    left_out = len(chat.turns) - len(chat.turns.in_context)
    lines += (
        [f"  not in the context: {units.count(left_out, 'turn')} (trimmed, or without an answer)"] if left_out else []
    )
    chat.notices.say("\n".join(lines))


@COMMANDS.add("trim", "[N]", "drop the N oldest turns from context (or half)")
def _trim(chat: Chat, argument: str) -> None:
    """The model no longer sees them; the history keeps them. The last turn always stays."""
    _last_turn(chat)  # raises where there is none
    turns = chat.turns.in_context
    if len(turns) < 2:
        raise UsageError("only the last turn is in the context; /clear starts a new chat")
    count = _trim_count(argument, len(turns) - 1) if argument else _half(chat.model.turn_tokens, len(turns))
    chat.trim(turns[:count])
    chat.notices.say(f"the model no longer sees {count} of {units.count(len(turns), 'turn')}; the history keeps them")


# --- chats in the history ---


@COMMANDS.add("history", "", "list earlier chats", while_busy=True)
def _history(chat: Chat, _: str) -> None:
    sessions = chat.history.sessions(limit=_LISTED_SESSIONS)
    if not sessions:
        chat.notices.say("no chats yet")
        return
    style = chat.view.style
    listed = _wide_line if style.width >= _TABLE_COLUMNS else _narrow_lines
    chats = "".join(listed(info, style) for info in sessions)
    chat.view.print(f"{chats}{style.note('/load ID continues one')}\n")


def _wide_line(info: SessionInfo, style: Style) -> str:
    when, turns = units.minute(info.updated), units.count(info.turns, "turn")
    return style.note(f"{info.id:>5}  {when}  {turns:>8}  {_brief(info.title, style.width - 38)}")


def _narrow_lines(info: SessionInfo, style: Style) -> str:
    """The title, and the rest below it: on one line with it, the title would have no room."""
    number = f"{info.id:>3}  "
    when, turns = units.minute(info.updated), units.count(info.turns, "turn")
    title = beside(number, _brief(info.title, max(style.width - len(number) - 1, 8)), style)
    return title + beside(" " * len(number), f"{when}, {turns}", style)


COMMANDS.alias("sessions", "history")


@COMMANDS.add(
    "load",
    "ID",
    "continue another chat",
    completions=lambda chat: [str(info.id) for info in chat.history.sessions(_LISTED_SESSIONS)],
)
def _load(chat: Chat, argument: str) -> None:
    """ID is the number before it in /history. The present model stays."""
    if not argument:
        raise UsageError("usage: /load ID; /history lists the chats")
    chat.open_session(chat.history.find(argument, listing="/history"))
    show_conversation(chat)
    show_other_model(chat)


@COMMANDS.add("title", "TEXT", "name this chat", while_busy=True)
def _title(chat: Chat, argument: str) -> None:
    """/history lists the chat under this title. Without one it is listed under its first question."""
    if not argument:
        raise UsageError("usage: /title TEXT")
    if chat.session is None:
        raise UsageError("this chat has no question yet; ask one, then name it")
    title = " ".join(argument.split())
    if len(title) > _MAX_TITLE:
        raise UsageError(f"a title has at most {_MAX_TITLE} characters; this one has {len(title):,}")
    chat.history.title(chat.session, title)
    chat.notices.say(f"title: {title}")


@COMMANDS.add(
    "export", "FILE [--with-thinking]", "write this chat to a .md or .json file", takes_path=True, while_busy=True
)
def _export(chat: Chat, argument: str) -> None:
    """--with-thinking writes the thinking too. --force overwrites a file that exists."""
    from r1.history.export import export

    path, flags = _without_flags(argument, {"--with-thinking", "--force"})
    if not path:
        raise UsageError("usage: /export FILE.md or /export FILE.json, with --with-thinking for the thinking too")
    if chat.session is None:
        raise UsageError("this chat has no question yet")
    chat.recorder.save()
    target = expanded(path)
    export(
        chat.history,
        chat.session,
        target,
        with_thinking="--with-thinking" in flags,
        force="--force" in flags,
        remedy="choose another name, or add --force",
    )
    chat.notices.say(f"written to {target}")


@COMMANDS.add("clear", "", "start a new chat; this one stays in the history")
def _clear(chat: Chat, _: str) -> None:
    chat.open_session(None)
    chat.notices.say("new chat")


@COMMANDS.add(
    "help",
    "[COMMAND]",
    "show this help, or more about a command",
    completions=lambda _: [command.name for command in COMMANDS],
    while_busy=True,
)
def _help(chat: Chat, argument: str) -> None:
    style, name = chat.view.style, argument.removeprefix("/")
    chat.view.print((command_help(COMMANDS.require(name), style) if name else help_lines(COMMANDS, style)) + "\n")


@COMMANDS.add("quit", "", "quit (also /exit or Ctrl-D)", while_busy=True)
def _quit(chat: Chat, _: str) -> None:
    """The chat is saved; `r1 chat --continue` goes on with it."""
    chat.view.leave()


COMMANDS.alias("exit", "quit")
COMMANDS.alias("bye", "quit")  # Ollama's word


def _last_turn(chat: Chat) -> StoredTurn:
    if not chat.turns:
        raise UsageError("this chat has no question yet")
    return chat.turns[-1]


def _turn(chat: Chat, number: str) -> StoredTurn:
    last = _last_turn(chat)
    if not number:
        return last
    for turn in chat.turns:
        if str(turn.number) == number:
            return turn
    raise UsageError(f"no turn {number}; this chat has turns 1 to {last.number}")


def _text_to_copy(turn: StoredTurn, words: Sequence[str]) -> tuple[str, str]:
    """The name and the text of what /copy should copy."""
    if not words:
        return "answer", turn.answer
    if list(words) == ["trace"]:
        return "thinking", turn.thinking
    if words[0] != "code" or len(words) > 2:
        raise UsageError("usage: /copy, /copy code N, or /copy trace")
    blocks = _code_blocks(turn.answer)
    if not blocks:
        return "code block", ""
    number = _number(words[1], len(blocks)) if len(words) == 2 else 1
    if number is None:
        blocks_in_words = "only one code block" if len(blocks) == 1 else f"code blocks 1 to {len(blocks)}"
        raise UsageError(f"the last answer has {blocks_in_words}")
    return f"code block {number}", blocks[number - 1]


def _code_blocks(answer: str) -> list[str]:
    from markdown_it import MarkdownIt

    tokens = MarkdownIt().parse(answer)
    return [token.content.rstrip("\n") for token in tokens if token.type in {"fence", "code_block"}]


def _without_flags(argument: str, known: set[str]) -> tuple[str, set[str]]:
    """The path in `argument`, which may have spaces, and the flags before or after it."""
    path, flags = argument.strip(), set[str]()
    while path and (words := path.split()):
        if words[-1] in known:
            flags.add(words[-1])
            path = path.removesuffix(words[-1]).rstrip()
        elif words[0] in known:
            flags.add(words[0])
            path = path.removeprefix(words[0]).lstrip()
        else:
            break
    return path, flags


def _trim_count(word: str, maximum: int) -> int:
    count = _number(word, maximum)
    if count is None:
        turns = "only 1 turn" if maximum == 1 else f"1 to {maximum} turns"
        raise UsageError(f"/trim can drop {turns} here; the last one stays")
    return count


def _half(turn_tokens: Sequence[int], turns: int) -> int:
    """The number of oldest turns that hold half of the tokens; never all of them."""
    if len(turn_tokens) != turns:  # not counted yet
        return turns // 2
    total = count = 0
    for tokens in turn_tokens[:-1]:
        if total >= sum(turn_tokens) / 2:
            break
        total, count = total + tokens, count + 1
    return max(count, 1)


def _number(word: str, maximum: int) -> int | None:
    """A number from 1 to `maximum`; None for anything else."""
    return int(word) if word.isdecimal() and 1 <= int(word) <= maximum else None


def _brief(text: str, max_length: int = 60) -> str:
    line = " ".join(text.split())
    return line if len(line) <= max_length else f"{line[: max_length - 1]}…"
