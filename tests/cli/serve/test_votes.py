"""The votes that a request asks for."""

from __future__ import annotations

from typing import Any

import pytest

from r1.evaluate.vote import VoteOptions
from r1.serve.errors import ApiError
from r1.serve.fields import Fields
from r1.serve.votes import votes_in


@pytest.mark.parametrize(
    ("body", "options"),
    [
        ({}, None),
        ({"votes": None}, None),
        ({"votes": 1}, None),
        ({"first": 3, "confidence": 0.9}, None),
        ({"votes": 5}, VoteOptions(5, None, 0.95)),
        ({"votes": 1024, "first": 1024, "confidence": 1}, VoteOptions(1024, 1024, 1)),
        ({"votes": 5, "confidence": 0.5, "temperature": 0.6}, VoteOptions(5, None, 0.5)),
    ],
)
def test_as_the_options_of_r1_run(body: dict[str, Any], options: VoteOptions | None) -> None:
    assert votes_in(Fields(body)) == options


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"votes": 0}, "votes"),
        ({"votes": 1025}, "votes"),
        ({"votes": 10**30}, "votes"),
        ({"votes": "5"}, "votes"),
        ({"votes": True}, "votes"),
        ({"votes": 2.5}, "votes"),
        ({"votes": 5, "first": 0}, "first"),
        ({"votes": 5, "first": 6}, "first"),
        ({"votes": 5, "confidence": 0.49}, "confidence"),
        ({"votes": 5, "confidence": 1.01}, "confidence"),
    ],
)
def test_what_cannot_be_is_refused_by_its_name(body: dict[str, Any], param: str) -> None:
    with pytest.raises(ApiError) as caught:
        votes_in(Fields(body))
    assert (caught.value.status, caught.value.param) == (400, param)
    assert caught.value.message.startswith(param)


def test_a_vote_gives_one_reply() -> None:
    with pytest.raises(ApiError, match="votes gives one reply"):
        votes_in(Fields({"votes": 5}), count=2)
    assert votes_in(Fields({"votes": 1}), count=2) is None
