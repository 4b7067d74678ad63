"""The requests of a run, made from a seed: from every API, some of them cut off, some hostile."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from scripts.soak.apis import APIS, MODEL
from scripts.soak.client import Ask, Cut
from scripts.soak.hostile import Hostile, make_hostile
from scripts.soak.questions import Question

_HOSTILE, _RANDOM, _CUT = 0.05, 0.2, 1 / 3  # shares of the requests
_CHAT = APIS[0]
_NUMBER = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}


def make_request(rng: random.Random, questions: Sequence[Question]) -> Ask | Hostile:
    if rng.random() < _HOSTILE:
        return make_hostile(rng)
    is_streamed, cut = rng.random() < 0.6, _cut(rng) if rng.random() < _CUT else None
    if rng.random() < _RANDOM:
        body = _CHAT.body([{"role": "user", "content": f"{rng.randint(1, 99)}+{rng.randint(1, 99)}?"}], is_streamed)
        return Ask(_CHAT, {**body, **_random(rng)}, cut=cut)
    api, question = rng.choice(APIS), rng.choice(questions)
    return Ask(api, api.body(question.messages, is_streamed), question, cut)


def filling(number: int, tokens: int) -> Ask:
    """A request with a prompt of about so many tokens, which begins as that of no other number does."""
    text = "+".join([f"{number:03}", *["7"] * (tokens // 2)])
    body = {"model": MODEL, "messages": [{"role": "user", "content": text}], "max_tokens": 30, "stream": False}
    return Ask(_CHAT, body)


def _random(rng: random.Random) -> dict[str, Any]:
    """What makes a reply long, or several of it, or one of a form."""
    return rng.choice(
        [
            {"temperature": 3, "max_tokens": rng.randint(100, 600)},
            {"temperature": 3, "max_tokens": 200, "n": rng.randint(2, 4)},
            {"temperature": 0.6, "votes": 3},
            {"temperature": 0.6, "logprobs": True, "top_logprobs": 3},
            {"temperature": 0.6, "response_format": {"type": "json_schema", "json_schema": {"schema": _NUMBER}}},
            {"temperature": 1, "stop": ["=", "boxed"], "think_budget": rng.randint(0, 20)},
        ]
    )


def _cut(rng: random.Random) -> Cut:
    """While it waits or its prompt is prefilled, or later."""
    return rng.choice(
        [
            Cut(after_s=rng.uniform(0, 0.03)),
            Cut(after_s=rng.uniform(0, 0.5)),
            Cut(after_s=2.0, after_lines=rng.randint(1, 60)),
        ]
    )
