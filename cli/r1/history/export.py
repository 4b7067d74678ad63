"""A chat as a file: Markdown and plain text for people, JSON for programs.

The JSON; its keys never change meaning, and `version` counts changes that break readers:

    {"format": "r1-chat", "version": 2,
     "chat": {"id", "title", "model", "turns", "started", "updated"},
     "turns": [{"id", "number", "started", "question", "files": [{"name", "content"}],
                "model", "system", "seed", "temp", "top_p", "max_tokens", "ctx",
                "form" (that the answer had to have, in words, or null),
                "thinking" (only if requested), "answer",
                "finish_reason" ("stop", "length", "context", "loop", "interrupted"; null: cut off),
                "thinking_end" ("natural", "budget", "loop", "user", "eos", "limit"; null: not known),
                "thinking_s", "load_s", "trimmed",
                "usage": {"prompt_tokens", "thinking_tokens", "answer_tokens"} or null,
                "timings": {"ttft_s", "prefill_tps", "decode_tps", "total_s"} or null}]}

Times are ISO 8601 in UTC. In version 1, `chat` was called `session`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from r1.engine.events import THINKING_ENDS, Usage
from r1.history.history import History
from r1.history.rows import SessionInfo, StoredTurn
from r1_quantize import units
from r1_quantize.errors import UsageError
from r1_quantize.files import write_atomically

_REMARKS = {
    None: "this reply was cut off",
    "length": "cut off by the limit on tokens",
    "context": "cut off because the context was full",
    "loop": "stopped: it went round in circles",
    "interrupted": "interrupted",
}
"""About incomplete replies, by `finish_reason`; short enough for the 40 columns of a phone."""

Format = Callable[[SessionInfo, Sequence[StoredTurn], bool], str]


def export(
    history: History,
    session: int,
    target: Path,
    *,
    with_thinking: bool,
    force: bool = False,
    remedy: str = "choose another name",
) -> None:
    """Writes a chat in the format of the target's suffix.

    Raises UsageError for another suffix, for a folder that does not exist, and for a file that does, with `remedy`.
    """
    to_format = _format_of(target)
    text = to_format(history.info(session), history.turns(session), with_thinking)
    if target.is_dir() or (target.exists() and not force):
        raise UsageError(f"{target} already exists; {remedy}")
    if not target.parent.exists():
        raise UsageError(f"there is no folder {target.parent}")
    write_atomically(target, text if text.endswith("\n") else text + "\n")


def _format_of(target: Path) -> Format:
    match target.suffix.lower():
        case ".md" | ".markdown":
            return to_markdown
        case ".json":
            return to_json
    raise UsageError(f"{target}: export only to .md or .json")


def to_markdown(info: SessionInfo, turns: Sequence[StoredTurn], with_thinking: bool) -> str:
    """A document whose structure no text of the chat can break."""
    local = datetime.fromtimestamp(info.started).astimezone().isoformat(timespec="seconds")
    blocks = [f"# {escape_tags(info.title)}", f"{inline_code(info.model)} · {local}"]
    before = ""
    for turn in turns:
        if (settings := _settings(turn)) != before:
            blocks.append(settings)
            if turn.asked.system:
                blocks += ["System prompt:", block_quote(turn.asked.system)]
        before = settings
        blocks += _markdown_turn(turn, with_thinking)
    return "\n\n".join(blocks) + "\n"


def to_text(info: SessionInfo, turns: Sequence[StoredTurn], with_thinking: bool) -> str:
    """A transcript whose own lines fit 40 columns; questions and answers are unchanged."""
    began = units.minute(info.started)
    blocks = [f"{info.title}\nchat {info.id} · {began}"]
    model = ""
    for turn in turns:
        if turn.asked.model != model:
            model = turn.asked.model
            blocks.append(f"-- {model} --")
        blocks += _text_turn(turn, with_thinking)
    return "\n\n".join(blocks) + "\n"


def to_json(info: SessionInfo, turns: Sequence[StoredTurn], with_thinking: bool) -> str:
    """The complete conversation, in the format described at the top of this module."""
    return json.dumps(chat_facts(info, turns, with_thinking), indent=2, ensure_ascii=False)


def chat_facts(info: SessionInfo, turns: Sequence[StoredTurn], with_thinking: bool) -> dict[str, Any]:
    """The same as `to_json`, not yet as text."""
    return {
        "format": "r1-chat",
        "version": 2,
        "chat": {**asdict(info), "started": moment(info.started), "updated": moment(info.updated)},
        "turns": [_turn_facts(turn, with_thinking) for turn in turns],
    }


def _markdown_turn(turn: StoredTurn, with_thinking: bool) -> Iterator[str]:
    yield f"## You, {_clock(turn)}"
    if turn.asked.files:
        yield f"Attached: {', '.join(inline_code(file.name) for file in turn.asked.files)}"
    if turn.asked.question.strip():
        yield embed(turn.asked.question)
    yield "## R1"
    if with_thinking and turn.thinking:
        yield f"<details>\n<summary>{_thought(turn)}</summary>\n\n{fence(turn.thinking)}\n\n</details>"
    if turn.answer.strip():
        yield fence(turn.answer) if turn.asked.form else embed(turn.answer)
    yield from (f"*({remark})*" for remark in _remarks(turn))


def _text_turn(turn: StoredTurn, with_thinking: bool) -> Iterator[str]:
    files = "".join(f"[file: {file.name}]\n" for file in turn.asked.files)
    yield f"[{turn.number}] You, {_clock(turn)}\n{files}{turn.asked.question}".rstrip("\n")
    if with_thinking and turn.thinking:
        yield f"[{turn.number}] R1 thinking: {_thought(turn).lower()}\n{turn.thinking}"
    if turn.answer:
        yield f"[{turn.number}] R1\n{turn.answer}"
    yield from (f"({remark})" for remark in _remarks(turn))


def _turn_facts(turn: StoredTurn, with_thinking: bool) -> dict[str, Any]:
    return {
        "id": turn.id,
        "number": turn.number,
        "started": moment(turn.started),
        **asdict(turn.asked),
        **({"thinking": turn.thinking} if with_thinking else {}),
        "answer": turn.answer,
        "finish_reason": turn.finish_reason,
        "thinking_end": turn.thinking_end,
        "thinking_s": turn.thinking_s,
        "load_s": turn.load_s,
        "trimmed": turn.trimmed,
        "usage": _usage(turn.usage) if turn.usage else None,
        "timings": asdict(turn.timings) if turn.timings else None,
    }


def _usage(usage: Usage) -> dict[str, int]:
    """Without the discarded tokens, which the history does not keep."""
    return {name: count for name, count in asdict(usage).items() if name != "discarded_tokens"}


def _settings(turn: StoredTurn) -> str:
    """One line. The seed, which differs in each turn, is only in the JSON."""
    asked = turn.asked
    line = (
        f"Model {inline_code(asked.model)}, temperature {asked.temp:g}, top-p {asked.top_p:g}, "
        f"at most {asked.max_tokens} tokens in a context of {asked.ctx}"
    )
    line += f", answers in the form {inline_code(asked.form)}" if asked.form else ""
    return f"{line}, with a system prompt" if asked.system else line


def _remarks(turn: StoredTurn) -> Iterator[str]:
    if turn.finish_reason in _REMARKS:
        yield _REMARKS[turn.finish_reason]
    if turn.trimmed:
        yield "no longer in the model's context"


def _thought(turn: StoredTurn) -> str:
    if turn.thinking_s is None:
        return "Unfinished"
    ending = THINKING_ENDS.get(turn.thinking_end)
    return ", ".join(filter(None, [f"Thought for {units.duration(turn.thinking_s)}", ending]))


def _clock(turn: StoredTurn) -> str:
    return datetime.fromtimestamp(turn.started).strftime("%H:%M")


def moment(seconds: float) -> str:
    """Seconds since the epoch → ISO 8601 in UTC, with milliseconds."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")


# --- Markdown of the chat inside our document ---

_HEADING_SHIFT = 2  # levels; the document's own headings are # and ##

_FENCE = re.compile(r"\s*(`{3,}|~{3,})(.*)")
_HEADING = re.compile(r"^( {0,3})(#{1,6})(?=[ \t]|$)")
_UNDERLINE = re.compile(r" {0,3}(=+|-+)[ \t]*")  # makes the line before it a heading
_TAG = re.compile(r"<(?=[a-zA-Z/!?])(?![a-zA-Z][a-zA-Z0-9+.-]*:)")  # not <https://…>
_BLOCK_TAG = re.compile(r"<(?=/?(?:details|summary|script|style|pre|textarea)\b|!|\?)", re.IGNORECASE)
_SPAN = re.compile(r"((?<!`)(`+)(?!`).*?(?<!`)\2(?!`))")


def embed(text: str) -> str:
    """Markdown that cannot break out: headings are shifted, HTML tags escaped, an open code fence closed."""
    lines: list[str] = []
    open_fence = ""
    for line in text.strip("\n").splitlines():
        match = _FENCE.fullmatch(line)
        if open_fence:
            lines.append(line)
            if match and match[1].startswith(open_fence) and not match[2].strip():
                open_fence = ""
        elif match and not (match[1][0] == "`" and "`" in match[2]):
            open_fence = match[1]
            lines.append(line)
        else:
            if _UNDERLINE.fullmatch(line) and lines and lines[-1].strip():
                lines.append("")
            lines.append(escape_tags(_HEADING.sub(_shifted, line)))
    return "\n".join([*lines, open_fence] if open_fence else lines)


def escape_tags(line: str) -> str:
    """A line whose HTML tags are shown as text. In backticks only tags that open or close a block are escaped."""
    parts = _SPAN.split(line)  # outside, span, its backticks, outside, …
    spans = (part if index % 3 == 0 else _BLOCK_TAG.sub("&lt;", part) for index, part in enumerate(parts))
    return "".join(
        _TAG.sub("&lt;", part) if index % 3 == 0 else part for index, part in enumerate(spans) if index % 3 != 2
    )


def fence(text: str) -> str:
    """`text` unchanged, in a code fence longer than any inside it."""
    ticks = "`" * max(3, 1 + max(map(len, re.findall("`+", text)), default=0))
    return f"{ticks}text\n{text}\n{ticks}"


def inline_code(text: str) -> str:
    """`text` on one line, in backticks."""
    words = " ".join(text.split())
    ticks = "`" * (1 + max(map(len, re.findall("`+", words)), default=0))
    return f"{ticks} {words} {ticks}" if "`" in words else f"{ticks}{words}{ticks}"


def block_quote(text: str) -> str:
    return "\n".join(f"> {line}".rstrip() for line in embed(text).splitlines())


def _shifted(heading: re.Match[str]) -> str:
    return heading[1] + "#" * min(6, len(heading[2]) + _HEADING_SHIFT)
