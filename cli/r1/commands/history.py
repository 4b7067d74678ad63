"""`r1 history`: the chats that were had; listed, searched, shown, exported, deleted.

Knows: what is said and asked, and the form it has for people and for scripts. Does not know: how chats are kept.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from datetime import datetime
from pathlib import Path

from r1.console import Console, printable
from r1.history.export import to_json, to_markdown, to_text, write
from r1.history.history import History, Hit, SessionInfo, location
from r1_quantize.errors import ExitStatus, UsageError

_NONE_YET = "no chats yet; `r1` opens one"
_WIDE = 60  # columns, from which on a table's fit


def list_chats(console: Console, *, as_json: bool) -> ExitStatus:
    """The newest first: a table for people; id, time, turns, model and title with tabs between for scripts."""
    sessions: list[SessionInfo] = []
    if location(console.environ).exists():
        with _open(console) as history:
            sessions = history.sessions()
    if not sessions:
        console.warn(_NONE_YET)
    if as_json:
        console.out(_json([_facts(session) for session in sessions]))
    elif console.stdout_is_terminal:
        _print_table(console, sessions)
    else:
        console.out("".join("\t".join(_columns(session)) + "\n" for session in sessions))
    return ExitStatus.OK


def search(console: Console, words: Sequence[str], *, as_json: bool) -> ExitStatus:
    """Turns that have every word. An argument with a space in it, as the shell's quotes make them, is a phrase."""
    wanted = " ".join(f'"{word}"' if len(word.split()) > 1 and '"' not in word else word for word in words)
    hits: list[Hit] = []
    if location(console.environ).exists():
        with _open(console) as history:
            hits = history.search(wanted)
    else:
        console.warn(_NONE_YET)
    if as_json:
        console.out(_json([asdict(hit) for hit in hits]))
    elif console.stdout_is_terminal:
        _print_hits(console, hits)
    else:
        console.out("".join(f"{hit.session}\t{hit.number}\t{hit.where}\t{hit.excerpt}\n" for hit in hits))
    if not hits:
        console.note("no turn has all of these words")
    return ExitStatus.OK


def show(console: Console, reference: str, *, thinking: bool, as_json: bool) -> ExitStatus:
    """The transcript of a chat; for a terminal its lines are broken between words."""
    with _open(console) as history:
        session = history.find(reference)
        info, turns = history.info(session), history.turns(session)
    if as_json:
        console.out(to_json(info, turns, thinking) + "\n")
    else:
        text = to_text(info, turns, thinking)
        console.out("".join(_wrapped(text)) if console.stdout_is_terminal else text)
    return ExitStatus.OK


def export(console: Console, reference: str, target: Path, *, thinking: bool, force: bool) -> ExitStatus:
    """Writes a chat to a file, as the file's name says. Raises UsageError when it is there already."""
    with _open(console) as history:
        session = history.find(reference)
        if str(target) == "-":
            console.out(to_markdown(history.info(session), history.turns(session), thinking))
            return ExitStatus.OK
        try:
            write(history, session, target, with_thinking=thinking, force=force)
        except UsageError as exc:
            raise UsageError(
                f"{exc}, or --force overwrites it" if target.is_file() and not force else str(exc)
            ) from exc
    console.note(f"chat {session} is in {target}")
    return ExitStatus.OK


def delete(console: Console, references: Sequence[str], *, everything: bool, yes: bool) -> ExitStatus:
    """Says what goes, asks on a terminal, and wipes it. Raises UsageError when nobody can be asked."""
    if everything == bool(references):
        raise UsageError("which chats? r1 history delete ID…, or --all without an ID")
    with _open(console) as history:
        ids = dict.fromkeys(map(history.find, references))  # one may have been named twice
        sessions = history.sessions() if everything else [history.info(session) for session in ids]
        what = _in_words(sessions)
        if not sessions:
            console.warn("there is no chat to delete")
            return ExitStatus.OK
        if not yes and not (console.stdin_is_terminal and console.stderr_is_terminal):
            raise UsageError(f"this would delete {what} for good; nobody can be asked here, so say -y to do it")
        if not yes and not console.confirm(f"Delete {what} for good?"):
            console.note("nothing was deleted")
            return ExitStatus.OK
        history.delete(*(session.id for session in sessions))
    console.out("".join(f"{session.id}\t{session.title}\n" for session in sessions))
    return ExitStatus.OK


def _open(console: Console) -> History:
    return History.open(location(console.environ), must_exist=True)


def _in_words(sessions: Sequence[SessionInfo]) -> str:
    if len(sessions) > 3:
        turns = sum(session.turns for session in sessions)
        return f"{len(sessions)} chats ({turns} turns)"
    return ", ".join(f"chat {one.id}, “{one.title}” ({_counted(one)})" for one in sessions)


def _counted(session: SessionInfo) -> str:
    return f"{session.turns} turn{'s' if session.turns != 1 else ''}"


def _columns(session: SessionInfo) -> tuple[str, ...]:
    when = datetime.fromtimestamp(session.updated).strftime("%Y-%m-%d %H:%M")
    return str(session.id), when, str(session.turns), session.model, session.title


def _facts(session: SessionInfo) -> dict[str, object]:
    times = (datetime.fromtimestamp(at).astimezone().isoformat() for at in (session.started, session.updated))
    return {**asdict(session), **dict(zip(("started", "updated"), times, strict=True))}


def _json(facts: object) -> str:
    return json.dumps(facts, indent=2, ensure_ascii=False) + "\n"


def _print_table(console: Console, sessions: Sequence[SessionInfo]) -> None:
    from rich.console import Console as RichConsole
    from rich.table import Table
    from rich.text import Text

    if not sessions:
        return
    rich = RichConsole(file=console.stdout, highlight=False)
    wide = rich.width >= _WIDE
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for name in ("id", "when", "turns", "model", "title") if wide else ("id", "title"):
        is_count = name in {"id", "turns"}
        table.add_column(name, justify="right" if is_count else "left", no_wrap=is_count or name == "when")
    for session in sessions:
        columns = number, when, _, model, title = tuple(Text(printable(value)) for value in _columns(session))
        below = Text(f"\n{when}, {_counted(session)}, {model}", style="dim")
        table.add_row(*(columns if wide else (number, title + below)))
    rich.print(table)


def _print_hits(console: Console, hits: Sequence[Hit]) -> None:
    from rich.console import Console as RichConsole
    from rich.text import Text

    rich = RichConsole(file=console.stdout, highlight=False)
    for hit in hits:
        where = "title" if hit.where == "title" else f"[{hit.number}] {hit.where}"
        mark = ", withdrawn" if hit.withdrawn else ""
        rich.print(Text(printable(f"{hit.session} {where}{mark}: {hit.title}"), style="dim"))
        excerpt, done = Text("  "), 0
        for start, end in hit.spans:
            excerpt.append(printable(hit.excerpt[done:start])).append(printable(hit.excerpt[start:end]), style="bold")
            done = end
        rich.print(excerpt.append(printable(hit.excerpt[done:])))


def _wrapped(text: str) -> Iterator[str]:
    """Long lines broken between words, but for code, which is copied."""
    from rich.console import Console as RichConsole
    from rich.text import Text

    width = shutil.get_terminal_size().columns
    rich, in_code = RichConsole(width=width), False
    for line in printable(text).splitlines():
        in_code ^= line.lstrip().startswith("```")
        whole = in_code or line.startswith(("    ", "\t")) or len(line) * 2 <= width
        lines = [line] if whole else [part.plain.rstrip() for part in Text(line).wrap(rich, width)]
        yield from (f"{part}\n" for part in lines)
