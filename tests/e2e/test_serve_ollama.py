"""The official `ollama` package against a server, over real HTTP."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from tests.e2e.serving import Server

ollama = pytest.importorskip("ollama")

QUESTION = [{"role": "user", "content": "17+25?"}]
GREEDY = {"temperature": 0, "seed": 1}
SCHEMA = {
    "type": "object",
    "properties": {"sum": {"type": "integer"}},
    "required": ["sum"],
    "additionalProperties": False,
}
PATIENCE_S = 60


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[Any]:
    with ollama.Client(host=server.address, timeout=120) as made:
        yield made


def eventually(is_so: Callable[[], bool]) -> bool:
    """Whether it comes true."""
    deadline = time.monotonic() + PATIENCE_S
    while not is_so() and time.monotonic() < deadline:
        time.sleep(0.02)
    return is_so()


def refusal(call: Callable[[], object]) -> Any:
    """The error that the client raises."""
    with pytest.raises(ollama.ResponseError) as caught:
        call()
    return caught.value


class TestChat:
    def test_a_whole_answer_has_its_thinking_and_its_figures(self, client: Any) -> None:
        made = client.chat("tiny", QUESTION, options=GREEDY)
        assert "42" in made.message.content
        assert made.message.thinking
        assert "</think>" not in made.message.thinking + made.message.content
        assert (made.model, made.message.role, made.done, made.done_reason) == (
            "tiny:Q8_0",
            "assistant",
            True,
            "stop",
        )
        assert made.prompt_eval_count > 0
        assert made.eval_count > 0
        assert made.total_duration >= made.prompt_eval_duration + made.eval_duration > 0
        assert made.total_duration >= made.load_duration >= 0
        assert datetime.fromisoformat(made.created_at).tzinfo == UTC

    def test_the_pieces_of_a_stream_are_the_whole_answer(self, client: Any) -> None:
        whole = client.chat("tiny", QUESTION, options=GREEDY)
        *pieces, last = client.chat("tiny", QUESTION, options=GREEDY, stream=True)
        assert len(pieces) > 2
        assert not any(piece.done for piece in pieces)
        assert "".join(piece.message.thinking or "" for piece in pieces) == whole.message.thinking
        assert "".join(piece.message.content for piece in pieces) == whole.message.content
        assert (last.done, last.done_reason, last.message.content) == (True, "stop", "")
        assert (last.eval_count, last.prompt_eval_count) == (whole.eval_count, whole.prompt_eval_count)

    def test_no_thinking_where_the_client_wants_none(self, client: Any) -> None:
        made = client.chat("tiny", QUESTION, think=False, options=GREEDY)
        assert made.message.thinking is None
        assert made.message.content

    @pytest.mark.parametrize("level", [True, "low", "medium", "high", "max"])
    def test_a_level_lets_it_think(self, client: Any, level: bool | str) -> None:
        made = client.chat("tiny", QUESTION, think=level, options={**GREEDY, "num_predict": 8})
        assert made.message.thinking

    def test_an_answer_by_a_schema(self, client: Any) -> None:
        made = client.chat("tiny", QUESTION, format=SCHEMA, options=GREEDY)
        assert made.message.thinking
        answer = json.loads(made.message.content)
        assert list(answer) == ["sum"]
        assert isinstance(answer["sum"], int)

    def test_a_conversation_goes_on(self, client: Any) -> None:
        """With a system message, old thinking, and a beginning of the answer."""
        made = client.chat(
            "tiny",
            [
                {"role": "system", "content": "Be brief."},
                *QUESTION,
                {"role": "assistant", "content": "17 + 25 = 42", "thinking": "2 + 5 = 7"},
                {"role": "user", "content": "3+4?"},
                {"role": "assistant", "content": "3 + 4 ="},
            ],
            options={**GREEDY, "num_predict": 4},
        )
        assert made.message.thinking is None
        assert made.message.content

    def test_the_limit_of_tokens(self, client: Any) -> None:
        made = client.chat("tiny", QUESTION, options={**GREEDY, "num_predict": 3})
        assert (made.done_reason, made.eval_count <= 5) == ("length", True)

    def test_the_answer_ends_before_a_stop_text(self, client: Any) -> None:
        made = client.chat("tiny", QUESTION, options={**GREEDY, "stop": ["42"]})
        assert "42" not in made.message.content
        assert made.done_reason == "stop"

    def test_log_probabilities_of_each_token(self, client: Any) -> None:
        made = client.chat("tiny", QUESTION, logprobs=True, top_logprobs=2, options=GREEDY)
        streamed = client.chat("tiny", QUESTION, logprobs=True, top_logprobs=2, options=GREEDY, stream=True)
        assert len(made.logprobs) == made.eval_count
        assert "".join(score.token for score in made.logprobs).endswith(made.message.content)
        for score in made.logprobs:
            assert score.logprob <= 0
            assert len(score.top_logprobs) == 2
            assert score.top_logprobs[0].logprob >= score.logprob - 1e-6
        tokens = [score.token for piece in streamed for score in piece.logprobs or ()]
        assert tokens == [score.token for score in made.logprobs]

    def test_many_at_once_from_one_client(self, server: Server) -> None:
        async def ask() -> list[Any]:
            async with ollama.AsyncClient(host=server.address) as client:
                return await asyncio.gather(*(client.chat("tiny", QUESTION, options=GREEDY) for _ in range(3)))

        assert len({made.message.content for made in asyncio.run(ask())}) == 1


class TestGenerate:
    def test_whole_and_streamed(self, client: Any) -> None:
        whole = client.generate("tiny", "17+25?", options=GREEDY)
        pieces = list(client.generate("tiny", "17+25?", options=GREEDY, stream=True))
        assert "42" in whole.response
        assert "".join(piece.response for piece in pieces) == whole.response
        assert "".join(piece.thinking or "" for piece in pieces) == whole.thinking
        assert (pieces[-1].done_reason, pieces[-1].eval_count) == ("stop", whole.eval_count)

    def test_it_is_a_chat_with_one_message(self, client: Any) -> None:
        made = client.generate("tiny", "17+25?", system="Be brief.", options=GREEDY)
        system = {"role": "system", "content": "Be brief."}
        chat = client.chat("tiny", [system, *QUESTION], options=GREEDY)
        assert (made.response, made.thinking) == (chat.message.content, chat.message.thinking)

    def test_a_raw_text_is_continued(self, client: Any) -> None:
        made = client.generate("tiny", "17 + 25 =", raw=True, options={**GREEDY, "num_predict": 4})
        assert made.thinking is None
        assert made.response

    def test_any_json_object(self, client: Any) -> None:
        made = client.generate("tiny", "17+25?", format="json", options={**GREEDY, "num_predict": 400})
        assert made.done_reason == "length" or isinstance(json.loads(made.response), dict)


class TestModels:
    def test_the_list(self, client: Any) -> None:
        models = {model.model: model for model in client.list().models}
        assert set(models) == {"tiny:Q8_0", "endless:BF16"}
        tiny = models["tiny:Q8_0"]
        assert (tiny.details.format, tiny.details.family, tiny.details.quantization_level) == ("gguf", "qwen2", "Q8_0")
        assert {len(model.digest) for model in models.values()} == {64}
        assert tiny.size > 1_000_000
        assert tiny.modified_at <= datetime.now(UTC)

    def test_what_clients_look_for_beyond_the_package(self, server: Server) -> None:
        rows = httpx.get(f"{server.address}/api/tags").json()["models"]
        assert {tuple(row["capabilities"]) for row in rows} == {("completion", "thinking")}
        assert all(row["name"] == row["model"] for row in rows)

    def test_the_facts_of_one(self, client: Any) -> None:
        shown = client.show("tiny")
        assert shown.capabilities == ["completion", "thinking"]
        assert shown.modelinfo["general.architecture"] == "qwen2"
        assert shown.modelinfo["qwen2.context_length"] > 0
        assert shown.modelinfo["tokenizer.ggml.tokens"] == []
        assert shown.license
        assert "<｜User｜>" in shown.template
        assert "temperature" in shown.parameters

    def test_a_name_as_clients_of_ollama_write_it(self, client: Any) -> None:
        assert client.show("tiny:latest").details == client.show("tiny:q8_0").details

    def test_a_model_is_loaded_kept_and_freed(self, client: Any) -> None:
        assert client.generate("tiny", keep_alive="1h").done_reason == "load"
        [running] = client.ps().models
        assert (running.model, running.size_vram) == ("tiny:Q8_0", 0)
        assert running.context_length > 0
        hour = timedelta(hours=1)
        assert eventually(lambda: timedelta(minutes=50) < client.ps().models[0].expires_at - datetime.now(UTC) <= hour)
        client.chat("tiny", QUESTION, think=False, options={"num_predict": 1}, keep_alive=-1)
        long = timedelta(days=7300)
        assert eventually(lambda: client.ps().models[0].expires_at - datetime.now(UTC) > long)
        assert client.chat("tiny", [], keep_alive=0).done_reason == "unload"
        assert eventually(lambda: not client.ps().models)

    def test_a_model_is_freed_after_the_answer(self, client: Any) -> None:
        client.chat("tiny", QUESTION, options={"num_predict": 2}, keep_alive=0)
        assert eventually(lambda: not client.ps().models)
        assert client.chat("tiny", QUESTION, options={"num_predict": 2}).done
        assert client.ps().models[0].expires_at - datetime.now(UTC) < timedelta(minutes=6)


class TestRefusals:
    @pytest.mark.parametrize("method", ["chat", "generate", "show"])
    def test_an_unknown_model(self, client: Any, method: str) -> None:
        error = refusal(lambda: getattr(client, method)("llama3.2"))
        assert error.status_code == 404
        assert "tiny:Q8_0" in error.error

    @pytest.mark.parametrize(
        "call",
        [
            lambda client: client.pull("qwen3"),
            lambda client: client.push("tiny"),
            lambda client: client.create("mine", from_="tiny"),
            lambda client: client.copy("tiny", "mine"),
            lambda client: client.delete("tiny"),
            lambda client: client.embed("tiny", "text"),
            lambda client: client.embeddings("tiny", "text"),
        ],
    )
    def test_what_is_not_served(self, client: Any, call: Callable[[Any], object]) -> None:
        error = refusal(lambda: call(client))
        assert error.status_code == 501
        assert error.error.startswith("r1 ")

    def test_a_field_is_named(self, client: Any) -> None:
        error = refusal(lambda: client.chat("tiny", QUESTION, options={"temperature": 99}, stream=True).__next__())
        assert error.status_code == 400
        assert error.error.startswith("options.temperature")

    def test_a_path_that_is_none(self, server: Server) -> None:
        answer = httpx.post(f"{server.address}/api/nothing")
        assert (answer.status_code, list(answer.json())) == (404, ["error"])


def test_clients_find_a_server(server: Server) -> None:
    assert httpx.head(server.address).status_code == 200
    assert httpx.get(server.address).text == "r1 is running"
    version = httpx.get(f"{server.address}/api/version").json()["version"]
    assert tuple(map(int, version.split("."))) >= (0, 6, 4)  # what GitHub Copilot and Raycast want


def test_a_client_that_goes_away_frees_its_sequence(client: Any, server: Server) -> None:
    """Another model can only be loaded when all replies have ended; these never end by themselves."""
    for _ in range(4):
        stream = client.chat("endless", QUESTION, stream=True)
        assert [next(stream).done for _ in range(3)] == [False] * 3
        stream.close()
    assert "42" in client.chat("tiny", QUESTION, options=GREEDY).message.content
    assert eventually(lambda: httpx.get(f"{server.address}/health").json()["active"] == 0)
