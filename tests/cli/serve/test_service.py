"""Who may come in, and what a question becomes: with the built-in model."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import replace
from typing import Any, cast

import pytest

from r1.engine.events import Finished, FinishReason, Timings, Usage
from r1.engine.prompt import Beginning, Turn
from r1.evaluate.vote import VoteOptions
from r1.render.reply_text import Reply
from r1.serve.asked import Asked
from r1.serve.collected import Collected, collect
from r1.serve.engine_thread import EngineThread
from r1.serve.entry import Entry, current
from r1.serve.errors import ApiError
from r1.serve.messages import Dialogue
from r1.serve.question import Question
from r1.serve.served_models import ServedModels
from r1.serve.service import Service
from r1.settings import Settings

WAIT_S = 60
SUM = Question("tiny", Dialogue((), "17+25?"), changed={"temp": 0})
ENDLESS = replace(SUM, model="endless", changed={"max_tokens": 100_000})


def run(test: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(test, WAIT_S))


async def answers(asked: Asked) -> list[Collected]:
    try:
        return await collect(asked)
    finally:
        asked.close()


def loaded_in(service: Service) -> str | None:
    """The name of the model that is loaded."""
    presence = service.engine.presence
    return None if presence is None else presence.name


async def refusal(work: Coroutine[Any, Any, object]) -> ApiError:
    with pytest.raises(ApiError) as caught:
        await work
    return caught.value


class TestAdmission:
    """Two at once, and three that wait."""

    def test_as_many_as_are_answered_at_once_and_may_wait(self, narrow: Service) -> None:
        async def test() -> None:
            asked = [await narrow.ask(ENDLESS) for _ in range(5)]
            assert narrow.active == 5
            refused = await refusal(narrow.ask(SUM))
            assert (refused.status, refused.code, (refused.retry_after_s or 0) > 0) == (503, "overloaded", True)
            assert (await refusal(narrow.prompt_tokens(SUM))).status == 503, "that needs the model, too"
            asked[4].close()  # one that waits
            asked[0].close()  # one that is answered
            assert narrow.active == 3
            more = [await narrow.ask(ENDLESS) for _ in range(2)]
            await refusal(narrow.ask(SUM))
            for each in (*asked, *more):
                each.close()
            assert narrow.active == 0
            [collected] = await answers(await narrow.ask(SUM))
            assert "42" in collected.reply.answer

        run(test())

    def test_a_model_or_a_setting_that_cannot_be_used_takes_no_place(self, narrow: Service) -> None:
        async def test() -> None:
            assert (await refusal(narrow.ask(replace(SUM, model="none")))).status == 404
            assert (await refusal(narrow.ask(replace(SUM, changed={"temp": -1})))).status == 400
            assert (await refusal(narrow.prompt_tokens(replace(SUM, model="none")))).status == 404
            assert (await refusal(narrow.load("none"))).status == 404
            assert narrow.active == 0

        run(test())

    def test_one_that_fails_gives_its_place_back(self, narrow: Service) -> None:
        async def test() -> None:
            asked = await narrow.ask(replace(SUM, dialogue=Dialogue((), "x " * 20_000)))
            assert (await refusal(answers(asked))).code == "context_length_exceeded"
            assert narrow.active == 0

        run(test())

    def test_nobody_comes_in_while_the_server_ends(self, narrow: Service) -> None:
        async def test() -> None:
            narrow.is_ending = True
            refused = await refusal(narrow.ask(SUM))
            assert (refused.status, (refused.retry_after_s or 0) > 0) == (503, True)
            assert (await refusal(narrow.load("tiny"))).status == 503

        run(test())


class TestAsk:
    def test_several_replies_have_seeds_of_their_own_and_the_first_that_of_one_alone(self, narrow: Service) -> None:
        async def test() -> None:
            hot = replace(SUM, changed={"temp": 3, "seed": 5, "max_tokens": 30})
            alone = await answers(await narrow.ask(hot))
            several = await answers(await narrow.ask(replace(hot, count=3)))
            texts = [each.reply.thinking + each.reply.answer for each in several]
            assert texts[0] == alone[0].reply.thinking + alone[0].reply.answer
            assert len(set(texts)) == 3

        run(test())

    def test_several_texts_are_continued_each_by_as_many_replies(self, narrow: Service) -> None:
        async def test() -> None:
            question = Question("tiny", text="1", more_texts=("22", "333"), count=2, changed={"max_tokens": 1})
            asked = await narrow.ask(question)
            assert narrow.active == 1
            replies = await answers(asked)
            prompts = [each.reply.finished.usage.prompt_tokens for each in replies]
            assert len(prompts) == 6
            assert prompts[0] == prompts[1] < prompts[2] == prompts[3] < prompts[4] == prompts[5]

        run(test())

    def test_the_entry_knows_what_is_asked(self, narrow: Service) -> None:
        async def test() -> None:
            entry = Entry("POST", "/v1/chat/completions")
            current.set(entry)
            asked = await narrow.ask(SUM)
            asked.close()
            assert (entry.asked, entry.prompt) == (asked, "17+25?")
            asked = await narrow.ask(Question("tiny", text="1+"))
            asked.close()
            assert entry.prompt == "1+"

        run(test())

    def test_a_file_that_vanishes_before_it_is_loaded(self, narrow: Service) -> None:
        """Its name was known when the question came."""

        async def test() -> None:
            first = await narrow.ask(ENDLESS)
            await first.begin()
            waiting = await narrow.ask(replace(SUM, model="twin"))
            path = narrow.models.get("twin:Q8_0").stored.path
            away = path.rename(path.with_suffix(".away"))
            try:
                first.close()
                assert (await refusal(answers(waiting))).status == 404
            finally:
                away.rename(path)
            [collected] = await answers(await narrow.ask(replace(SUM, model="twin")))
            assert "42" in collected.reply.answer

        run(test())


class TestPromptTokens:
    def test_are_those_of_the_reply(self, narrow: Service) -> None:
        async def test() -> None:
            [collected] = await answers(await narrow.ask(SUM))
            assert await narrow.prompt_tokens(SUM) == collected.reply.finished.usage.prompt_tokens
            assert narrow.active == 0

        run(test())

    def test_of_one_that_is_too_long_there_is_an_estimate(self, narrow: Service) -> None:
        async def test() -> None:
            assert await narrow.prompt_tokens(replace(SUM, dialogue=Dialogue((), "17 " * 20_000))) > 2048

        run(test())


class WarmEngine:
    """As EngineThread; notes what is to be warmed."""

    def __init__(self) -> None:
        self.warmed: list[tuple[str, list[Turn]]] = []

    def warm(self, model: str, turns: list[Turn]) -> None:
        self.warmed.append((model, turns))


class TestWarm:
    EARLIER = Turn("hi", "", "hello")

    def warmed(
        self, question: Question, answer: str = "42", reason: FinishReason = "stop"
    ) -> list[tuple[str, list[Turn]]]:
        engine = WarmEngine()
        service = Service(cast(EngineThread, engine), cast(ServedModels, None), Settings(), 0)
        finished = Finished(reason, Usage(5, 2, 3), Timings(0.1, 50.0, 10.0, 1.0))
        service.warm(Asked("tiny:Q8_0", lambda: None), question, Reply(finished, "hm", answer))
        return engine.warmed

    def test_also_after_an_answer_that_was_cut_off(self) -> None:
        assert self.warmed(SUM, "4", "length") == self.warmed(SUM, "4")

    def test_not_without_an_answer_or_after_one_that_nobody_heard_to_its_end(self) -> None:
        assert self.warmed(SUM, "", "length") == self.warmed(SUM, "4", "interrupted") == []

    def test_the_conversation_with_the_reply(self) -> None:
        question = replace(SUM, dialogue=Dialogue((self.EARLIER,), "17+25?"))
        assert self.warmed(question) == [("tiny:Q8_0", [self.EARLIER, Turn("17+25?", "hm", "42")])]

    @pytest.mark.parametrize(
        "question",
        [
            Question("tiny", text="1+"),
            replace(SUM, count=2),
            replace(SUM, dialogue=Dialogue((), "17+25?", Beginning("", "It is "))),
        ],
    )
    def test_nothing_of_which_the_next_prompt_is_not_known(self, question: Question) -> None:
        assert self.warmed(question) == []


class TestLoad:
    def test_gives_the_full_name_and_loads_in_its_turn(self, narrow: Service) -> None:
        async def test() -> None:
            assert await narrow.load("twin") == "twin:Q8_0"
            assert loaded_in(narrow) == "twin:Q8_0"
            assert await narrow.load(None) == "tiny:Q8_0"
            assert loaded_in(narrow) == "tiny:Q8_0"

        run(test())


def test_a_reply_has_no_more_tokens_than_the_server_allows() -> None:
    service = Service(cast(EngineThread, None), cast(ServedModels, None), Settings(max_tokens=500), queue=1)
    asked = [Question(None, text="a", changed=changed) for changed in ({}, {"max_tokens": 20}, {"max_tokens": 10**6})]
    assert [service._settings_of(each).max_tokens for each in asked] == [500, 20, 500]


@pytest.mark.parametrize(
    ("server", "asked", "is_refused"),
    [(0.6, None, False), (0.6, 0, True), (0.6, 0.0, True), (0.0, None, True), (0.0, 0.7, False)],
)
def test_a_vote_needs_samples_that_differ(server: float, asked: float | None, is_refused: bool) -> None:
    service = Service(cast(EngineThread, None), cast(ServedModels, None), Settings(temp=server), queue=1)
    question = replace(SUM, votes=VoteOptions(5), changed={} if asked is None else {"temp": asked})
    if not is_refused:
        assert service._settings_of(question).temp == (server if asked is None else asked)
        return
    with pytest.raises(ApiError, match="votes makes no sense at temperature 0") as caught:
        service._settings_of(question)
    assert (caught.value.status, caught.value.param) == (400, "votes")
