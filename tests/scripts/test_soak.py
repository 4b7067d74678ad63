"""`python -m scripts.soak`: what it looks for, it would find."""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any

import httpx2
import pytest

from r1.engine.prompt import Turn
from scripts.soak.__main__ import faults
from scripts.soak.apis import APIS
from scripts.soak.client import Ask, Outcome, send
from scripts.soak.hostile import Hostile
from scripts.soak.load import make_request
from scripts.soak.questions import Question
from scripts.soak.run import Report, percentile
from scripts.soak.watch import Sample, leaks

QUESTION = Question("1+2?", (Turn("1+1?", "1 + 1", "2"),), "1 + 2", "3")
NOTHING = dict.fromkeys(("active_requests", "replies_running", "replies_waiting", "leases", "sequences_busy"), 0)
QUIET = Sample(1.0, 100.0, 9, 8, NOTHING, 1000, 1000)
CHAT = APIS[0]


class TestLeaks:
    def test_none(self) -> None:
        before = replace(QUIET, memory_mb=50.0, descriptors=4, threads=2)
        assert leaks([before, QUIET, replace(QUIET, memory_mb=109.0, descriptors=10, threads=9)], 10) == []

    @pytest.mark.parametrize(
        ("last", "problem"),
        [
            (replace(QUIET, memory_mb=111.0), "100 MB of memory have become 111"),
            (replace(QUIET, descriptors=20), "9 descriptors have become 20"),
            (replace(QUIET, threads=20), "8 threads have become 20"),
            (replace(QUIET, free_cells=990), "10 cells are missing (look 3)"),
            (
                replace(QUIET, gauges={**NOTHING, "leases": 1}),
                "leases is 1 although nobody asks anything (look 3)",
            ),
        ],
    )
    def test_each(self, last: Sample, problem: str) -> None:
        assert leaks([QUIET, QUIET, last], 10) == [problem]


def chat(answer: str, thinking: str = "1 + 2") -> bytes:
    return json.dumps({"choices": [{"message": {"content": answer, "reasoning_content": thinking}}]}).encode()


def line(answer: str) -> bytes:
    return b'data: {"choices": [{"delta": {"content": "%s"}}]}\n\n' % answer.encode()


def sent(response: httpx2.Response, *, is_streamed: bool) -> Outcome:
    """What a client makes of a response to QUESTION."""

    async def act() -> Outcome:
        transport = httpx2.MockTransport(lambda _: response)
        async with httpx2.AsyncClient(transport=transport, base_url="http://localhost") as client:
            return await send(client, Ask(CHAT, CHAT.body(QUESTION.messages, is_streamed), QUESTION))

    return asyncio.run(act())


class TestSend:
    def test_a_right_answer(self) -> None:
        outcome = sent(httpx2.Response(200, content=chat("3")), is_streamed=False)
        assert (outcome.kind, outcome.problem, outcome.has_other_thinking) == ("answered", None, False)

    def test_a_right_answer_by_other_thinking(self) -> None:
        assert sent(httpx2.Response(200, content=chat("3", "2 + 1")), is_streamed=False).has_other_thinking

    def test_a_right_stream(self) -> None:
        outcome = sent(httpx2.Response(200, content=line("3") + b"data: [DONE]\n\n"), is_streamed=True)
        assert (outcome.kind, outcome.first_s is not None) == ("answered", True)

    def test_one_that_is_turned_away(self) -> None:
        outcome = sent(httpx2.Response(503, headers={"retry-after": "5"}), is_streamed=False)
        assert (outcome.kind, outcome.problem) == ("turned away", None)

    @pytest.mark.parametrize(
        ("response", "is_streamed", "problem"),
        [
            (httpx2.Response(200, content=chat("4")), False, "1+2? was answered by '4'"),
            (httpx2.Response(200, content=line("4") + b"data: [DONE]\n\n"), True, "1+2? was answered by '4'"),
            (httpx2.Response(200, content=line("3")), True, "the stream ended with"),
            (httpx2.Response(200, content=b"{}"), False, "KeyError"),
            (httpx2.Response(500, content=b"no"), False, "status 500: no"),
            (httpx2.Response(503), False, "no Retry-After"),
        ],
    )
    def test_what_is_wrong(self, response: httpx2.Response, is_streamed: bool, problem: str) -> None:
        assert problem in (sent(response, is_streamed=is_streamed).problem or "")


class TestHostile:
    @pytest.mark.parametrize(
        ("answer", "is_right"), [(b"HTTP/1.1 400 Bad Request\r\n", True), (b"HTTP/1.1 500 X\r\n", False), (b"", False)]
    )
    def test_must_get_the_status_that_is_expected(self, answer: bytes, is_right: bool) -> None:
        async def act(address: str) -> Outcome:
            async with httpx2.AsyncClient(base_url=address) as client:
                return await send(client, Hostile("rude", b"?\r\n"))

        assert (_served(answer, act).problem is None) is is_right


def _served(answer: bytes, act: Callable[[str], Coroutine[Any, Any, Outcome]]) -> Outcome:
    """What `act` gives with a server that answers like this, whatever is asked."""

    async def answering(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(answer)
        writer.close()

    async def serve() -> Outcome:
        async with await asyncio.start_server(answering, "127.0.0.1", 0) as server:
            return await act(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")

    return asyncio.run(serve())


def test_a_third_is_cut_off_and_some_are_hostile_and_all_apis_are_asked() -> None:
    rng = random.Random(1)
    requests = [make_request(rng, [QUESTION]) for _ in range(1000)]
    asks = [request for request in requests if isinstance(request, Ask)]
    assert 0.03 < 1 - len(asks) / len(requests) < 0.07
    assert 0.30 < sum(ask.cut is not None for ask in asks) / len(asks) < 0.37
    assert set(Counter(ask.api.name for ask in asks)) == {"chat", "responses", "messages", "ollama"}


def test_a_line_about_an_unexpected_error_in_the_log_is_a_problem() -> None:
    assert faults("12:00 · stop\nTraceback (most recent call last):\n12:01 · 500 · unexpected error: KeyError\n") == [
        "log: Traceback (most recent call last):",
        "log: 12:01 · 500 · unexpected error: KeyError",
    ]


def test_the_figures() -> None:
    times = [each / 100 for each in range(1, 101)]
    assert (percentile(times, 50), percentile(times, 99), percentile([], 99)) == (0.51, 1.0, 0.0)
    report = Report(outcomes=[Outcome("answered", None, 0.5, 1.5), Outcome("cut off")])
    assert list(report.lines()) == [
        "2 requests: 1 answered, 1 cut off",
        "0 right answers had other thinking than alone",
        "first token: p50 0.500 s, p99 0.500 s, of 1",
        "whole reply: p50 1.500 s, p99 1.500 s, of 1",
    ]
