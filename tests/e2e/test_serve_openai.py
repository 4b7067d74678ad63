"""The official `openai` package and `litellm` against a server, over real HTTP."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterable, Iterator
from importlib.util import find_spec
from typing import Any, Literal

import httpx
import openai
import pytest
from openai.types.chat import ChatCompletionChunk, ChatCompletionMessageParam
from pydantic import BaseModel

from tests.e2e.serving import Server

SUM: list[ChatCompletionMessageParam] = [{"role": "user", "content": "17+25?"}]
ANSWER = r"\(17 + 25 = \boxed{42}\)"
WAIT_S = 60


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{server.address}/v1", api_key="none", max_retries=0, timeout=120) as made:
        yield made


def thinking_of(message: object) -> Any:
    """The field that OpenAI's own types do not have."""
    return getattr(message, "reasoning_content", None)


def joined(chunks: Iterable[ChatCompletionChunk], index: int = 0) -> tuple[str, str, list[str]]:
    """Thinking, answer and finish reasons of one choice of a stream."""
    thinking, answer, reasons = "", "", []
    for chunk in chunks:
        for choice in chunk.choices:
            if choice.index == index:
                thinking += thinking_of(choice.delta) or ""
                answer += choice.delta.content or ""
                reasons += [choice.finish_reason] if choice.finish_reason else []
    return thinking, answer, reasons


def eventually(is_so: Callable[[], bool]) -> bool:
    """Whether it comes true."""
    deadline = time.monotonic() + WAIT_S
    while not is_so() and time.monotonic() < deadline:
        time.sleep(0.02)
    return is_so()


def active(server: Server) -> int:
    """The requests that are answered or wait."""
    number = httpx.get(f"{server.address}/health", trust_env=False).json()["active"]
    assert isinstance(number, int)
    return number


class TestChat:
    def test_as_a_whole(self, client: openai.OpenAI) -> None:
        made = client.chat.completions.create(model="tiny", messages=SUM, temperature=0)
        message, usage = made.choices[0].message, made.usage
        assert (made.model, message.content, made.choices[0].finish_reason) == ("tiny:Q8_0", ANSWER, "stop")
        assert "7+5" in thinking_of(message)
        assert usage is not None
        assert usage.completion_tokens_details is not None
        assert 0 < (usage.completion_tokens_details.reasoning_tokens or 0) < usage.completion_tokens
        assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens

    def test_streamed_it_is_the_same(self, client: openai.OpenAI) -> None:
        whole = client.chat.completions.create(model="tiny", messages=SUM, temperature=0)
        chunks = list(
            client.chat.completions.create(
                model="tiny", messages=SUM, temperature=0, stream=True, stream_options={"include_usage": True}
            )
        )
        assert joined(chunks) == (thinking_of(whole.choices[0].message), ANSWER, ["stop"])
        assert chunks[0].choices[0].delta.role == "assistant"
        assert [chunk.usage is None for chunk in chunks] == [True] * (len(chunks) - 1) + [False]
        assert chunks[-1].usage is not None
        assert whole.usage is not None
        assert chunks[-1].usage.completion_tokens == whole.usage.completion_tokens

    def test_several_replies_share_the_prompt(self, client: openai.OpenAI) -> None:
        one = client.chat.completions.create(model="tiny", messages=SUM, seed=3)
        two = client.chat.completions.create(model="tiny", messages=SUM, seed=3, n=2)
        assert one.usage is not None
        assert two.usage is not None
        assert two.usage.prompt_tokens == one.usage.prompt_tokens
        assert [choice.index for choice in two.choices] == [0, 1]
        assert two.choices[0].message.content == one.choices[0].message.content
        chunks = list(client.chat.completions.create(model="tiny", messages=SUM, seed=3, n=2, stream=True))
        assert [joined(chunks, index)[1] for index in (0, 1)] == [choice.message.content for choice in two.choices]

    def test_the_same_seed_gives_the_same_reply(self, client: openai.OpenAI) -> None:
        hot: Any = {"model": "tiny", "messages": SUM, "temperature": 3, "max_tokens": 40}
        texts = [thinking_of(client.chat.completions.create(**hot, seed=seed).choices[0].message) for seed in (7, 7, 8)]
        assert texts[0] == texts[1] != texts[2]

    @pytest.mark.parametrize("is_streamed", [False, True])
    def test_a_stop_text_ends_the_answer(self, client: openai.OpenAI, *, is_streamed: bool) -> None:
        asked: Any = {"model": "tiny", "messages": SUM, "temperature": 0, "stop": ["\\boxed", "never"]}
        if is_streamed:
            _, answer, reasons = joined(client.chat.completions.create(**asked, stream=True))
        else:
            choice = client.chat.completions.create(**asked).choices[0]
            answer, reasons = choice.message.content, [choice.finish_reason]
        assert (answer, reasons) == (ANSWER.partition("\\boxed")[0], ["stop"])

    def test_log_probabilities(self, client: openai.OpenAI) -> None:
        made = client.chat.completions.create(
            model="tiny", messages=SUM, temperature=0, logprobs=True, top_logprobs=3, stop=["boxed"]
        )
        scores = made.choices[0].logprobs
        assert scores is not None
        assert scores.content is not None
        spelled = b"".join(bytes(score.bytes or ()) for score in scores.content).decode()
        assert spelled.strip() == (made.choices[0].message.content or "").strip()
        for score in scores.content:
            assert score.logprob <= 0
            assert len(score.top_logprobs) == 3
            assert score.top_logprobs[0].token == score.token, "the likeliest token was taken"

    def test_an_answer_by_a_schema(self, client: openai.OpenAI) -> None:
        class Total(BaseModel):
            total: int
            sign: Literal["plus", "minus"]

        made = client.chat.completions.parse(model="tiny", messages=SUM, response_format=Total, max_tokens=400)
        parsed = made.choices[0].message.parsed
        assert isinstance(parsed, Total)
        assert json.loads(made.choices[0].message.content or "").keys() == {"total", "sign"}

    def test_how_long_to_think(self, client: openai.OpenAI) -> None:
        asked: Any = {"model": "tiny", "messages": SUM, "temperature": 0}
        none = client.chat.completions.create(**asked, reasoning_effort="none")
        few = client.chat.completions.create(**asked, extra_body={"think_budget": 8})
        assert thinking_of(none.choices[0].message) is None
        for made, most in ((none, 0), (few, 10)):  # the line break and the token that end the thinking count, too
            assert made.usage is not None
            assert made.usage.completion_tokens_details is not None
            assert (made.usage.completion_tokens_details.reasoning_tokens or 0) <= most

    def test_an_answer_that_has_begun_goes_on(self, client: openai.OpenAI) -> None:
        asked: Any = {"model": "tiny", "temperature": 0}
        thinking = thinking_of(client.chat.completions.create(**asked, messages=SUM).choices[0].message)
        begun = {"role": "assistant", "content": ANSWER[:20], "reasoning_content": thinking}
        made = client.chat.completions.create(**asked, messages=[*SUM, begun])
        assert ANSWER[:20] + (made.choices[0].message.content or "") == ANSWER

    def test_a_client_that_goes_away_leaves_nothing_behind(self, client: openai.OpenAI, server: Server) -> None:
        with client.chat.completions.create(model="endless", messages=SUM, stream=True) as stream:
            next(iter(stream))
            assert active(server) == 1
        assert eventually(lambda: active(server) == 0)

    def test_a_client_that_waits_for_the_whole_and_goes_away(self, client: openai.OpenAI, server: Server) -> None:
        with pytest.raises(openai.APITimeoutError):
            client.with_options(timeout=0.5).chat.completions.create(model="endless", messages=SUM)
        assert eventually(lambda: active(server) == 0)

    async def _eight(self, server: Server) -> list[tuple[str, str, list[str]]]:
        async with openai.AsyncOpenAI(base_url=f"{server.address}/v1", api_key="none", max_retries=0) as client:

            async def ask(number: int) -> tuple[str, str, list[str]]:
                asked: list[ChatCompletionMessageParam] = [{"role": "user", "content": f"{number}+25?"}]
                stream = await client.chat.completions.create(model="tiny", messages=asked, temperature=0, stream=True)
                return joined([chunk async for chunk in stream])

            return list(await asyncio.gather(*map(ask, range(11, 19))))

    def test_eight_at_once(self, server: Server) -> None:
        for number, (thinking, answer, reasons) in enumerate(asyncio.run(self._eight(server)), 11):
            assert thinking
            assert (answer, reasons) == (f"\\({number} + 25 = \\boxed{{{number + 25}}}\\)", ["stop"])


class TestErrors:
    def test_a_model_that_is_not_here(self, client: openai.OpenAI) -> None:
        with pytest.raises(openai.NotFoundError) as caught:
            client.chat.completions.create(model="gpt-4o", messages=SUM)
        assert (caught.value.code, caught.value.param) == ("model_not_found", "model")
        assert "tiny:Q8_0" in caught.value.message

    @pytest.mark.parametrize(
        ("fields", "param"),
        [
            ({"messages": []}, "messages"),
            ({"n": 1_000_000}, "n"),
            ({"stop": [str(number) for number in range(100)]}, "stop"),
            ({"temperature": "hot"}, "temperature"),
            ({"tools": [{"type": "function", "function": {"name": "f"}}]}, "tools"),
            ({"logit_bias": {"42": 100}}, "logit_bias"),
            (
                {"response_format": {"type": "json_schema", "json_schema": {"name": "x"}}},
                "response_format.json_schema.schema",
            ),
        ],
    )
    def test_a_field_that_cannot_be_used(self, client: openai.OpenAI, fields: dict[str, Any], param: str) -> None:
        with pytest.raises(openai.BadRequestError) as caught:
            client.chat.completions.create(**{"model": "tiny", "messages": SUM, **fields})
        assert (caught.value.param, caught.value.type) == (param, "invalid_request_error")

    def test_a_prompt_that_is_too_long(self, client: openai.OpenAI) -> None:
        with pytest.raises(openai.BadRequestError) as caught:
            client.chat.completions.create(model="tiny", messages=[{"role": "user", "content": "word " * 3000}])
        assert caught.value.code == "context_length_exceeded"


class TestModels:
    def test_all(self, client: openai.OpenAI) -> None:
        names = {model.id: model for model in client.models.list()}
        assert names.keys() == {"tiny:Q8_0", "endless:BF16"}
        assert names["tiny:Q8_0"].model_dump()["context_length"] == 2048

    def test_one(self, client: openai.OpenAI) -> None:
        assert client.models.retrieve("tiny").id == "tiny:Q8_0"

    def test_none(self, client: openai.OpenAI) -> None:
        with pytest.raises(openai.NotFoundError):
            client.models.retrieve("deepseek-ai/DeepSeek-V3")


class TestCompletions:
    def test_texts_are_continued_side_by_side(self, client: openai.OpenAI) -> None:
        prompts = ["How many r's are in ", "17+2"]
        made = client.completions.create(model="tiny", prompt=prompts, max_tokens=5, n=2, seed=1)
        alone = [client.completions.create(model="tiny", prompt=each, max_tokens=5, n=2, seed=1) for each in prompts]
        assert [choice.text for choice in made.choices] == [choice.text for one in alone for choice in one.choices]
        assert made.usage is not None
        assert made.usage.prompt_tokens == sum(one.usage.prompt_tokens for one in alone if one.usage)

    def test_streamed_it_is_the_same(self, client: openai.OpenAI) -> None:
        asked: Any = {"model": "tiny", "prompt": "The letter", "temperature": 0, "logprobs": 1, "max_tokens": 6}
        whole = client.completions.create(**asked).choices[0]
        chunks = [chunk.choices[0] for chunk in client.completions.create(**asked, stream=True)]
        assert "".join(chunk.text for chunk in chunks) == whole.text
        assert whole.logprobs is not None
        offsets = [offset for chunk in chunks if chunk.logprobs for offset in chunk.logprobs.text_offset or ()]
        assert offsets == whole.logprobs.text_offset
        tokens = whole.logprobs.tokens or []
        assert "".join(tokens) == whole.text
        assert [whole.text[at:].startswith(token) for at, token in zip(offsets, tokens, strict=True)] == [True] * 6

    def test_echo(self, client: openai.OpenAI) -> None:
        asked: Any = {"model": "tiny", "prompt": " The letter", "temperature": 0, "max_tokens": 4, "echo": True}
        whole = client.completions.create(**asked).choices[0].text
        assert whole.startswith(" The letter")
        assert "".join(chunk.choices[0].text for chunk in client.completions.create(**asked, stream=True)) == whole


class TestResponses:
    def test_as_a_whole(self, client: openai.OpenAI) -> None:
        made = client.responses.create(
            model="tiny", input="17+25?", temperature=0, metadata={"for": "a test"}, user="me", top_p=0.5
        )
        assert (made.status, made.output_text, made.error) == ("completed", ANSWER, None)
        assert [item.type for item in made.output] == ["reasoning", "message"]
        thought = made.output[0]
        assert thought.type == "reasoning"
        assert thought.content is not None
        assert "7+5" in thought.content[0].text
        assert (made.metadata, made.user, made.top_p, made.temperature) == ({"for": "a test"}, "me", 0.5, 0)
        assert made.usage is not None
        assert 0 < made.usage.output_tokens_details.reasoning_tokens < made.usage.output_tokens

    def test_streamed(self, client: openai.OpenAI) -> None:
        events = list(client.responses.create(model="tiny", input="17+25?", temperature=0, stream=True))
        assert [event.sequence_number for event in events] == list(range(len(events)))
        assert order(event.type for event in events) == [
            "response.created",
            "response.in_progress",
            "response.output_item.added",
            "response.reasoning_text.delta",
            "response.reasoning_text.done",
            "response.output_item.done",
            "response.output_item.added",
            "response.content_part.added",
            "response.output_text.delta",
            "response.output_text.done",
            "response.content_part.done",
            "response.output_item.done",
            "response.completed",
        ]

    def test_the_packages_own_collector_takes_the_stream(self, client: openai.OpenAI) -> None:
        class Total(BaseModel):
            total: int

        with client.responses.stream(
            model="tiny", input="17+25?", instructions="Add.", text_format=Total, reasoning={"effort": "low"}
        ) as stream:
            made = stream.get_final_response()
        assert isinstance(made.output_parsed, Total)
        assert made.reasoning is not None
        assert made.reasoning.effort == "low"

    def test_a_summary_is_the_thinking(self, client: openai.OpenAI) -> None:
        asked: Any = {"model": "tiny", "input": "17+25?", "temperature": 0, "reasoning": {"summary": "auto"}}
        thought = client.responses.create(**asked).output[0]
        assert thought.type == "reasoning"
        assert thought.content == []
        events = list(client.responses.create(**asked, stream=True))
        told = "".join(event.delta for event in events if event.type == "response.reasoning_summary_text.delta")
        assert told == thought.summary[0].text
        assert "response.reasoning_text.delta" not in {event.type for event in events}

    def test_a_conversation_that_is_sent_back_goes_on(self, client: openai.OpenAI) -> None:
        first = client.responses.create(model="tiny", input="17+25?", temperature=0)
        items: Any = [{"role": "user", "content": "17+25?"}, *(item.model_dump() for item in first.output)]
        second = client.responses.create(model="tiny", input=[*items, {"role": "user", "content": "3+4?"}])
        assert second.output_text == r"\(3 + 4 = \boxed{7}\)"

    @pytest.mark.parametrize("is_streamed", [False, True])
    def test_one_that_ends_inside_its_thinking_is_incomplete(self, client: openai.OpenAI, *, is_streamed: bool) -> None:
        asked: Any = {"model": "endless", "input": "hi", "max_output_tokens": 16}
        if is_streamed:
            last = list(client.responses.create(**asked, stream=True))[-1]
            assert last.type == "response.incomplete"
            made = last.response
        else:
            made = client.responses.create(**asked)
        assert made.status == "incomplete"
        assert made.incomplete_details is not None
        assert made.incomplete_details.reason == "max_output_tokens"

    def test_nothing_is_stored(self, client: openai.OpenAI) -> None:
        with pytest.raises(openai.BadRequestError, match="whole conversation"):
            client.responses.create(model="tiny", input="more", previous_response_id="resp_1")


def order(kinds: Iterable[str]) -> list[str]:
    """Each kind of event once, where it comes several times in a row."""
    found: list[str] = []
    for kind in kinds:
        if not found or found[-1] != kind:
            found.append(kind)
    return found


@pytest.mark.skipif(find_spec("litellm") is None, reason="needs litellm")
def test_litellm_shows_the_thinking(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LITELLM_LOCAL_MODEL_COST_MAP", "True")  # otherwise it asks a server on the Internet
    import litellm

    asked: Any = {
        "model": "openai/tiny",
        "api_base": f"{server.address}/v1",
        "api_key": "none",
        "messages": SUM,
        "temperature": 0,
    }
    message = litellm.completion(**asked).choices[0].message
    assert (message.content, "7+5" in message.reasoning_content) == (ANSWER, True)
    assert joined(litellm.completion(**asked, stream=True)) == (message.reasoning_content, ANSWER, ["stop"])
