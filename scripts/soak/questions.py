"""Questions with known replies: sums for the built-in model, alone, late in a conversation, and after a long one."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from r1.engine.prompt import Turn
from r1.loaded_model import LoadedModel
from r1.render.reply_text import ReplyText
from r1.settings import Settings

_TURNS = (0, 0, 1, 3, 20)  # how many came before


@dataclass(frozen=True, slots=True)
class Question:
    """`thinking` and `answer` are those of the model when nothing else runs; the most likely token is always taken."""

    prompt: str
    turns: tuple[Turn, ...]
    thinking: str
    answer: str

    @property
    def messages(self) -> list[dict[str, str]]:
        """As all APIs have them, with the earlier turns."""
        earlier = [
            message
            for turn in self.turns
            for message in ({"role": "user", "content": turn.prompt}, {"role": "assistant", "content": turn.answer})
        ]
        return [*earlier, {"role": "user", "content": self.prompt}]


def make_questions(model: Path, count: int, seed: int) -> list[Question]:
    """So many questions that the model answers rightly, asked one after the other in this process."""
    rng = random.Random(seed)
    found: list[Question] = []
    with LoadedModel(model, Settings(temp=0, threads=1)) as loaded:
        earlier: list[Turn] = []
        while len(found) < count:
            turns = tuple(earlier[-number:] if (number := rng.choice(_TURNS)) else ())
            first, second = rng.randint(1, 999), rng.randint(1, 999)
            question = _asked(loaded, f"{first}+{second}?", turns)
            if f"boxed{{{first + second}}}" in question.answer:
                found.append(question)
                earlier.append(Turn(question.prompt, question.thinking, question.answer))
    return found


def _asked(loaded: LoadedModel, prompt: str, turns: Sequence[Turn]) -> Question:
    text = ReplyText()
    for event in loaded.ask(prompt, turns).events:
        if (reply := text.add(event)) is not None:
            return Question(prompt, tuple(turns), reply.thinking, reply.answer)
    raise AssertionError("the last event is the end of the reply")
