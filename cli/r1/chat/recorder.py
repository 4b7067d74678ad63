"""The turn that is going on: what was said so far, and how much of it is in the history.

Knows: pieces. Does not know: where they come from, who keeps them.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from r1.engine.events import Finished
from r1.history.history import Asked, StoredTurn


@dataclass(slots=True)
class Current:
    """The turn that is going on. `kept_*`: how many pieces of it are in the history; id 0: it is not there yet.

    `replaces`: the turn whose place it takes once it has begun.
    """

    number: int
    asked: Asked
    replaces: StoredTurn | None = None
    id: int = 0
    started: float = field(default_factory=time.time)
    prompt_tokens: int = 0
    thinking_tokens: int = 0
    answer_tokens: int = 0
    load_s: float = 0.0
    thinking: list[str] = field(default_factory=list)
    answer: list[str] = field(default_factory=list)
    kept_thinking: int = 0
    kept_answer: int = 0
    kept: float = field(default_factory=time.monotonic)

    @property
    def used(self) -> int:
        return self.prompt_tokens + self.thinking_tokens + self.answer_tokens

    def new_pieces(self) -> tuple[str, str]:
        """What is not in the history yet, thinking and answer."""
        return "".join(self.thinking[self.kept_thinking :]), "".join(self.answer[self.kept_answer :])

    def mark_kept(self) -> None:
        """All of it is in the history now."""
        self.kept_thinking, self.kept_answer = len(self.thinking), len(self.answer)

    def stored(self, finished: Finished | None, thinking_s: float | None) -> StoredTurn:
        """The turn once it is over; None: it broke off."""
        return StoredTurn(
            id=self.id,
            number=self.number,
            asked=self.asked,
            thinking="".join(self.thinking),
            answer="".join(self.answer),
            finish_reason=finished.reason if finished else None,
            thinking_s=thinking_s,
            usage=finished.usage if finished else None,
            timings=finished.timings if finished else None,
            load_s=self.load_s,
            started=self.started,
            trimmed=False,
        )
