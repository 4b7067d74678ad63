"""What a client asks, whichever API it came by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from r1.evaluate.vote import VoteOptions
from r1.serve.messages import Dialogue

if TYPE_CHECKING:
    from r1.engine.request import Request
    from r1.forms.form import Form
    from r1.loaded_model import LoadedModel
    from r1.settings import Settings

MOST_REPLIES = 128
"""To one request: OpenAI's limit for `n`."""

MOST_STOP_TEXTS = 16
MOST_TOP_LOGPROBS = 20


@dataclass(frozen=True, slots=True)
class Question:
    """A request for one reply, or for `count` of them to the same prompt.

    `model` is the name that the client gave; None or empty: the default. `dialogue` is what to answer; None: `text` is
    to be continued as it stands, without thinking. `changed` are settings that differ from the server's, by their
    names; they are checked when the request is made. The answer ends before the first of the `stop_texts`.
    `votes`: samples of the reply are drawn, and one is given whose answer the most of them have.
    `top_logprobs`: how many of the likeliest tokens to list at each place; None: no log-probabilities. Each of the
    `more_texts` is continued, too, by `count` replies of its own, which come after those to `text`.
    """

    model: str | None
    dialogue: Dialogue | None = None
    text: str = ""
    changed: Mapping[str, object] = field(default_factory=dict)
    form: Form | None = None
    stop_texts: tuple[str, ...] = ()
    count: int = 1
    votes: VoteOptions | None = None
    top_logprobs: int | None = None
    more_texts: tuple[str, ...] = ()

    @property
    def texts(self) -> tuple[str, ...]:
        """All that are to be continued."""
        return (self.text, *self.more_texts)


def request_for(question: Question, settings: Settings, loaded: LoadedModel) -> Request:
    """The engine's request for one reply. Raises as `LoadedModel.request`."""
    dialogue = question.dialogue
    if dialogue is None:
        request = loaded.continuation(question.text, settings=settings)
    else:
        request = loaded.request(
            dialogue.prompt, dialogue.turns, settings=settings, form=question.form, beginning=dialogue.beginning
        )
    request.top_logprobs = question.top_logprobs
    return request
