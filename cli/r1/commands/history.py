"""`r1 history`: list, search, show, export and delete past chats."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from r1.console import Column, Console, printable
from r1.history.export import chat_facts, moment, to_markdown, to_text
from r1.history.export import export as write_export
from r1.history.history import History, Hit, SessionInfo, location
from r1.kv_store.kv_folder import open_folder, owner_of_chat
from r1_quantize import units
from r1_quantize.errors import ChatNotFound, ExitStatus, UsageError

if TYPE_CHECKING:
    from rich.text import Text

_NO_CHATS = "no chats yet; `r1` starts one"
_MIN_TABLE_COLUMNS = 60  # on a narrower terminal each chat takes two lines
_MAX_NAMED = 3  # chats that a question names one by one

_ID = Column("id", number=True)
_WIDE = (_ID, Column("when", wrap=False), Column("turns", number=True), Column("model"), Column("title"))
_NARROW = (_ID, Column("title"))


def list_chats(console: Console, *, as_json: bool) -> ExitStatus:
    """Newest first: a table on a terminal; id, time, turns, model and title separated by tabs in a pipe."""
    sessions: list[SessionInfo] = []
    if history := _existing(console):
        with history:
            sessions = history.sessions()
    if not sessions:
        console.note(_NO_CHATS)
    if as_json:
        console.json([_facts(session) for session in sessions])
        return ExitStatus.OK
    rows = [_row(session) for session in sessions]
    if console.stdout_is_terminal and console.rich().width < _MIN_TABLE_COLUMNS:
        console.table(_NARROW, rows, shown=[_narrow_row(session) for session in sessions])
    else:
        console.table(_WIDE, rows)
    return ExitStatus.OK


def search(console: Console, words: Sequence[str], *, as_json: bool) -> ExitStatus:
    """Turns that have every word. An argument with a space in it, quoted for the shell, is a phrase."""
    query = " ".join(f'"{word}"' if len(word.split()) > 1 and '"' not in word else word for word in words)
    hits: list[Hit] = []
    history = _existing(console)
    if history:
        with history:
            hits = history.search(query)
    if as_json:
        console.json([_hit_facts(hit) for hit in hits])
    elif console.stdout_is_terminal:
        _print_hits(console, hits)
    else:
        console.out("".join(f"{hit.session}\t{hit.number}\t{hit.where}\t{hit.excerpt}\n" for hit in hits))
    if not hits:
        console.note("no turn has all of these words" if history else _NO_CHATS)
    return ExitStatus.OK


def show(console: Console, reference: str, *, thinking: bool, as_json: bool) -> ExitStatus:
    """Prints a chat; on a terminal long lines are wrapped."""
    with _open(console) as history:
        session = history.find(reference)
        info, turns = history.info(session), history.turns(session)
    if as_json:
        console.json(chat_facts(info, turns, thinking))
    else:
        text = to_text(info, turns, thinking)
        console.out("".join(_wrapped(text)) if console.stdout_is_terminal else text)
    return ExitStatus.OK


def export(console: Console, reference: str, target: Path, *, thinking: bool, force: bool) -> ExitStatus:
    """Writes a chat to a file, or as Markdown to stdout for "-". Raises UsageError for a file that exists."""
    with _open(console) as history:
        session = history.find(reference)
        if str(target) == "-":
            console.out(to_markdown(history.info(session), history.turns(session), thinking))
            return ExitStatus.OK
        remedy = "choose another name" + ("" if target.is_dir() else " or pass --force to overwrite it")
        write_export(history, session, target, with_thinking=thinking, force=force, remedy=remedy)
    console.note(f"chat {session} written to {target}")
    return ExitStatus.OK


def delete(
    console: Console, references: Sequence[str], *, everything: bool, yes: bool, as_json: bool = False
) -> ExitStatus:
    """Deletes chats for good, after asking for confirmation. Raises UsageError if there is no terminal to ask on."""
    if everything == bool(references):
        raise UsageError("give the chats to delete, or --all: r1 history delete ID…")
    deleted: list[SessionInfo] = []
    left: list[Path] = []
    if history := _existing(console) if everything else _open(console):
        with history:
            ids = dict.fromkeys(map(history.find, references))  # without duplicates
            deleted = history.sessions() if everything else [history.info(session) for session in ids]
            if deleted and not yes and not console.confirm(f"Delete {_in_words(deleted)} for good?"):
                console.note("nothing was deleted")
                return ExitStatus.OK
            if deleted:
                history.delete(*(session.id for session in deleted))
                kept = open_folder(console.environ)
                left = [path for session in deleted for path in kept.remove_of(owner_of_chat(session.id))]
    if not deleted:
        console.note("there are no chats to delete")
    if as_json:
        console.json([{"id": session.id, "title": session.title} for session in deleted])
    else:
        console.out("".join(f"{session.id}\t{session.title}\n" for session in deleted))
    for path in left:
        console.warn(f"cannot remove {path}, the KV cache of a deleted chat, which has its text; remove it by hand")
    return ExitStatus.USAGE if left else ExitStatus.OK


def _open(console: Console) -> History:
    return History.open(location(console.environ), must_exist=True)


def _existing(console: Console) -> History | None:
    """None before the first chat."""
    try:
        return _open(console)
    except ChatNotFound:
        return None


def _in_words(sessions: Sequence[SessionInfo]) -> str:
    if len(sessions) > _MAX_NAMED:
        turns = sum(session.turns for session in sessions)
        return f"{len(sessions)} chats ({turns} turns)"
    return ", ".join(f"chat {one.id}, “{one.title}” ({units.count(one.turns, 'turn')})" for one in sessions)


def _row(session: SessionInfo) -> tuple[str, ...]:
    return str(session.id), units.minute(session.updated), str(session.turns), session.model, session.title


def _narrow_row(session: SessionInfo) -> tuple[str | Text, ...]:
    from rich.text import Text

    details = f"\n{units.minute(session.updated)}, {units.count(session.turns, 'turn')}, {session.model}"
    return str(session.id), Text(printable(session.title)) + Text(printable(details), style="dim")


def _facts(session: SessionInfo) -> dict[str, object]:
    return {**asdict(session), "started": moment(session.started), "updated": moment(session.updated)}


def _hit_facts(hit: Hit) -> dict[str, object]:
    """Hits and lists have the same key for a chat's number: `id`."""
    facts = asdict(hit)
    return {"id": facts.pop("session"), **facts}


def _print_hits(console: Console, hits: Sequence[Hit]) -> None:
    """For each hit its place, and below it, indented, the excerpt with the matches in bold."""
    from rich.text import Text

    from r1.markdown.wrap import wrap_text

    rich = console.rich()
    for hit in hits:
        where = "title" if hit.where == "title" else f"[{hit.number}] {hit.where}"
        mark = ", withdrawn" if hit.withdrawn else ""
        title = "" if _repeats_title(hit) else f": {hit.title}"
        rich.print(Text(printable(f"{hit.session} {where}{mark}{title}"), style="dim"))
        excerpt, done = Text(), 0
        for start, end in hit.spans:
            excerpt.append(printable(hit.excerpt[done:start])).append(printable(hit.excerpt[start:end]), style="bold")
            done = end
        excerpt.append(printable(hit.excerpt[done:]))
        for line in wrap_text(excerpt, max(rich.width - 2, 1)):
            rich.print(Text("  ") + line)


def _repeats_title(hit: Hit) -> bool:
    """Whether the excerpt says what the title says, as that of a chat's first question does."""
    return hit.title.removesuffix("…") in hit.excerpt


def _wrapped(text: str) -> Iterator[str]:
    """Lines wrapped to the terminal, except for code, which people copy."""
    from r1.markdown.wrap import wrap

    width, in_code = shutil.get_terminal_size().columns, False
    for line in printable(text).splitlines():
        in_code ^= line.lstrip().startswith("```")
        if in_code or line.startswith(("    ", "\t")):
            yield f"{line}\n"
        else:
            yield from (f"{part.rstrip()}\n" for part in wrap(line.expandtabs(4), width))
