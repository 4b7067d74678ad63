"""A conversation → token ids, in the format R1 was trained on.

    BOS system? ( <｜User｜> prompt <｜Assistant｜> answer EOS )* <｜User｜> prompt <｜Assistant｜> beginning

The beginning of the reply is `<think>\n`; where more of it is given, the model goes on from the end of that:

    <think> \n thinking                           inside the thinking
    <think> \n thinking \n </think> \n\n answer    in the answer

Control tokens are inserted by id; the user's text is tokenized as plain text, so it cannot contain one. Old thinking is
left out, and the reply is made to begin with `<think>\n`, both as DeepSeek's model card recommends
(https://huggingface.co/deepseek-ai/DeepSeek-R1, "Usage Recommendations").
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from r1.engine.model import Model

Continued = Literal["thinking", "answer", "text"]
"""What a prompt ends in the middle of, so that the reply goes on with it.

The thinking or the answer: the beginning of the reply is given. A text: there are no turns.
"""

_WHOLE = 1 << 18  # characters that are tokenized at once
_PIECE = 1 << 16
_PER_CUT = 16  # tokens that a cut may add


@dataclass(frozen=True, slots=True)
class Attachment:
    """A file attached to a prompt."""

    name: str
    content: str


@dataclass(frozen=True, slots=True)
class Turn:
    """One finished exchange. `thinking` and `answer` have no white space at their ends."""

    prompt: str
    thinking: str
    answer: str


@dataclass(frozen=True, slots=True)
class Beginning:
    """The beginning of a reply, when it is given together with the prompt.

    `answer` None: the reply goes on inside the thinking. Otherwise the thinking is over, and the reply goes on with the
    answer.
    """

    thinking: str = ""
    answer: str | None = None

    @property
    def continued(self) -> Continued | None:
        """What the reply goes on with; None if nothing is given."""
        if self.answer is not None:
            return "answer"
        return "thinking" if self.thinking else None


NOTHING_GIVEN = Beginning()
NO_THINKING = Beginning(answer="")
"""A thinking block with nothing in it, as R1 writes it when it does not think."""


@dataclass(slots=True)
class Conversation:
    """The turns so far, and the system prompt: R1 was not trained with one, and DeepSeek advises against it."""

    system: str | None = None
    turns: list[Turn] = field(default_factory=list)


def with_attachments(question: str, attachments: list[Attachment]) -> str:
    """The attached files, then the question, in DeepSeek's template for uploads (same model card)."""
    files = (
        f"[file name]: {file.name}\n[file content begin]\n{file.content}\n[file content end]\n" for file in attachments
    )
    return "".join(files) + question


def tokens_if_longer(model: Model, text: str, length: int) -> int | None:
    """About how many tokens a text has that has more than `length`; None for one that may have fewer.

    llama.cpp takes some 100 bytes of memory for each byte that it tokenizes, so a long text is counted piece by piece,
    no further than needed. A cut at white space is hardly noticed, and one in a word adds a few tokens at most.
    """
    if len(text) <= _WHOLE:
        return None
    tokens = allowance = end = 0
    for piece in _pieces(text):
        tokens += len(model.tokenize(piece))
        allowance += _PER_CUT
        end += len(piece)
        if tokens > length + allowance:
            return tokens * len(text) // end
    return None


def _pieces(text: str) -> Iterator[str]:
    """The text in pieces that end at a line's end or a space, where there is one."""
    start = 0
    while start < len(text):
        end = start + _PIECE
        if end < len(text):
            end = max(text.rfind("\n", start, end), text.rfind(" ", start, end)) + 1 or end
        yield text[start:end]
        start = end


def prompt_segments(
    model: Model, conversation: Conversation, prompt: str, beginning: Beginning = NOTHING_GIVEN
) -> list[list[int]]:
    """The ids up to where the model's reply to `prompt` goes on, in one segment per turn."""
    return _segments(model, conversation, [[*_question(model, prompt), *_begun(model, beginning)]])


def text_segments(model: Model, text: str) -> list[list[int]]:
    """The ids of a text without any turns."""
    return [[model.control.bos, *model.tokenize(text)]]


def conversation_segments(model: Model, conversation: Conversation) -> list[list[int]]:
    """The ids that every further prompt of this conversation begins with; empty before the first turn."""
    return _segments(model, conversation, [])


def _segments(model: Model, conversation: Conversation, pending: list[list[int]]) -> list[list[int]]:
    """The finished turns, then `pending`. BOS and the system prompt belong to the first segment: on their own they
    would cost another decoding pass.
    """
    eos = model.control.eos
    turns = [[*_question(model, turn.prompt), *model.tokenize(turn.answer), eos] for turn in conversation.turns]
    opening = [model.control.bos, *model.tokenize(conversation.system or "")]
    first, *others = [*turns, *pending] or [[]]
    return [[*opening, *first], *others] if first else []


def _begun(model: Model, beginning: Beginning) -> list[int]:
    """The beginning of a reply, with the line breaks that R1 writes around its thinking."""
    thinking = f"\n{beginning.thinking}"
    if beginning.answer is None:
        return [model.control.think, *model.tokenize(thinking)]
    end = "" if beginning.thinking.endswith("\n") else "\n"
    answer = model.tokenize(f"\n\n{beginning.answer}")
    return [model.control.think, *model.tokenize(thinking + end), model.control.end_think, *answer]


def _question(model: Model, prompt: str) -> Iterator[int]:
    yield model.control.user
    yield from model.tokenize(prompt)
    yield model.control.assistant
