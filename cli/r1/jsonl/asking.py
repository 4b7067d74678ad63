"""What is asked of the model for each line: its own options where it has some, else those of the command line."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import get_args

from r1.evaluate.vote import VoteOptions, vote_options
from r1.forms.form import Form, FormKind, form_in
from r1.interrupt import AnswerNow
from r1.prompt_input import PromptLine
from r1.settings import Settings, overridden, require_some_text, without_votes
from r1_quantize.errors import UsageError

_KEPT_FORMS = 64


@dataclass(frozen=True, slots=True)
class Asked:
    """The settings of one reply, the form of its answer, and how often the user wanted it at once since it was asked
    for. `votes`: several samples vote on the answer.
    """

    settings: Settings
    form: Form | None = None
    times_hurried: Callable[[], int] = lambda: 0
    votes: VoteOptions | None = None

    @property
    def only_thinking(self) -> bool:
        return self.settings.thinking == "only"

    def answer_now(self) -> bool:
        """Whether the reply is to end its thinking."""
        return self.times_hurried() > 0


class Asking:
    """Joins the options of a line and those of the command line."""

    def __init__(self, settings: Settings, form: Form | None, answer_now: AnswerNow) -> None:
        self._settings = settings
        self._form = form
        self._answer_now = answer_now

    def of(self, line: PromptLine) -> Asked:
        """For one line. Its form takes the place of the command line's.

        Raises UsageError, which names the key, for an option that is wrong.
        """
        kinds = get_args(FormKind)
        forms = {name: value for name, value in line.options.items() if name in kinds}
        values = {name: value for name, value in line.options.items() if name not in kinds}
        settings = overridden(self._settings, values) if values else self._settings
        form = _form_in(forms) if forms else self._form
        if lonely := without_votes(values, settings):
            raise UsageError(f'"{lonely}" needs "votes"; add "votes", or leave it out')
        require_some_text(settings, has_form=form is not None)
        return Asked(settings, form, self._answer_now.times_from_now(), vote_options(settings))


def _form_in(options: Mapping[str, object]) -> Form | None:
    return _compiled(json.dumps(options, ensure_ascii=False))


@lru_cache(maxsize=_KEPT_FORMS)
def _compiled(options: str) -> Form | None:
    """Each form once, though every line may have it. The order of a schema's properties is that of the answer's."""
    return form_in(json.loads(options))
