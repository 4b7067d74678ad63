"""How a reply ended: the exit status, and why an answer is incomplete."""

from __future__ import annotations

from dataclasses import dataclass

from r1.engine.events import FinishReason
from r1_quantize.errors import ExitStatus


@dataclass(frozen=True, slots=True)
class Remedies:
    """What to do about each reason, in the words of a command line or of a chat."""

    no_answer: str
    length: str
    context: str


def command_line_remedies(*, can_grow: bool) -> Remedies:
    """The options that help. `can_grow`: the model supports a longer context than the present one."""
    return Remedies(
        no_answer="try again, or with another --seed",
        length="raise --max-tokens",
        context="raise --ctx" if can_grow else "the model does not support a longer one",
    )


def exit_status(reason: FinishReason | None, text: str, interrupted: ExitStatus = ExitStatus.INTERRUPTED) -> ExitStatus:
    """OK only for a reply that ended by itself, with `text`; `interrupted` is the status of an interrupted one."""
    if reason == "interrupted":
        return interrupted
    return ExitStatus.OK if reason == "stop" and text else ExitStatus.INCOMPLETE


def why_incomplete(reason: FinishReason, *, answered: bool, max_tokens: int, context: int, remedies: Remedies) -> str:
    """One line for a reply that was cut off, or ended without an answer. `context` is its length in tokens."""
    if reason == "stop":
        return f"the model stopped without answering; {remedies.no_answer}"
    problem = "the answer is incomplete" if answered else "no answer yet, the model was still thinking"
    if reason == "length":
        return f"{problem}: the limit of {max_tokens:,} tokens was reached; {remedies.length}"
    return f"{problem}: the context of {context:,} tokens is full; {remedies.context}"
