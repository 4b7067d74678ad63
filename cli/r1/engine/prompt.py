"""A conversation → token ids, in the shape that R1 was trained on.

    BOS system? ( <｜User｜> prompt <｜Assistant｜> answer EOS )* <｜User｜> prompt <｜Assistant｜> <think> \\n

Control tokens are put in by id; what people type is tokenized as plain text and never parsed for them.
The old thinking is left out, and the reply is made to begin with `<think>\\n`, both as DeepSeek's
model card asks (https://huggingface.co/deepseek-ai/DeepSeek-R1, "Usage Recommendations").

Knows: R1's format. Does not know: the KV cache, sampling.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from r1.engine.conversation import Conversation
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


def prompt_tokens(model: Model, conversation: Conversation, prompt: str) -> list[int]:
    """The ids after which the model's thinking about `prompt` begins."""
    control = model.control
    ids = [control.bos, *model.tokenize(conversation.system or "")]
    for turn in conversation.turns:
        ids += [*_asked(model, turn.prompt), *model.tokenize(turn.answer), control.eos]
    return [*ids, *_asked(model, prompt), control.think, *model.tokenize("\n")]


def _asked(model: Model, prompt: str) -> Iterator[int]:
    yield model.control.user
    yield from model.tokenize(prompt)
    yield model.control.assistant
