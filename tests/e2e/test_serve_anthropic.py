"""The official `anthropic` package against a server, over real HTTP.

The server has one sequence, and one request may wait beside the one that is answered; it serves all models, for those
who have the key.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal, get_args
from urllib.request import urlopen

import pytest

from r1.engine.events import Finished, FinishReason, Timings, Usage
from r1.serve.anthropic.objects import error_object, stop_object
from r1.serve.errors import ApiError
from tests.conftest import isolated_environ
from tests.e2e.serving import Server, serving

if TYPE_CHECKING:  # each of the processes that run tests would take seconds to import it
    from anthropic import Anthropic
    from anthropic.types import Message

KEY = "a-key-for-these-tests"
QUESTION: list[Any] = [{"role": "user", "content": "17+25?"}]
SURE = {"extra_body": {"temperature": 0}}
"""The likeliest tokens. The present client has no argument for it; earlier ones have, and the field is the same."""

LONG = {"extra_body": {"regex": "[ab]{1500}"}, "thinking": {"type": "disabled"}, "max_tokens": 2000}
"""An answer that the model cannot end sooner."""

_WAIT_S = 60
_POLL_S = 0.02


@pytest.fixture(scope="module")
def strict(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("strict")
    options = ("--queue", "1", "--api-key", KEY)
    with serving(isolated_environ(home, folder), folder, *options, model=None, parallel=1) as started:
        yield started


@pytest.fixture(scope="module")
def anthropic() -> ModuleType:
    """The package."""
    module: ModuleType = pytest.importorskip("anthropic")
    return module


@pytest.fixture(scope="module")
def client(anthropic: ModuleType, strict: Server) -> Iterator[Anthropic]:
    with anthropic.Anthropic(base_url=strict.address, api_key=KEY, max_retries=0, timeout=_WAIT_S) as made:
        yield made


def ask(client: Anthropic, **fields: Any) -> Message:
    return client.messages.create(**{"model": "tiny", "max_tokens": 400, "messages": QUESTION, **SURE, **fields})


def active(server: Server) -> int:
    with urlopen(f"{server.address}/health", timeout=_WAIT_S) as response:
        return int(json.load(response)["active"])


def wait_until_active(server: Server, count: int) -> None:
    deadline = time.monotonic() + _WAIT_S
    while active(server) != count:
        assert time.monotonic() < deadline, f"{active(server)} requests are active, not {count}"
        time.sleep(_POLL_S)


# Answers


def test_a_whole_message(client: Anthropic) -> None:
    made = ask(client)
    assert [block.type for block in made.content] == ["text"]
    assert "42" in made.content[0].text
    assert (made.model, made.stop_reason) == ("tiny:Q8_0", "end_turn")
    assert made.usage.output_tokens_details.thinking_tokens > 0
    assert made._request_id.startswith("req_")


def test_thinking_is_a_block_before_the_answer(client: Anthropic) -> None:
    made = ask(client, thinking={"type": "enabled", "budget_tokens": 1024})
    assert [block.type for block in made.content] == ["thinking", "text"]
    assert "17 + 25" in made.content[0].thinking
    assert "42" in made.content[1].text


def test_a_budget_ends_the_thinking(client: Anthropic) -> None:
    """The two tokens that close the thinking come on top."""
    made = ask(client, thinking={"type": "enabled", "budget_tokens": 8})
    assert made.usage.output_tokens_details.thinking_tokens <= 8 + 2
    assert made.content[1].text


def test_a_stream_adds_up_to_the_whole_message(client: Anthropic) -> None:
    thinking = {"type": "adaptive"}
    whole = ask(client, thinking=thinking)
    with client.messages.stream(model="tiny", max_tokens=400, messages=QUESTION, thinking=thinking, **SURE) as stream:
        pieces: dict[str, list[str]] = {"thinking": [], "text": []}
        for event in stream:
            if event.type in pieces:
                pieces[event.type].append(getattr(event, event.type))
        final = stream.get_final_message()
    assert [block.to_dict() for block in final.content] == [block.to_dict() for block in whole.content]
    assert "".join(pieces["thinking"]) == whole.content[0].thinking
    assert "".join(pieces["text"]) == whole.content[1].text
    assert len(pieces["text"]) > 1
    assert (final.stop_reason, final.usage.output_tokens) == (whole.stop_reason, whole.usage.output_tokens)


def test_a_conversation_goes_on_with_the_blocks_of_its_answers(client: Anthropic) -> None:
    """The thinking is left out of the prompt: it is as long as with the answer alone."""
    first = ask(client, thinking={"type": "adaptive"})
    further: list[Any] = [{"role": "user", "content": "3+4?"}]
    turns = [*QUESTION, {"role": "assistant", "content": first.content}, *further]
    alone = [*QUESTION, {"role": "assistant", "content": first.content[1].text}, *further]
    counts = [client.messages.count_tokens(model="tiny", messages=each).input_tokens for each in (turns, alone)]
    assert counts[0] == counts[1]
    assert "7" in ask(client, messages=turns).content[0].text


def test_the_count_of_tokens_is_that_of_the_prompt(client: Anthropic) -> None:
    fields: dict[str, Any] = {"system": "Add both numbers.", "messages": QUESTION}
    usage = ask(client, **fields).usage
    counted = client.messages.count_tokens(model="tiny", **fields)
    assert counted.input_tokens == usage.input_tokens + usage.cache_read_input_tokens


def test_an_assistants_message_at_the_end_begins_the_answer(client: Anthropic) -> None:
    thought = ask(client, thinking={"type": "adaptive"}).content[0]
    begun = [thought, {"type": "text", "text": "\\(17 + 25 = \\boxed{4"}]
    made = ask(client, messages=[*QUESTION, {"role": "assistant", "content": begun}])
    assert [block.text for block in made.content] == ["2}\\)"]


def test_a_stop_sequence(client: Anthropic) -> None:
    made = ask(client, stop_sequences=["+", "boxed"])
    assert (made.stop_reason, made.stop_sequence) == ("stop_sequence", "+")
    assert "+" not in made.content[0].text


def test_a_limit(client: Anthropic) -> None:
    made = ask(client, max_tokens=5, thinking={"type": "disabled"})
    assert (made.stop_reason, made.usage.output_tokens) == ("max_tokens", 5)


def test_a_parsed_answer(client: Anthropic) -> None:
    """pydantic, which the client has anyway, makes the schema of the class and reads the answer."""
    from pydantic import create_model

    verdict = create_model("Verdict", answer=Literal["yes", "no"])
    made = client.messages.parse(model="tiny", max_tokens=400, messages=QUESTION, output_format=verdict)
    assert made.parsed_output.answer in {"yes", "no"}


def test_the_beta_client(client: Anthropic) -> None:
    made = client.beta.messages.create(
        model="tiny", max_tokens=400, messages=QUESTION, betas=["interleaved-thinking-2025-05-14"]
    )
    assert made.content[0].text


def test_models(client: Anthropic) -> None:
    listed = list(client.models.list(limit=1))
    assert "tiny:Q8_0" in [model.id for model in listed]
    assert client.models.retrieve("tiny").id == "tiny:Q8_0"


# Errors


@pytest.mark.parametrize(
    ("error", "fields"),
    [
        ("BadRequestError", {"messages": []}),
        ("BadRequestError", {"tools": [{"name": "now", "input_schema": {"type": "object"}}]}),
        ("BadRequestError", {"messages": [{"role": "user", "content": "17+25? " * 20_000}]}),
        ("NotFoundError", {"model": "no-such-model"}),
        ("ContentTooLargeError", {"messages": [{"role": "user", "content": "x" * (17 << 20)}]}),
    ],
    ids=["empty", "tools", "too long", "no model", "too large"],
)
def test_errors_are_exceptions_of_their_types(
    anthropic: ModuleType, client: Anthropic, error: str, fields: dict[str, Any]
) -> None:
    with pytest.raises(getattr(anthropic, error)) as caught:
        ask(client, **fields)
    assert caught.value.api_message
    assert caught.value.request_id == caught.value.body["request_id"]


def test_a_wrong_key(anthropic: ModuleType, strict: Server) -> None:
    with (
        anthropic.Anthropic(base_url=strict.address, api_key="another", max_retries=0) as client,
        pytest.raises(anthropic.AuthenticationError) as caught,
    ):
        ask(client)
    assert caught.value.type == "authentication_error"


def test_a_path_that_is_not_served(anthropic: ModuleType, client: Anthropic) -> None:
    with pytest.raises(anthropic.NotFoundError):
        client.messages.batches.list()


def test_a_client_that_leaves_frees_its_sequence_for_the_next(
    anthropic: ModuleType, client: Anthropic, strict: Server
) -> None:
    """One request is answered, one waits, a third one is refused; then the first client goes away."""
    with ThreadPoolExecutor(1) as pool:
        with client.messages.stream(model="tiny", messages=QUESTION, **LONG) as stream:
            next(stream.text_stream)
            waiting = pool.submit(ask, client)
            wait_until_active(strict, 2)
            with pytest.raises(anthropic.OverloadedError) as caught:
                ask(client)
            assert caught.value.response.headers["retry-after"].isdecimal()
        assert "42" in waiting.result(_WAIT_S).content[0].text
    wait_until_active(strict, 0)
    assert sum(line.endswith("left by the client") for line in strict.stderr().splitlines()) == 1


# Objects


@pytest.mark.parametrize("reason", get_args(FinishReason))
def test_every_stop_reason_is_one_that_the_client_knows(anthropic: ModuleType, reason: FinishReason) -> None:
    finished = Finished(reason, Usage(1, 2, 3), Timings(0.1, 1.0, 1.0, 1.0))
    assert stop_object(finished, None)["stop_reason"] in get_args(anthropic.types.StopReason)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 408, 429, 500, 503])
def test_every_type_of_an_error_is_one_that_the_client_knows(anthropic: ModuleType, status: int) -> None:
    """But that of 413, which only the API's documentation has."""
    for code in (None, "overloaded"):
        assert error_object(ApiError(status, "no", code=code))["error"]["type"] in get_args(anthropic.types.ErrorType)


def test_a_model_has_all_that_the_client_requires(anthropic: ModuleType, client: Anthropic) -> None:
    raw = client.models.with_raw_response.retrieve("tiny").http_response.json()
    assert anthropic.types.ModelInfo.model_validate(raw).lifecycle == "active"
