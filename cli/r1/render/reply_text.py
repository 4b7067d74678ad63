"""The text of one reply, collected from its events."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from r1.engine.events import Answer, Event, Finished, Prefill, Rewound, Thinking, Thought


@dataclass(frozen=True, slots=True)
class Reply:
    """A finished reply."""

    finished: Finished
    thinking: str
    answer: str


@dataclass(slots=True)
class ReplyText:
    """The text of one reply so far, in the pieces in which it arrived, and its token counts.

    `times_back` counts how often the thinking went back to an earlier place, and its pieces were replaced by one;
    `discarded_tokens` were taken out of it then.
    """

    thinking: list[str] = field(default_factory=list)
    answer: list[str] = field(default_factory=list)
    prompt_tokens: int = 0
    thinking_tokens: int = 0
    answer_tokens: int = 0
    discarded_tokens: int = 0
    times_back: int = 0

    def add(self, event: Event) -> Reply | None:
        """Adds one event of the turn; returns the reply once it is finished."""
        if isinstance(event, Prefill):
            self.prompt_tokens = event.total
        elif isinstance(event, Thinking):
            self.thinking.append(event.text)
            self.thinking_tokens = event.tokens
        elif isinstance(event, Rewound):
            self.thinking = [event.thinking]
            self.thinking_tokens = event.tokens
            self.discarded_tokens += event.dropped
            self.times_back += 1
        elif isinstance(event, Thought):
            self.thinking_tokens = event.tokens
        elif isinstance(event, Answer):
            self.answer.append(event.text)
            self.answer_tokens = event.tokens
        elif isinstance(event, Finished):
            self.thinking_tokens = event.usage.thinking_tokens
            return Reply(event, "".join(self.thinking), "".join(self.answer))
        return None

    @property
    def generated_tokens(self) -> int:
        return self.thinking_tokens + self.answer_tokens + self.discarded_tokens

    @property
    def tokens(self) -> int:
        """Tokens of context that prompt and reply take."""
        return self.prompt_tokens + self.thinking_tokens + self.answer_tokens


def events_of(reply: Reply) -> Iterator[Event]:
    """The events of a reply that is over, each text in one piece."""
    finished = reply.finished
    usage = finished.usage
    yield Prefill(usage.prompt_tokens, usage.prompt_tokens)
    if reply.thinking:
        yield Thinking(reply.thinking, usage.thinking_tokens)
    if finished.thinking_end is not None:
        yield Thought(usage.thinking_tokens, finished.thinking_end)
    if reply.answer:
        yield Answer(reply.answer, usage.answer_tokens)
    yield finished
