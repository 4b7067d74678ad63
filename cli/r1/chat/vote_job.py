"""A vote in the chat: several replies to one message on the worker's thread, and the events of the one that wins."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from r1.engine.events import Event
from r1.engine.prompt import Turn
from r1.engine.request import Request
from r1.loaded_model import LoadedModel
from r1.render.reply_text import events_of
from r1.settings import Settings

if TYPE_CHECKING:
    from r1.evaluate.polling import Polling
    from r1.evaluate.tally import Sample
    from r1.evaluate.vote import VoteOptions
    from r1.evaluate.voting import Voting
    from r1.forms.form import Form

_TALLY_EVERY_S = 0.1


@dataclass(frozen=True, slots=True)
class Tallied:
    """How a vote stands, in fewer and fewer words."""

    wordings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class VoteOver:
    """A vote has ended. Getting ready for it took `load_s` seconds, and the thinking of its winner `thinking_s`.

    `problem` says why nothing won; else None. `remarks` are for people, and say what the vote came to; `warnings` are
    for scripts, too. `is_stopped`: the user ended it.
    """

    load_s: float
    thinking_s: float
    remarks: tuple[str, ...]
    warnings: tuple[str, ...]
    problem: str | None
    is_stopped: bool = False


VoteEvent = Tallied | VoteOver | Event


class VoteJob:
    """One vote over a loaded model, with the votes of its settings."""

    def __init__(
        self,
        model: LoadedModel,
        prompt: str,
        turns: Sequence[Turn],
        form: Form | None,
        times_hurried: Callable[[], int],
        stop: Callable[[], bool],
    ) -> None:
        """`times_hurried` is as in `Voting`. `stop` ends the vote with what has been counted."""
        self._model = model
        self._prompt = prompt
        self._turns = turns
        self._form = form
        self._times_hurried = times_hurried
        self._stop = stop
        self._next_tally = 0.0

    def hold(self, polling: Polling, emit: Callable[[VoteEvent], None]) -> None:
        """Emits Tallied*, VoteOver, and the events of the winner as if it were generated now. Raises as
        `LoadedModel.ask`. `polling` is that of the model.
        """
        settings = self._model.settings
        options = options_of(settings)
        voting = polling.voting(options, settings.seed, self._form, self._request, self._times_hurried)
        voting.run(lambda: self._is_stopped(voting, emit))
        voted = polling.voted(voting)
        shown = voting.vote.result().shown
        assert shown is not None, "a sample is drawn before the vote ends"
        is_stopped = self._stop() and not voting.vote.is_over
        emit(VoteOver(voted.load_s, _thinking_s(shown), voted.remarks, voted.warnings, voted.problem, is_stopped))
        finished = replace(voted.reply.finished, reason=shown.reply.finished.reason)  # of the reply, not of the vote
        for event in events_of(replace(voted.reply, finished=finished)):
            emit(event)

    def _request(self, seed: int, answer_now: Callable[[], bool]) -> Request:
        return self._model.request(
            self._prompt,
            self._turns,
            settings=replace(self._model.settings, seed=seed),
            form=self._form,
            answer_now=answer_now,
        )

    def _is_stopped(self, voting: Voting, emit: Callable[[VoteEvent], None]) -> bool:
        """Called after each step."""
        from r1.evaluate.vote_report import tally_wordings

        if time.monotonic() >= self._next_tally:
            self._next_tally = time.monotonic() + _TALLY_EVERY_S
            emit(Tallied(tuple(tally_wordings(voting))))
        return self._stop()


def options_of(settings: Settings) -> VoteOptions:
    """The votes of a chat's settings."""
    from r1.evaluate.vote import VoteOptions

    return VoteOptions(settings.votes or 1, settings.first, settings.confidence)


def _thinking_s(sample: Sample) -> float:
    """Seconds that a sample thought, at its own speed among the others."""
    rate = sample.reply.finished.timings.decode_tps
    return sample.thinking_tokens / rate if rate else 0.0
