"""Votes of one client beside the replies to others, with the built-in model."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any

import pytest

from r1.evaluate.vote import VoteOptions
from r1.serve.asked import Asked
from r1.serve.collected import Collected, collect
from r1.serve.engine_thread import EngineState
from r1.serve.errors import ApiError
from r1.serve.held_vote import HeldVote
from r1.serve.messages import Dialogue
from r1.serve.question import Question
from r1.serve.service import Service

WAIT_S = 60
SUM = Question("tiny", Dialogue((), "17+25?"), changed={"seed": 1})
VOTE = replace(SUM, votes=VoteOptions(6, confidence=1))
ENDLESS = replace(SUM, model="endless", changed={"seed": 1, "max_tokens": 100_000})
ENDLESS_VOTE = replace(ENDLESS, votes=VoteOptions(6))


def run(service: Service, test: Callable[[Service], Coroutine[Any, Any, None]]) -> None:
    async def checked() -> None:
        await test(service)
        await eventually(lambda: service.active == 0)

    asyncio.run(asyncio.wait_for(checked(), WAIT_S))


async def eventually(is_so: Callable[[], bool]) -> None:
    while not is_so():
        await asyncio.sleep(0.005)


async def idle(service: Service) -> None:
    """Returns when the engine has nothing to do."""
    seen: list[EngineState] = []
    while not seen or (seen[-1].running, seen[-1].waiting, seen[-1].leases) != (0, 0, 0):
        service.engine.call(lambda: seen.append(service.engine.state()))
        await asyncio.sleep(0.005)


async def answer(service: Service, question: Question) -> tuple[Collected, Asked]:
    asked = await service.ask(question)
    try:
        [collected] = await collect(asked)
    finally:
        asked.close()
    return collected, asked


class TestVote:
    def test_beside_other_replies(self, narrow: Service) -> None:
        async def test(service: Service) -> None:
            (voted, asked), *others = await asyncio.gather(*(answer(service, each) for each in (VOTE, SUM, SUM)))
            for each in (voted, *(collected for collected, _ in others)):
                assert "42" in each.reply.answer
            [winner] = asked.fields["votes"]
            assert winner["answer"] == "42"
            assert 4 <= winner["count"] <= 6, "with four the other two cannot change it"
            assert asked.prompt_tokens == others[0][1].prompt_tokens > 0, "clients are told it before the first text"
            usage = voted.reply.finished.usage
            assert usage.prompt_tokens == asked.prompt_tokens
            assert usage.thinking_tokens + usage.answer_tokens == sum(
                each["thinking_tokens"] + each["answer_tokens"] for each in asked.fields["samples"]
            )

        run(narrow, test)

    def test_it_does_not_wait_for_those_who_wait_for_it(self, narrow: Service) -> None:
        """Its samples come after a question to another model, which waits until the vote is over."""

        async def test(service: Service) -> None:
            questions = (VOTE, replace(SUM, model="twin"), replace(VOTE, model="twin"), VOTE)
            answers = await asyncio.gather(*(answer(service, each) for each in questions))
            assert ["42" in collected.reply.answer for collected, _ in answers] == [True] * 4

        run(narrow, test)


class TestCancel:
    def test_while_it_runs(self, narrow: Service) -> None:
        async def test(service: Service) -> None:
            asked = await service.ask(ENDLESS_VOTE)
            await asked.begin()
            asked.close()
            collected, _ = await answer(service, SUM)  # another model: nothing uses the present one any more
            assert "42" in collected.reply.answer

        run(narrow, test)

    def test_in_the_line(self, narrow: Service) -> None:
        """Nobody loads a model for it."""

        async def test(service: Service) -> None:
            first = await service.ask(ENDLESS)
            await first.begin()
            vote = await service.ask(replace(VOTE, model="twin"))
            vote.close()
            first.close()
            await idle(service)
            assert service.engine.presence is not None
            assert service.engine.presence.name == "endless:BF16"

        run(narrow, test)

    def test_when_the_engine_ends(self, narrow: Service) -> None:
        """What was said so far is the answer."""

        async def test(service: Service) -> None:
            asked = await service.ask(ENDLESS_VOTE)
            await asked.begin()
            await asyncio.to_thread(service.engine.close)
            [collected] = await collect(asked)
            asked.close()
            assert collected.reply.finished.reason == "interrupted"

        run(narrow, test)


class TestFailure:
    def test_of_a_prompt_that_is_too_long(self, narrow: Service) -> None:
        async def test(service: Service) -> None:
            with pytest.raises(ApiError) as caught:
                await answer(service, replace(VOTE, dialogue=Dialogue((), "x " * 20_000)))
            assert (caught.value.status, caught.value.code) == (400, "context_length_exceeded")
            collected, _ = await answer(service, SUM)
            assert "42" in collected.reply.answer

        run(narrow, test)

    def test_without_a_thread_the_place_is_free_again(self, narrow: Service, monkeypatch: pytest.MonkeyPatch) -> None:
        def fail(_: HeldVote) -> None:
            raise RuntimeError("can't start new thread")

        async def test(service: Service) -> None:
            monkeypatch.setattr(HeldVote, "start", fail)
            with pytest.raises(RuntimeError):
                await service.ask(VOTE)

        run(narrow, test)
