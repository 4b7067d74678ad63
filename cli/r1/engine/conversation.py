"""What was said: turns of a prompt, the thinking it caused, and the answer.

Knows: text. Does not know: tokens, or how a model is spoken to.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Turn:
    """One exchange that is over. `thinking` and `answer` are without white space at their ends."""

    prompt: str
    thinking: str
    answer: str


@dataclass(slots=True)
class Conversation:
    """The turns so far, and the system prompt that R1 was not trained for (None: none, as DeepSeek advises)."""

    system: str | None = None
    turns: list[Turn] = field(default_factory=list)
