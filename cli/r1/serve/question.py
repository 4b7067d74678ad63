"""What a client asks, whichever API it came by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from r1.serve.messages import Dialogue

if TYPE_CHECKING:
    from r1.forms.form import Form

MOST_REPLIES = 128
"""To one request: OpenAI's limit for `n`."""

MOST_STOP_TEXTS = 16


@dataclass(frozen=True, slots=True)
class Question:
    """A request for one reply, or for `count` of them to the same prompt.

    `model` is the name that the client gave; None or empty: the default. `dialogue` is what to answer; None: `text` is
    to be continued as it stands, without thinking. `changed` are settings that differ from the server's, by their
    names; they are checked when the request is made. The answer ends before the first of the `stop_texts`.
    `top_logprobs`: how many of the likeliest tokens to tell at each place; None: nothing of the kind.
    """

    model: str | None
    dialogue: Dialogue | None = None
    text: str = ""
    changed: Mapping[str, object] = field(default_factory=dict)
    form: Form | None = None
    stop_texts: tuple[str, ...] = ()
    count: int = 1
    top_logprobs: int | None = None
