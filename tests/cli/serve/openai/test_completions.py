"""Texts that are continued."""

from __future__ import annotations

from typing import Any

import pytest
from starlette.applications import Starlette

from r1.serve.errors import ApiError
from r1.serve.fields import Fields
from r1.serve.openai.completions import question_of
from tests.fakes.asgi import ask

PATH = "/v1/completions"


class TestQuestions:
    def test_one_text(self) -> None:
        question = question_of(Fields({"prompt": " as it stands\n"}))
        assert (question.dialogue, question.texts, question.count) == (None, (" as it stands\n",), 1)
        assert question.changed == {"max_tokens": 16}, "OpenAI's default"

    def test_several_texts(self) -> None:
        question = question_of(Fields({"prompt": ["a", "b"], "n": 2, "max_tokens": 5, "best_of": 1, "logprobs": 3}))
        assert (question.texts, question.count, question.top_logprobs) == (("a", "b"), 2, 3)
        assert question.changed == {"max_tokens": 5}

    @pytest.mark.parametrize(
        ("fields", "param"),
        [
            ({"prompt": None}, "prompt"),
            ({"prompt": []}, "prompt"),
            ({"prompt": [1, 2]}, "prompt"),
            ({"prompt": [[1, 2], [3]]}, "prompt"),
            ({"prompt": ["a", 1]}, "prompt"),
            ({"prompt": ["a"] * 1000}, "prompt"),
            ({"prompt": ["a"] * 20, "n": 20}, "prompt"),
            ({"prompt": "half \ud800"}, "prompt"),
            ({"suffix": "end"}, "suffix"),
            ({"best_of": 2}, "best_of"),
            ({"logprobs": 6}, "logprobs"),
            ({"logprobs": True}, "logprobs"),
            ({"logprobs": 1, "echo": True}, "logprobs"),
            ({"echo": "yes"}, "echo"),
            ({"regex": "[0-9]"}, "regex"),
            ({"response_format": {"type": "json_object"}}, "response_format"),
            ({"max_tokens": 0}, "max_tokens"),
        ],
    )
    def test_a_field_that_cannot_be_used_is_named(self, fields: dict[str, Any], param: str) -> None:
        with pytest.raises(ApiError) as caught:
            question_of(Fields({"prompt": "a", **fields}))
        assert (caught.value.status, caught.value.param) == (400, param)


class TestAnswers:
    def test_log_probabilities_have_the_old_shape(self, app: Starlette) -> None:
        (choice,) = ask(app, "POST", PATH, {"model": "tiny", "prompt": "The", "max_tokens": 3, "logprobs": 2}).json()[
            "choices"
        ]
        scores = choice["logprobs"]
        assert "".join(scores["tokens"]) == choice["text"]
        for token, logprob, top in zip(scores["tokens"], scores["token_logprobs"], scores["top_logprobs"], strict=True):
            assert len(top) == 2
            assert max(top.values()) == top[token] == logprob, "the likeliest token was taken"

    def test_a_token_that_is_not_among_the_likeliest_is_there_as_well(self, app: Starlette) -> None:
        hot = {"model": "tiny", "prompt": "The", "temperature": 10, "top_p": 1, "seed": 1, "logprobs": 0}
        (choice,) = ask(app, "POST", PATH, hot).json()["choices"]
        scores = choice["logprobs"]
        alone = [{token: each} for token, each in zip(scores["tokens"], scores["token_logprobs"], strict=True)]
        assert scores["top_logprobs"] == alone

    def test_usage_of_a_stream_is_that_of_the_whole(self, app: Starlette) -> None:
        asked = {"model": "tiny", "prompt": ["The", "A longer one"], "n": 2, "max_tokens": 3}
        whole = ask(app, "POST", PATH, asked).json()
        streamed = ask(app, "POST", PATH, {**asked, "stream": True, "stream_options": {"include_usage": True}})
        chunks = streamed.events()
        for name in ("prompt_tokens", "completion_tokens"):
            assert chunks[-1]["usage"][name] == whole["usage"][name]
        texts = ["", "", "", ""]
        for chunk in chunks[:-1]:
            texts[chunk["choices"][0]["index"]] += chunk["choices"][0]["text"]
        assert texts == [choice["text"] for choice in whole["choices"]]
        assert streamed.body.endswith(b"data: [DONE]\n\n")
