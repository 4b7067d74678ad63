"""The program's messages in a chat: printing them, and their texts about limits and errors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from r1.chat.view import View
from r1.chat.worker import Ready
from r1.engine.context import PromptTooLong
from r1.engine.events import Finished
from r1.engine.kv_types import CONTEXT_STEP
from r1.render.outcome import FormCheck, Limits, Remedies, why_incomplete
from r1.settings import Settings
from r1_quantize.errors import R1Error, unexpected

if TYPE_CHECKING:
    from r1.forms.form import Form

NEARLY_FULL = 0.85
"""The user is warned when this share of the context is used."""

_DIM, _BOLD, _RED = "2", "1", "31"  # SGR codes


class Notices:
    """Prints the program's messages in a chat."""

    def __init__(self, view: View) -> None:
        self._view = view

    def say(self, text: str) -> None:
        """A dim line."""
        self._view.print(self._lines(text, _DIM))

    def warn(self, text: str) -> None:
        """A bold line, for a warning."""
        self._view.print(self.warning(text))

    def fail(self, text: str) -> None:
        """A red line, for an error."""
        self._view.print(self.failure(text))

    def warning(self, text: str) -> str:
        """The lines that `warn` prints."""
        return self._lines(text, _BOLD)

    def failure(self, text: str) -> str:
        """The lines that `fail` prints."""
        return self._lines(text, _RED)

    def ending(self, remarks: Sequence[str], *warnings: str | None) -> str:
        """The lines that follow a reply: remarks, then warnings."""
        said = self._lines("\n".join(remarks), _DIM) if remarks else ""
        return said + "".join(self.warning(warning) for warning in warnings if warning)

    def _lines(self, text: str, codes: str) -> str:
        return self._view.style.note(text, codes) + "\n"


def explain(error: Exception, ready: Ready | None) -> str:
    """The message about an error, and what to do about it."""
    if isinstance(error, PromptTooLong):
        return (
            f"the prompt is too long: {error.count} tokens, and the context holds {error.length:,}; press Up to "
            f"restore and shorten it, or {_make_room(ready, error.tokens)}"
        )
    return str(error) if isinstance(error, R1Error) else unexpected(error)


def what_is_wrong(
    event: Finished, answer: str, form: Form | None, settings: Settings, ready: Ready | None
) -> str | None:
    """Why a reply is incomplete or not of the form that was asked for, and what to do about it; None if it is right."""
    check = FormCheck.of(answer, event.reason, form)
    if check.problem is not None:
        return f"{check.problem}; /retry to ask again"
    if event.reason == "stop" and (check.valid or event.usage.answer_tokens):
        return None
    return why_it_ended(event, settings, ready)


def why_it_ended(event: Finished, settings: Settings, ready: Ready | None) -> str:
    """Why a reply is incomplete, and what to do about it."""
    if event.reason == "interrupted":
        return "stopped; the reply so far is saved (/retry to ask again)"
    context = ready.ctx if ready else 0
    remedies = Remedies(
        no_answer="/retry to try again",
        length="/set max-tokens N, then /retry",
        context=_make_room(ready, context),
    )
    limits = Limits(settings.thinking_params().budget, settings.max_tokens, context, remedies)
    return why_incomplete(
        event.reason, limits, answered=bool(event.usage.answer_tokens), thought=event.thinking_end is not None
    )


def nearly_full(used: int, ready: Ready) -> str:
    """The warning that few tokens of context are left."""
    left = max(ready.ctx - used, 0)
    return f"the context is nearly full: {left:,} of {ready.ctx:,} tokens left; {_make_room(ready, used)}"


def _make_room(ready: Ready | None, needed: int) -> str:
    """The commands that make room; enlarging the context is one of them unless it is as long as the model supports."""
    enlarge = ""
    if ready is not None and ready.ctx < ready.trained:
        roomy = -(-2 * max(ready.ctx, needed) // CONTEXT_STEP) * CONTEXT_STEP
        enlarge = f"/set ctx {min(roomy, ready.trained)}, "
    return f"make room: {enlarge}/trim (oldest turns), /undo (last turn) or /clear (new chat)"
