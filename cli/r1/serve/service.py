"""What the routes of all APIs share: which model a name means, who may still come in, and the questions under way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TypeVar

from r1.engine.context import PromptTooLong
from r1.engine.prompt import Turn
from r1.evaluate.tally import seed_of
from r1.loaded_model import LoadedModel
from r1.render.reply_text import Reply
from r1.serve.asked import Asked
from r1.serve.engine_thread import EngineThread
from r1.serve.entry import current
from r1.serve.errors import ApiError, api_error, bad_field, in_thread
from r1.serve.held_vote import HeldVote
from r1.serve.jobs import Job, Party
from r1.serve.question import Question, request_for
from r1.serve.served_models import ServedModels
from r1.settings import Settings, overridden
from r1_quantize.errors import R1Error

_RETRY_AFTER_S = 5

_Result = TypeVar("_Result")


@dataclass(slots=True)
class Service:
    """Shared by all requests, and used on the event loop's thread only.

    `settings` are those of the command line. As many questions are answered at once as the model has sequences;
    `queue` more wait.
    """

    engine: EngineThread
    models: ServedModels
    settings: Settings
    queue: int
    active: int = field(default=0, init=False)
    is_ending: bool = field(default=False, init=False)

    async def ask(self, question: Question) -> Asked:
        """Puts the question into the line; the replies are read from what is returned. Raises ApiError: the model is
        not here, a setting is wrong, or too many wait already.
        """
        settings = self._settings_of(question)
        model = await self.name_of(question.model)
        self._admit()
        asked = Asked(model, self._leave)
        if (entry := current.get()) is not None:
            entry.asked, entry.prompt = asked, question.text if question.dialogue is None else question.dialogue.prompt
        try:
            self._submit(asked, question, settings)
        except BaseException:  # such as no memory for a thread
            asked.close()
            raise
        return asked

    async def prompt_tokens(self, question: Question) -> int:
        """The tokens of the question's prompt; of one that is far too long, about. Raises ApiError as `ask`."""
        work = partial(_prompt_tokens, question, self._settings_of(question))
        return await self._with_model(await self.name_of(question.model), work)

    async def load(self, model: str | None) -> str:
        """Loads a model in its turn; returns its full name. Raises ApiError as `ask`."""
        name = await self.name_of(model)
        await self._with_model(name, lambda _: None)
        return name

    async def name_of(self, model: str | None) -> str:
        """The full name of a model. Raises ApiError."""
        return await in_thread(lambda: self.models.full_name(model))

    def warm(self, asked: Asked, question: Question, reply: Reply) -> None:
        """Makes the conversation's next prompt quick, after an answer; also after one that was cut off, because a
        client may ask for the rest.
        """
        dialogue = question.dialogue
        can_go_on = dialogue is not None and dialogue.beginning is None and question.count == 1
        if dialogue is not None and can_go_on and reply.answer and reply.finished.reason != "interrupted":
            turn = Turn(dialogue.prompt, reply.thinking, reply.answer)
            self.engine.warm(asked.model, [*dialogue.turns, turn])

    async def _with_model(self, model: str, work: Callable[[LoadedModel], _Result]) -> _Result:
        self._admit()
        try:
            return await self.engine.with_model(model, work)
        except Exception as exc:
            raise api_error(exc) from exc
        finally:
            self._leave()

    def _submit(self, asked: Asked, question: Question, settings: Settings) -> None:
        if question.votes is not None:
            vote = HeldVote(self.engine, asked.model, question, settings, asked.sink(0), asked.fields)
            asked.add(vote.cancel, question.stop_texts)
            vote.start()
            return
        party = Party()
        for index in range(question.count * len(question.texts)):
            number, place = divmod(index, question.count)
            own = settings if settings.seed is None else replace(settings, seed=seed_of(settings.seed, place))
            one = replace(question, text=question.texts[number])
            job = Job(asked.model, partial(request_for, one, own), asked.sink(index), party=party)
            asked.add(partial(self.engine.cancel, job), question.stop_texts)
            self.engine.submit(job)

    def _settings_of(self, question: Question) -> Settings:
        """Those of the server, changed. A reply has no more tokens than `--max-tokens` allows: a context for more would
        have to be made for all.
        """
        try:
            changed = overridden(self.settings, question.changed)
        except R1Error as exc:
            raise api_error(exc) from exc
        if question.votes is not None and changed.temp == 0:
            raise bad_field("votes", "makes no sense at temperature 0, where all samples are the same")
        return replace(changed, max_tokens=min(changed.max_tokens, self.settings.max_tokens))

    def _admit(self) -> None:
        if self.is_ending:
            raise ApiError(503, "the server is ending", retry_after_s=_RETRY_AFTER_S)
        if self.active >= self.engine.sequences + self.queue:
            problem = f"{self.active} requests are answered or wait already"
            raise ApiError(503, problem, code="overloaded", retry_after_s=_RETRY_AFTER_S)
        self.active += 1

    def _leave(self) -> None:
        self.active -= 1


def _prompt_tokens(question: Question, settings: Settings, loaded: LoadedModel) -> int:
    try:
        return request_for(replace(question, form=None), settings, loaded).prompt_tokens
    except PromptTooLong as exc:
        return exc.tokens
