"""`r1.request_maker`: what the settings say of a request. `test_loaded_model` has the replies."""

from __future__ import annotations

import pytest

from r1.engine.context import PromptTooLong
from r1.engine.model import Model
from r1.engine.prompt import Beginning, Turn
from r1.request_maker import RequestMaker
from r1.settings import Settings
from r1_quantize.errors import UsageError

QUESTION = "What is 17 + 25?"


def test_the_settings_of_the_request_count(model: Model) -> None:
    maker = RequestMaker(model, Settings())
    settings = Settings(temp=0.5, top_p=0.9, max_tokens=7, seed=3, think_budget=4, speculate="lookup")
    for request in (maker.reply(QUESTION, [], settings), maker.continuation("17 +", settings)):
        sampling = request.sampling
        assert (sampling.temperature, sampling.top_p, sampling.max_tokens, sampling.seed) == (0.5, 0.9, 7, 3)
        assert (request.thinking.budget, request.keeps_threads, request.speculate) == (4, True, "lookup")


def test_the_system_prompt_and_the_context_are_those_in_force(model: Model) -> None:
    with_prompt = RequestMaker(model, Settings(system="Be brief.", ctx=64))
    prompt = with_prompt.reply(QUESTION, [], Settings()).prompt
    assert b"Be brief." in b"".join(map(model.piece, prompt[0]))
    with pytest.raises(PromptTooLong):
        with_prompt.reply("word " * 100_000, [], Settings())
    with pytest.raises(PromptTooLong):
        with_prompt.continuation("word " * 100_000, Settings())


def test_a_prompt_begins_with_the_segments_of_its_turns(model: Model) -> None:
    maker, turns = RequestMaker(model, Settings()), [Turn(QUESTION, "17 + 25", "42")]
    segments = maker.segments(turns)
    assert maker.reply("And twice that?", turns, Settings()).prompt[: len(segments)] == segments


def test_a_form_is_for_a_complete_answer(model: Model) -> None:
    maker = RequestMaker(model, Settings())
    grammar = 'root ::= "yes" | "no"'
    assert maker.reply(QUESTION, [], Settings(), grammar=grammar).grammar == grammar
    with pytest.raises(UsageError, match="the beginning of this answer is given"):
        maker.reply(QUESTION, [], Settings(), grammar=grammar, beginning=Beginning("", "ye"))
    with pytest.raises(UsageError):
        maker.reply(QUESTION, [], Settings(), grammar="no grammar")
