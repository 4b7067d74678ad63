"""What is asked of the engine for a conversation or a text: the prompt's tokens, and what the settings say."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from r1.engine.context import PromptTooLong
from r1.engine.grammar import Constraint
from r1.engine.model import Model
from r1.engine.prompt import (
    NOTHING_GIVEN,
    Beginning,
    Conversation,
    Turn,
    conversation_segments,
    prompt_segments,
    text_segments,
    tokens_if_longer,
)
from r1.engine.request import Request
from r1.engine.sampling import SamplingParams
from r1.engine.sequence import Segments
from r1.settings import Settings
from r1_quantize.errors import UsageError


@dataclass(frozen=True, slots=True)
class RequestMaker:
    """Makes the requests for one model under the settings in force, which say how long its context may be."""

    model: Model
    in_force: Settings

    def reply(
        self,
        prompt: str,
        turns: Sequence[Turn],
        settings: Settings,
        *,
        grammar: str | None = None,
        beginning: Beginning | None = None,
        answer_now: Callable[[], bool] = lambda: False,
    ) -> Request:
        """For a reply to `prompt` after `turns`.

        `grammar` is what the answer has to keep to. The reply is what comes after `beginning`, and a budget counts only
        that. Raises UsageError when llama.cpp cannot read the grammar, or a part of an answer in a form is given;
        PromptTooLong for a prompt that is far too long.
        """
        given = beginning or NOTHING_GIVEN
        earlier = (text for turn in turns for text in (turn.prompt, turn.answer))
        self._require_possible(*earlier, prompt, given.thinking, given.answer or "")
        thinking = settings.thinking_params()
        continues = given.continued
        if thinking.has_begun_to_answer and continues != "answer":
            given, continues = replace(given, answer=""), None
        if grammar is not None:
            _require_whole_answer(given)
            Constraint(self.model, grammar).close()
        return Request(
            prompt_segments(self.model, self._conversation(turns), prompt, given),
            _sampling(settings),
            thinking,
            continues=continues,
            grammar=grammar,
            answer_now=answer_now,
            keeps_threads=settings.seed is not None,
            speculate=settings.speculate,
        )

    def continuation(self, text: str, settings: Settings) -> Request:
        """For what follows `text`, without turns and thinking. Raises PromptTooLong for one that is far too long."""
        self._require_possible(text)
        return Request(
            text_segments(self.model, text),
            _sampling(settings),
            settings.thinking_params(),
            continues="text",
            keeps_threads=settings.seed is not None,
            speculate=settings.speculate,
        )

    def segments(self, turns: Sequence[Turn]) -> Segments:
        """The tokens that the next prompt after `turns` begins with, by turns."""
        return conversation_segments(self.model, self._conversation(turns))

    def _conversation(self, turns: Sequence[Turn]) -> Conversation:
        return Conversation(self.in_force.system, list(turns))

    def _require_possible(self, *texts: str) -> None:
        """Raises PromptTooLong for texts that would only take time and memory before they turned out not to fit."""
        trained = self.model.context_length
        longest = min(self.in_force.ctx or trained, trained)
        tokens = tokens_if_longer(self.model, "".join(texts), longest)
        if tokens is not None:
            raise PromptTooLong(tokens, longest, trained, is_estimate=True)


def _require_whole_answer(beginning: Beginning) -> None:
    if beginning.answer:
        raise UsageError(
            "a form is for the complete answer, and the beginning of this answer is given; leave one of them out"
        )


def _sampling(settings: Settings) -> SamplingParams:
    params = SamplingParams(temperature=settings.temp, top_p=settings.top_p, max_tokens=settings.max_tokens)
    return params if settings.seed is None else replace(params, seed=settings.seed)
