"""The messages of a request, whichever API it came by, as a conversation that R1 understands.

R1 was not trained with system prompts, and DeepSeek advises to put instructions into the user's message
(https://huggingface.co/deepseek-ai/DeepSeek-R1, "Usage Recommendations"). So the text of a system or developer message
goes in front of the user message that follows it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from r1.engine.prompt import Beginning, Turn
from r1.serve.errors import ApiError, bad_field

MOST_MESSAGES = 2_000

_END_OF_THINKING = "</think>"
_ROLES = ("system", "developer", "user", "assistant")


@dataclass(frozen=True, slots=True)
class Message:
    """One message. `path` names it in errors, such as `messages[2]`; `thinking` is what an assistant thought."""

    path: str
    role: str
    text: str
    thinking: str = ""


@dataclass(frozen=True, slots=True)
class Dialogue:
    """The turns before, the prompt to answer, and what the answer begins with, if the client wants to say that.

    `has_instructions`: there were system messages.
    """

    turns: tuple[Turn, ...]
    prompt: str
    beginning: Beginning | None = None
    has_instructions: bool = False


@dataclass(slots=True)
class _Reader:
    """The conversation as far as it is read. `asked` and `instructions` wait for the messages that follow."""

    turns: list[Turn] = field(default_factory=list)
    instructions: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    answered: list[Message] = field(default_factory=list)
    has_instructions: bool = False

    def add(self, message: Message) -> None:
        if message.role == "assistant":
            if not self.asked and not self.answered:
                if not self.turns:
                    raise bad_field(message.path, "is an assistant's; a conversation begins with a user's message")
                self.asked, self.instructions = self.instructions, []  # with no user's message in between
            self.answered.append(message)
            return
        if self.answered:
            self.end_turn()
        if message.role == "user":
            self.asked += [*self.instructions, message.text]
            self.instructions = []
        else:
            self.has_instructions = True
            self.instructions.append(message.text)

    def end_turn(self) -> None:
        answer = "\n\n".join(filter(None, (_without_thinking(each.text).strip() for each in self.answered)))
        thinking = "\n\n".join(filter(None, (each.thinking.strip() for each in self.answered)))
        self.turns.append(Turn(_joined(self.asked), thinking, answer))
        self.asked, self.answered = [], []

    def dialogue(self, name: str) -> Dialogue:
        beginning = _beginning(self.answered)
        self.asked += self.instructions  # with no user's message behind them
        prompt = _joined(self.asked)
        if not prompt.strip():
            raise ApiError(400, "the messages have no text to answer", param=name)
        return Dialogue(tuple(self.turns), prompt, beginning, self.has_instructions)


def dialogue_of(messages: Iterable[Message], name: str = "messages") -> Dialogue:
    """The conversation. Messages of the same role in a row are one; an assistant's at the end is the beginning of the
    answer. Raises ApiError for too many or none, and for roles that make no conversation; `name` is the field of the
    body that has them.
    """
    reader = _Reader()
    number = 0
    for number, message in enumerate(messages, 1):
        if number > MOST_MESSAGES:
            raise ApiError(400, f"there are more than {MOST_MESSAGES:,} messages; leave old ones out", param=name)
        if message.role not in _ROLES:
            raise bad_field(f"{message.path}.role", f"must be one of {', '.join(_ROLES)}, not {message.role!r:.60}")
        reader.add(message)
    if number == 0:
        raise ApiError(400, f"{name} is empty; give one message at least", param=name)
    return reader.dialogue(name)


def _beginning(messages: list[Message]) -> Beginning | None:
    """What the reply begins with; an empty message of a client that only marks whose turn it is begins nothing."""
    text = "\n\n".join(message.text for message in messages if message.text)
    thinking = "\n\n".join(message.thinking for message in messages if message.thinking)
    if text.strip():
        return Beginning(thinking, text)
    return Beginning(thinking) if thinking.strip() else None


def _without_thinking(text: str) -> str:
    """An answer without the thinking that some clients leave in it; R1's own template drops it, too."""
    return text.rpartition(_END_OF_THINKING)[2]


def _joined(texts: list[str]) -> str:
    return "\n\n".join(filter(None, texts))
