"""Replies as a whole, for answers that are not streamed."""

from __future__ import annotations

from dataclasses import dataclass, field

from r1.engine.events import Rewound, Scored
from r1.render.reply_text import Reply, ReplyText
from r1.serve.asked import Asked


@dataclass(slots=True)
class Collected:
    """One finished reply. `scores` are its tokens' log-probabilities, if they were asked for."""

    reply: Reply
    stop_text: str | None
    scores: list[Scored]


@dataclass(slots=True)
class _Parts:
    text: ReplyText = field(default_factory=ReplyText)
    scores: list[Scored] = field(default_factory=list)


async def collect(asked: Asked) -> list[Collected]:
    """All replies, in the order of their indices. Raises ApiError when one fails."""
    parts: dict[int, _Parts] = {}
    replies: dict[int, Collected] = {}
    async for happened in asked.events():
        part = parts.setdefault(happened.index, _Parts())
        if isinstance(happened.event, Scored):
            part.scores.append(happened.event)
        elif isinstance(happened.event, Rewound):
            del part.scores[happened.event.tokens :]
        reply = part.text.add(happened.event)
        if reply is not None:
            replies[happened.index] = Collected(reply, happened.stop_text, part.scores)
    return [replies[index] for index in sorted(replies)]
