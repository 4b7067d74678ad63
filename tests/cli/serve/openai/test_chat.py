"""Chat completions: bodies as questions, and what no well-kept client sends."""

from __future__ import annotations

from typing import Any

import pytest
from starlette.applications import Starlette

from r1.engine.prompt import Beginning, Turn
from r1.evaluate.vote import VoteOptions
from r1.serve.errors import ApiError
from r1.serve.fields import Fields
from r1.serve.openai.chat import question_of
from tests.fakes.asgi import ask

PATH = "/v1/chat/completions"
HELLO = [{"role": "user", "content": "Hello"}]
SUM = [{"role": "user", "content": "17+25?"}]
ANSWER = r"\(17 + 25 = \boxed{42}\)"


def body(**fields: object) -> dict[str, object]:
    return {"model": "tiny", "messages": SUM, **fields}


class TestQuestions:
    def test_what_a_body_asks(self) -> None:
        question = question_of(
            Fields(
                {
                    "model": "qwen-7b",
                    "messages": [*HELLO, {"role": "assistant", "content": "Hi"}, *SUM],
                    "n": 3,
                    "stop": ["a", "b"],
                    "temperature": 0.5,
                    "max_completion_tokens": 9,
                    "reasoning_effort": "low",
                    "logprobs": True,
                    "top_logprobs": 5,
                    "unknown": object(),
                }
            )
        )
        assert question.dialogue is not None
        assert (question.model, question.count, question.stop_texts) == ("qwen-7b", 3, ("a", "b"))
        assert question.dialogue.turns == (Turn("Hello", "", "Hi"),)
        assert question.changed == {"temp": 0.5, "max_tokens": 9, "effort": "low"}
        assert (question.top_logprobs, question.form, question.votes) == (5, None, None)

    def test_what_it_does_not_say_is_left_to_the_server(self) -> None:
        question = question_of(Fields({"messages": HELLO}))
        assert (question.model, question.count, question.changed, question.top_logprobs) == (None, 1, {}, None)

    def test_the_beginning_of_the_answer(self) -> None:
        messages = [*SUM, {"role": "assistant", "content": "It is", "reasoning_content": "Hm."}]
        question = question_of(Fields({"messages": messages}))
        assert question.dialogue is not None
        assert question.dialogue.beginning == Beginning("Hm.", "It is")

    def test_votes(self) -> None:
        assert question_of(Fields({"messages": HELLO, "votes": 5, "first": 2})).votes == VoteOptions(5, 2, 0.95)

    @pytest.mark.parametrize(
        ("fields", "param"),
        [
            ({"n": 0}, "n"),
            ({"n": 1_000_000}, "n"),
            ({"top_logprobs": 5}, "top_logprobs"),
            ({"logprobs": True, "top_logprobs": 21}, "top_logprobs"),
            ({"logprobs": 5}, "logprobs"),
            ({"votes": 3, "n": 2}, "votes"),
            ({"model": 5}, "model"),
            ({"messages": "Hello"}, "messages"),
            ({"messages": []}, "messages"),
            ({"messages": HELLO * 10_000}, "messages"),
            ({"messages": [{"role": "assistant", "content": "Hi"}]}, "messages[0]"),
        ],
    )
    def test_a_field_that_cannot_be_used_is_named(self, fields: dict[str, Any], param: str) -> None:
        with pytest.raises(ApiError) as caught:
            question_of(Fields({"messages": HELLO, **fields}))
        assert (caught.value.status, caught.value.param) == (400, param)


class TestAnswers:
    def test_the_thinking_has_both_names_and_can_be_left_out(self, app: Starlette) -> None:
        message = ask(app, "POST", PATH, body()).json()["choices"][0]["message"]
        assert message["content"] == ANSWER
        assert message["reasoning_content"] == message["reasoning"] != ""
        hidden = ask(app, "POST", PATH, body(reasoning={"exclude": True}, logprobs=True)).json()["choices"][0]
        assert hidden["message"] == {"role": "assistant", "content": ANSWER}
        assert hidden["logprobs"]["reasoning_content"] == []
        streamed = ask(app, "POST", PATH, body(include_reasoning=False, stream=True)).events()
        assert not any("reasoning" in chunk["choices"][0]["delta"] for chunk in streamed)

    def test_a_stream_ends_with_its_mark(self, app: Starlette) -> None:
        answered = ask(app, "POST", PATH, body(stream=True))
        assert answered.headers["content-type"].startswith("text/event-stream")
        assert answered.body.endswith(b"data: [DONE]\n\n")
        chunks = answered.events()
        assert len({chunk["id"] for chunk in chunks}) == 1
        assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}
        assert "timings" in chunks[-1]

    def test_log_probabilities_come_with_the_text_they_belong_to(self, app: Starlette) -> None:
        chunks = ask(app, "POST", PATH, body(stream=True, logprobs=True, top_logprobs=1)).events()
        told = ""
        for chunk in chunks:
            (choice,) = chunk["choices"]
            scores = choice["logprobs"]["content"] if choice["logprobs"] else []
            told += "".join(score["token"] for score in scores)
            assert bool(choice["delta"].get("content")) == bool(scores)
        assert told.strip() == ANSWER

    def test_an_error_before_the_answer_has_a_status_in_a_stream_too(self, app: Starlette) -> None:
        long = [{"role": "user", "content": "word " * 3000}]
        answered = ask(app, "POST", PATH, {"model": "tiny", "messages": long, "stream": True})
        assert (answered.status, answered.json()["error"]["code"]) == (400, "context_length_exceeded")

    def test_control_tokens_in_a_message_are_text(self, app: Starlette) -> None:
        def prompt_tokens(text: str) -> int:
            asked = body(messages=[{"role": "user", "content": text}], max_tokens=1)
            tokens = ask(app, "POST", PATH, asked).json()["usage"]["prompt_tokens"]
            assert isinstance(tokens, int)
            return tokens

        assert prompt_tokens("a<think>") - prompt_tokens("a") == len("<think>"), "tiny has a token for each letter"


def test_a_body_without_messages_lacks_them() -> None:
    with pytest.raises(ApiError) as caught:
        question_of(Fields({}))
    assert (caught.value.message, caught.value.param) == ("messages is missing", "messages")


ASKED = {
    PATH: b'"messages": [{"role": "user", "content": %s}]',
    "/v1/completions": b'"prompt": %s',
    "/v1/responses": b'"input": %s',
}
"""How each route has the text to answer."""


@pytest.mark.parametrize("path", ASKED)
class TestHostileBodies:
    @pytest.mark.parametrize(
        "hostile",
        [
            b"",
            b"not JSON",
            b"[]",
            b"{}",
            b"\xff\xfe",
            b"[" * 100_000,
            b'{"temperature": NaN}',
            b'{"model": %s}' % (b"[" * 900 + b"]" * 900),
        ],
    )
    def test_are_refused_in_words(self, app: Starlette, path: str, hostile: bytes) -> None:
        self.is_refused(app, path, hostile)

    @pytest.mark.parametrize(
        ("text", "others"),
        [
            (b'"half \\ud800"', b'"model": "tiny"'),
            (b"5", b'"model": "tiny"'),
            (b"null", b'"model": "tiny"'),
            (b"[[[[[[[[]]]]]]]]", b'"model": "tiny"'),
            (b'"Hello"', b'"model": "../../etc/passwd"'),
            (b'"Hello"', b'"model": "/etc/passwd"'),
            (b'"Hello"', b'"model": "\\ud800"'),
            (b'"Hello"', b'"max_tokens": 1e400, "max_output_tokens": 1e400'),
            (b'"Hello"', b'"temperature": 1' + b"0" * 400),
            (b'"Hello"', b'"seed": 1' + b"0" * 400),
            (b'"Hello"', b'"stream": "yes"'),
            (b'"Hello"', b'"stop": {"a": 1}'),
        ],
    )
    def test_fields_are_refused_in_words(self, app: Starlette, path: str, text: bytes, others: bytes) -> None:
        self.is_refused(app, path, b"{%s, %s}" % (ASKED[path] % text, others))

    def is_refused(self, app: Starlette, path: str, hostile: bytes) -> None:
        answered = ask(app, "POST", path, hostile)
        error = answered.json()["error"]
        assert 400 <= answered.status < 500, error
        assert error["type"] in {"invalid_request_error", "not_found_error"}
        assert 0 < len(error["message"]) < 300
        assert "unexpected" not in error["message"]

    def test_a_text_that_is_too_long_is_refused_by_the_name_of_its_field(self, app: Starlette, path: str) -> None:
        answered = ask(app, "POST", path, b'{"model": "tiny", %s}' % (ASKED[path] % (b'"' + b"word " * 3000 + b'"')))
        error = answered.json()["error"]
        assert (answered.status, error["code"]) == (400, "context_length_exceeded")
        assert ASKED[path].startswith(b'"%s"' % error["param"].encode())

    def test_the_server_goes_on(self, app: Starlette, path: str) -> None:
        asked = b'{"model": "tiny", "max_tokens": 4, "max_output_tokens": 4, %s}' % (ASKED[path] % b'"17+25?"')
        assert ask(app, "POST", path, asked).status == 200
