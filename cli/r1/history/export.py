"""A chat as a file of its own: Markdown and plain text for people, JSON for programs.

The JSON, whose keys stay what they are (`version` counts changes that break readers):

    {"format": "r1-chat", "version": 1,
     "session": {"id", "title", "model", "turns", "started", "updated"},
     "turns": [{"id", "number", "started", "question", "files": [{"name", "content"}],
                "model", "system", "seed", "temp", "top_p", "max_tokens", "ctx",
                "thinking" (only when it was asked for), "answer",
                "finish_reason" ("stop", "length", "context", "interrupted"; null: cut off in the middle),
                "thinking_s", "load_s", "trimmed",
                "usage": {"prompt_tokens", "thinking_tokens", "answer_tokens"} or null,
                "timings": {"ttft_s", "prefill_tps", "decode_tps", "total_s"} or null}]}

Times are ISO 8601 in UTC.

Knows: what a reader needs to see. Does not know: terminals, how chats are kept.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from textwrap import fill
from typing import Any

from r1.history.history import History
from r1.history.schema import SessionInfo, StoredTurn
from r1_quantize import units
from r1_quantize.errors import UsageError
from r1_quantize.files import write_atomically

_NARROW = 40  # columns of a telephone's terminal

_ENDINGS = {
    None: "cut off in the middle; this is what there is",
    "length": "cut off by the limit on tokens (--max-tokens)",
    "context": "cut off because the context was full",
    "interrupted": "interrupted",
}
"""What is said of a reply that is not whole."""


def write(history: History, session: int, target: Path, *, with_thinking: bool, force: bool = False) -> None:
    """A chat as the file that the target's name says. Raises UsageError for another name, or a file that is there."""
    form = {".md": to_markdown, ".markdown": to_markdown, ".json": to_json}.get(target.suffix.lower())
    if form is None:
        raise UsageError(f"{target}: a chat becomes a .md or a .json; name the file so")
    text = form(history.info(session), history.turns(session), with_thinking)
    if target.is_dir() or (target.exists() and not force):
        raise UsageError(f"{target} is there already; name another")
    write_atomically(target, text if text.endswith("\n") else text + "\n")


def to_markdown(info: SessionInfo, turns: Sequence[StoredTurn], with_thinking: bool) -> str:
    """A document whose own structure no text in it can break."""
    local = datetime.fromtimestamp(info.started).astimezone().isoformat(timespec="seconds")
    blocks = [f"# {escaped(info.title)}", f"{code(info.model)} · {local}"]
    before = ""
    for turn in turns:
        if (settings := _settings(turn)) != before:
            blocks.append(settings)
            if turn.asked.system:
                blocks += ["System prompt:", quoted(turn.asked.system)]
        before = settings
        blocks += _markdown_turn(turn, with_thinking)
    return "\n\n".join(blocks) + "\n"


def to_text(info: SessionInfo, turns: Sequence[StoredTurn], with_thinking: bool) -> str:
    """A transcript whose own lines fit 40 columns; what was said is as it was said."""
    began = datetime.fromtimestamp(info.started).strftime("%Y-%m-%d %H:%M")
    blocks = [f"{info.title}\nchat {info.id} · {began}"]
    model = ""
    for turn in turns:
        if turn.asked.model != model:
            model = turn.asked.model
            blocks.append(f"-- {model} --")
        blocks += _text_turn(turn, with_thinking)
    return "\n\n".join(blocks) + "\n"


def to_json(info: SessionInfo, turns: Sequence[StoredTurn], with_thinking: bool) -> str:
    """Everything that is kept of the conversation, in the form that stands above."""
    session = {**asdict(info), "started": _iso(info.started), "updated": _iso(info.updated)}
    facts = {"format": "r1-chat", "version": 1, "session": session}
    return json.dumps({**facts, "turns": [_facts(turn, with_thinking) for turn in turns]}, indent=2, ensure_ascii=False)


def _markdown_turn(turn: StoredTurn, with_thinking: bool) -> Iterator[str]:
    yield f"## You, {_clock(turn)}"
    if turn.asked.files:
        yield f"Attached: {', '.join(code(file.name) for file in turn.asked.files)}"
    if turn.asked.question.strip():
        yield contained(turn.asked.question)
    yield "## R1"
    if with_thinking and turn.thinking:
        yield f"<details>\n<summary>{_thought(turn)}</summary>\n\n{fenced(turn.thinking)}\n\n</details>"
    if turn.answer.strip():
        yield contained(turn.answer)
    yield from (f"*({remark})*" for remark in _remarks(turn))


def _text_turn(turn: StoredTurn, with_thinking: bool) -> Iterator[str]:
    files = "".join(f"[file: {file.name}]\n" for file in turn.asked.files)
    yield f"[{turn.number}] You, {_clock(turn)}\n{files}{turn.asked.question}".rstrip("\n")
    if with_thinking and turn.thinking:
        yield f"[{turn.number}] R1 thinking: {_thought(turn).lower()}\n{turn.thinking}"
    if turn.answer:
        yield f"[{turn.number}] R1\n{turn.answer}"
    yield from (fill(f"({remark})", _NARROW) for remark in _remarks(turn))


def _facts(turn: StoredTurn, with_thinking: bool) -> dict[str, Any]:
    asked = turn.asked
    return {
        "id": turn.id,
        "number": turn.number,
        "started": _iso(turn.started),
        **asdict(asked),
        **({"thinking": turn.thinking} if with_thinking else {}),
        "answer": turn.answer,
        "finish_reason": turn.finish_reason,
        "thinking_s": turn.thinking_s,
        "load_s": turn.load_s,
        "trimmed": turn.trimmed,
        "usage": asdict(turn.usage) if turn.usage else None,
        "timings": asdict(turn.timings) if turn.timings else None,
    }


def _settings(turn: StoredTurn) -> str:
    """One line; the seed is another one each turn, and stands in the JSON."""
    asked = turn.asked
    line = (
        f"Model {code(asked.model)}, temperature {asked.temp:g}, top-p {asked.top_p:g}, "
        f"at most {asked.max_tokens} tokens in a context of {asked.ctx}"
    )
    return f"{line}, with a system prompt" if asked.system else line


def _remarks(turn: StoredTurn) -> Iterator[str]:
    if turn.finish_reason in _ENDINGS:
        yield _ENDINGS[turn.finish_reason]
    if turn.trimmed:
        yield "no longer in the model's context"


def _thought(turn: StoredTurn) -> str:
    return "Unfinished" if turn.thinking_s is None else f"Thought for {units.duration(turn.thinking_s)}"


def _clock(turn: StoredTurn) -> str:
    return datetime.fromtimestamp(turn.started).strftime("%H:%M")


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")


_DEEPER = 2
"""Levels by which a heading sinks: the document's own are # and ##."""

_FENCE = re.compile(r"\s*(`{3,}|~{3,})(.*)")
_HEADING = re.compile(r"^( {0,3})(#{1,6})(?=[ \t]|$)")
_UNDERLINE = re.compile(r" {0,3}(=+|-+)[ \t]*")  # which would make a heading of the line before
_TAG = re.compile(r"<(?=[a-zA-Z/!?])(?![a-zA-Z][a-zA-Z0-9+.-]*:)")  # not <https://…>
_REACHING = re.compile(r"<(?=/?(?:details|summary|script|style|pre|textarea)\b|!|\?)", re.IGNORECASE)
_SPAN = re.compile(r"((?<!`)(`+)(?!`).*?(?<!`)\2(?!`))")


def contained(text: str) -> str:
    """Markdown as it is, but for headings, which sink, tags, which are shown, and a fence that was left open."""
    lines: list[str] = []
    fence = ""
    for line in text.strip("\n").splitlines():
        match = _FENCE.fullmatch(line)
        if fence:
            lines.append(line)
            if match and match[1].startswith(fence) and not match[2].strip():
                fence = ""
        elif match and not (match[1][0] == "`" and "`" in match[2]):
            fence = match[1]
            lines.append(line)
        else:
            if _UNDERLINE.fullmatch(line) and lines and lines[-1].strip():
                lines.append("")
            lines.append(escaped(_HEADING.sub(_sunk, line)))
    return "\n".join([*lines, fence] if fence else lines)


def escaped(line: str) -> str:
    """A line whose tags are shown rather than obeyed; what stands in backticks is left, unless it reaches far."""
    parts = _SPAN.split(line)  # outside, span, its backticks, outside, …
    spans = (part if index % 3 == 0 else _REACHING.sub("&lt;", part) for index, part in enumerate(parts))
    return "".join(
        _TAG.sub("&lt;", part) if index % 3 == 0 else part for index, part in enumerate(spans) if index % 3 != 2
    )


def fenced(text: str) -> str:
    """Exactly `text`, in a fence longer than any in it."""
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", text)), default=0))
    return f"{fence}text\n{text}\n{fence}"


def code(text: str) -> str:
    """One line of text in backticks."""
    words = " ".join(text.split())
    ticks = "`" * (1 + max(map(len, re.findall("`+", words)), default=0))
    return f"{ticks} {words} {ticks}" if "`" in words else f"{ticks}{words}{ticks}"


def quoted(text: str) -> str:
    """As a block quote."""
    return "\n".join(f"> {line}".rstrip() for line in contained(text).splitlines())


def _sunk(heading: re.Match[str]) -> str:
    return heading[1] + "#" * min(6, len(heading[2]) + _DEEPER)
