"""How chat and generate word what happens, over scripted events."""

from __future__ import annotations

import json
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from r1.engine.events import Answer, Finished, FinishReason, Prefill, Rewound, Scored, Thinking, Thought, Timings, Usage
from r1.serve.errors import ApiError
from r1.serve.jobs import Begun, Failed, JobEvent
from r1.serve.ollama.api import OLLAMA
from r1.serve.web.app import refuse
from r1_quantize.errors import NotEnoughSpace
from tests.fakes.services import NAME, ScriptedService

CHAT = {"model": "m", "messages": [{"role": "user", "content": "17+25?"}]}
GENERATE = {"model": "m", "prompt": "17+25?"}
EMPTY_CHAT, EMPTY_GENERATE = {"model": "m", "messages": []}, {"model": "m"}
REFUSAL = NotEnoughSpace("too little memory")


def finished(reason: FinishReason = "stop") -> Finished:
    return Finished(reason, Usage(11, 20, 5, discarded_tokens=7), Timings(0.25, 44.0, 16.0, 2.25))


def reply(*events: JobEvent) -> tuple[JobEvent, ...]:
    return (Begun(0.5, 11), Prefill(11, 11), *events)


REPLY = reply(Thinking("2 + 5 = 7", 19), Thought(20), Answer("4", 1), Answer("2", 2), finished())


def post(service: ScriptedService, path: str, body: dict[str, Any]) -> Any:
    app = Starlette(routes=OLLAMA.routes, exception_handlers={ApiError: refuse})
    app.state.service = service
    return TestClient(app).post(path, json=body)


def lines(service: ScriptedService, path: str = "/api/chat", **fields: Any) -> list[dict[str, Any]]:
    body = CHAT if path == "/api/chat" else GENERATE
    response = post(service, path, {**body, **fields})
    assert (response.status_code, response.headers["content-type"]) == (200, "application/x-ndjson")
    return [json.loads(line) for line in response.text.splitlines()]


def whole(service: ScriptedService, path: str = "/api/chat", **fields: Any) -> dict[str, Any]:
    body = CHAT if path == "/api/chat" else GENERATE
    response = post(service, path, {**body, "stream": False, **fields})
    assert (response.status_code, response.headers["content-type"]) == (200, "application/json")
    return dict(response.json())


class TestWhole:
    def test_chat(self) -> None:
        made = whole(ScriptedService(REPLY))
        assert made["message"] == {"role": "assistant", "content": "42", "thinking": "2 + 5 = 7"}
        assert made["model"] == NAME
        assert (made["done"], made["done_reason"]) == (True, "stop")

    def test_generate(self) -> None:
        made = whole(ScriptedService(REPLY), "/api/generate")
        assert (made["response"], made["thinking"]) == ("42", "2 + 5 = 7")
        assert "message" not in made

    def test_no_thinking_is_no_field(self) -> None:
        events = reply(Thought(0, "budget"), Answer("42", 2), finished())
        assert "thinking" not in whole(ScriptedService(events))["message"]
        assert "thinking" not in whole(ScriptedService(events), "/api/generate")

    def test_figures(self) -> None:
        """Tokens, and durations in nanoseconds. What was thought and taken back was generated, too."""
        made = whole(ScriptedService(REPLY, waited_s=1))
        assert made["load_duration"] == 500_000_000
        assert (made["prompt_eval_count"], made["prompt_eval_duration"]) == (11, 250_000_000)
        assert (made["eval_count"], made["eval_duration"]) == (20 + 5 + 7, 2_000_000_000)
        assert made["total_duration"] > 0

    def test_a_model_that_was_loaded_before_the_client_came_cost_it_nothing(self) -> None:
        assert whole(ScriptedService([Begun(1e6, 11), *REPLY[1:]]))["load_duration"] < 1e6 * 1e9

    @pytest.mark.parametrize(
        ("reason", "word"),
        [("stop", "stop"), ("length", "length"), ("context", "length"), ("loop", "length"), ("interrupted", "length")],
    )
    def test_how_it_ended(self, reason: FinishReason, word: str) -> None:
        assert whole(ScriptedService(reply(Answer("4", 1), finished(reason))))["done_reason"] == word

    def test_an_error_has_its_status(self) -> None:
        response = post(ScriptedService(reply(Answer("4", 1), Failed(REFUSAL))), "/api/chat", {**CHAT, "stream": False})
        assert (response.status_code, response.json()) == (503, {"error": "too little memory; try again in 60 s"})
        assert response.headers["retry-after"]


class TestStreamed:
    def test_a_line_for_each_piece_and_one_for_the_end(self) -> None:
        *pieces, last = lines(ScriptedService(REPLY))
        assert [piece["message"] for piece in pieces] == [
            {"role": "assistant", "content": "", "thinking": "2 + 5 = 7"},
            {"role": "assistant", "content": "4"},
            {"role": "assistant", "content": "2"},
        ]
        assert [piece["done"] for piece in (*pieces, last)] == [False, False, False, True]
        assert last["message"] == {"role": "assistant", "content": ""}
        assert (last["done_reason"], last["eval_count"]) == ("stop", 32)

    def test_a_silence_is_filled_with_lines_that_say_nothing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A client of this protocol takes every line for a piece of the answer, so that it has to be an empty one."""
        monkeypatch.setattr("r1.serve.http.PING_S", 0.01)
        *pieces, last = lines(ScriptedService(REPLY, delay_s=0.1))
        assert pieces[0]["message"] == {"role": "assistant", "content": ""}
        assert not pieces[0]["done"]
        assert "".join(piece["message"]["content"] for piece in pieces) == "42"
        assert last["done_reason"] == "stop"

    def test_generate(self) -> None:
        *pieces, last = lines(ScriptedService(REPLY), "/api/generate")
        assert [(piece["response"], piece.get("thinking")) for piece in pieces] == [
            ("", "2 + 5 = 7"),
            ("4", None),
            ("2", None),
        ]
        assert (last["response"], last["done"]) == ("", True)

    def test_an_error_before_the_beginning_has_its_status(self) -> None:
        response = post(ScriptedService([Failed(REFUSAL)]), "/api/chat", CHAT)
        assert (response.status_code, response.json()) == (503, {"error": "too little memory; try again in 60 s"})

    def test_an_error_later_is_the_last_line(self) -> None:
        *pieces, last = lines(ScriptedService(reply(Answer("4", 1), Failed(REFUSAL))))
        assert [piece["message"]["content"] for piece in pieces] == ["4"]
        assert last == {"error": "too little memory; try again in 60 s"}

    def test_scores_come_with_the_text_they_led_to(self) -> None:
        scores = [Scored(piece, -0.5, (), is_thinking=True) for piece in (b"2 ", b"+", b"</think>")]
        events = reply(*scores[:2], Thinking("2 +", 2), scores[2], Thought(3), Answer("42", 1), finished())
        told = [line.get("logprobs") for line in lines(ScriptedService(events), logprobs=True)]
        assert [[score["token"] for score in each or ()] for each in told] == [["2 ", "+"], ["</think>"], []]

    def test_scores_of_what_was_taken_back_are_dropped(self) -> None:
        scores = [Scored(piece, -0.5, (), is_thinking=True) for piece in (b"a", b"b")]
        events = reply(
            scores[0], Thinking("a", 1), scores[1], Rewound("a", 1, 1), Thought(2, "loop"), Answer("4", 1), finished()
        )
        told = [score["token"] for line in lines(ScriptedService(events)) for score in line.get("logprobs", ())]
        assert told == ["a"]


class TestTheNextPrompt:
    def test_it_is_made_quick_after_a_chat(self) -> None:
        for answers in (whole, lines):
            service = ScriptedService(REPLY)
            answers(service)
            assert service.warmed == [("2 + 5 = 7", "42")]

    def test_it_is_unknown_after_generate(self) -> None:
        service = ScriptedService(REPLY)
        whole(service, "/api/generate")
        assert service.warmed == []

    def test_a_model_that_is_freed_needs_none(self) -> None:
        service = ScriptedService(REPLY)
        whole(service, keep_alive=0)
        assert (service.warmed, service.kept) == ([], [(NAME, 0.0)])


class TestKeepAlive:
    @pytest.mark.parametrize("is_streamed", [True, False])
    def test_it_is_passed_on_once(self, is_streamed: bool) -> None:
        service = ScriptedService(REPLY)
        post(service, "/api/chat", {**CHAT, "keep_alive": "10m", "stream": is_streamed})
        assert service.kept == [(NAME, 600.0)]

    def test_a_request_that_says_nothing_changes_nothing(self) -> None:
        service = ScriptedService(REPLY)
        whole(service)
        assert service.kept == []

    @pytest.mark.parametrize(("path", "body"), [("/api/chat", EMPTY_CHAT), ("/api/generate", EMPTY_GENERATE)])
    def test_without_a_prompt_the_model_is_loaded(self, path: str, body: dict[str, Any]) -> None:
        service = ScriptedService()
        made = post(service, path, {**body, "keep_alive": -1}).json()
        assert (made["model"], made["done"], made["done_reason"]) == (NAME, True, "load")
        assert (service.loaded, service.kept, service.asked) == (["m"], [(NAME, None)], [])

    @pytest.mark.parametrize(("path", "body"), [("/api/chat", EMPTY_CHAT), ("/api/generate", EMPTY_GENERATE)])
    def test_without_a_prompt_and_for_no_time_it_is_freed(self, path: str, body: dict[str, Any]) -> None:
        service = ScriptedService()
        assert post(service, path, {**body, "keep_alive": 0}).json()["done_reason"] == "unload"
        assert (service.loaded, service.kept) == ([], [(NAME, 0.0)])

    @pytest.mark.parametrize(("path", "body"), [("/api/chat", EMPTY_CHAT), ("/api/generate", EMPTY_GENERATE)])
    def test_a_wrong_field_is_refused_also_without_a_prompt(self, path: str, body: dict[str, Any]) -> None:
        service = ScriptedService()
        made = post(service, path, {**body, "options": {"num_ctx": "long"}})
        assert (made.status_code, service.loaded) == (400, [])
        assert "options.num_ctx" in made.json()["error"]
