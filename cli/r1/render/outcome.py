"""How a reply ended: its exit status, what ended the thinking, and what is wrong with the answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from r1.engine.events import Finished, FinishReason, ThinkingEnd
from r1_quantize.errors import ExitStatus

if TYPE_CHECKING:
    from r1.forms.form import Form


@dataclass(frozen=True, slots=True)
class Remedies:
    """What to do about each reason, in the words of a command line or of a chat."""

    no_answer: str
    length: str
    context: str


@dataclass(frozen=True, slots=True)
class Limits:
    """What a reply may have in tokens, and what to do about it. `budget` is that of the thinking; None: none.

    `reserve` is what the user wants to have left for the answer; None: as much as is usual.
    """

    budget: int | None
    max_tokens: int
    context: int
    remedies: Remedies
    reserve: int | None = None

    def of_thinking(self, prompt_tokens: int) -> str:
        """What left little room for the answer, and what to do about it: the context or `max_tokens`."""
        is_context = prompt_tokens + self.max_tokens > self.context
        room = "the context" if is_context else _tokens(self.max_tokens)
        remedy = self.remedies.context if is_context else self.remedies.length
        return f"{room}; {remedy if self.reserve is None else 'lower --reserve'}"


def command_line_remedies(*, can_grow: bool) -> Remedies:
    """The options that help. `can_grow`: the model supports a longer context than the present one."""
    return Remedies(
        no_answer="try again, or with another --seed",
        length="raise --max-tokens",
        context="raise --ctx" if can_grow else "the model does not support a longer one",
    )


@dataclass(frozen=True, slots=True)
class FormCheck:
    """Whether an answer has the form that was asked for. `valid` is None if none was, or the answer is not finished.

    `problem` says why it has not.
    """

    valid: bool | None = None
    problem: str | None = None

    @classmethod
    def of(cls, answer: str, reason: FinishReason, form: Form | None) -> FormCheck:
        if form is None or reason != "stop":
            return cls()
        problem = form.problem(answer)
        return cls(problem is None, problem)


def exit_status(
    reason: FinishReason | None,
    text: str,
    interrupted: ExitStatus = ExitStatus.INTERRUPTED,
    *,
    valid: bool | None = None,
) -> ExitStatus:
    """OK only for a reply that ended by itself, with `text`, or with one of the form that was asked for.

    `interrupted` is the status of an interrupted one; `valid` is that of its `FormCheck`.
    """
    if reason == "interrupted":
        return interrupted
    is_complete = bool(text) if valid is None else valid
    return ExitStatus.OK if reason == "stop" and is_complete else ExitStatus.INCOMPLETE


def why_incomplete(
    reason: FinishReason, limits: Limits, *, answered: bool, thought: bool = False, only_thinking: bool = False
) -> str:
    """One line for a reply that was cut off, or ended without an answer.

    `thought`: the thinking had ended. `only_thinking`: no answer was asked for.
    """
    remedies = limits.remedies
    if reason == "stop":
        return f"the model stopped without answering; {remedies.no_answer}"
    problem = "no answer yet" if thought else "no answer yet, the model was still thinking"
    if answered or only_thinking:
        problem = f"the {'thinking' if only_thinking else 'answer'} is incomplete"
    if reason == "loop":
        return f"{problem}: it went round in circles and was stopped; {remedies.no_answer}"
    if reason == "length":
        return f"{problem}: the limit of {_tokens(limits.max_tokens)} was reached; {remedies.length}"
    return f"{problem}: the context of {limits.context:,} tokens is full; {remedies.context}"


def ended_early(end: ThinkingEnd | None, reason: FinishReason, thinking_tokens: int) -> bool:
    """Whether there was thinking that something else than the model ended, and this needs to be said.

    A limit that ended the answer, too, is named there.
    """
    is_named_anyway = end == "limit" and reason in {"length", "context"}
    return end not in {None, "natural"} and thinking_tokens > 0 and not is_named_anyway


def how_thinking_ended(finished: Finished, limits: Limits) -> str | None:
    """One line about thinking that `ended_early`; else None."""
    end, tokens = finished.thinking_end, finished.usage.thinking_tokens
    if end is None or not ended_early(end, finished.reason, tokens):
        return None
    after = f"after {_tokens(tokens)}"
    limit = limits.of_thinking(finished.usage.prompt_tokens)
    made_to_answer = ", and was made to answer" if finished.usage.answer_tokens else ""
    wordings: dict[ThinkingEnd, str] = {
        "budget": f"the thinking was ended at the budget of {_tokens(limits.budget or 0)}",
        "loop": f"the thinking went round in circles, and was ended {after}",
        "user": f"the thinking was ended {after}, by the signal to answer now",
        "eos": f"the model ended its turn while it was thinking, {after}{made_to_answer}",
        "limit": f"the thinking was ended {after}, to leave room for the answer in {limit}",
    }
    return wordings[end]


def _tokens(count: int) -> str:
    return f"{count:,} token{'' if count == 1 else 's'}"
