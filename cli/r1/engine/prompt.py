"""A conversation → token ids, in the shape that R1 was trained on.

    BOS system? ( <｜User｜> prompt <｜Assistant｜> answer EOS )* <｜User｜> prompt <｜Assistant｜> <think> \n

Control tokens are put in by id; what people type is tokenized as plain text and never parsed for them.
The old thinking is left out, and the reply is made to begin with `<think>\n`, both as DeepSeek's
model card asks (https://huggingface.co/deepseek-ai/DeepSeek-R1, "Usage Recommendations").

Knows: R1's format. Does not know: the KV cache, sampling.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from r1.engine.model import Model


@dataclass(frozen=True, slots=True)
class Attachment:
    """A file that goes along with a prompt."""

    name: str
    content: str


def with_attachments(question: str, attachments: list[Attachment]) -> str:
    """The question behind its files, in DeepSeek's template for uploads (same model card)."""
    files = (
        f"[file name]: {file.name}\n[file content begin]\n{file.content}\n[file content end]\n" for file in attachments
    )
    return "".join(files) + question


def prompt_segments(model: Model, conversation: Conversation, prompt: str) -> list[list[int]]:
    """The ids after which the model's thinking about `prompt` begins, in a segment a turn."""
    return _segments(model, conversation, [[*_asked(model, prompt), model.control.think, *model.tokenize("\n")]])


def conversation_segments(model: Model, conversation: Conversation) -> list[list[int]]:
    """What every further prompt of this conversation begins with; nothing while nothing was said."""
    return _segments(model, conversation, [])


def _segments(model: Model, conversation: Conversation, asked: list[list[int]]) -> list[list[int]]:
    """The turns so far, then `asked`. The first holds the opening too: to decode a token alone costs a whole pass."""
    eos = model.control.eos
    turns = [[*_asked(model, turn.prompt), *model.tokenize(turn.answer), eos] for turn in conversation.turns]
    opening = [model.control.bos, *model.tokenize(conversation.system or "")]
    first, *others = [*turns, *asked] or [[]]
    return [[*opening, *first], *others] if first else []


def _asked(model: Model, prompt: str) -> Iterator[int]:
    yield model.control.user
    yield from model.tokenize(prompt)
    yield model.control.assistant


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
