"""Replies as a whole."""

from __future__ import annotations

import asyncio

from r1.engine.events import Answer, Finished, Rewound, Scored, Thinking, Thought, Timings, Usage
from r1.serve.asked import Asked
from r1.serve.collected import Collected, collect

DONE = Finished("stop", Usage(5, 3, 4), Timings(0.1, 90.0, 30.0, 1.0))


def score(piece: str, *, is_thinking: bool) -> Scored:
    return Scored(piece.encode(), -0.5, (), is_thinking)


async def collected() -> list[Collected]:
    """Two replies: the second finishes first, and the first takes back a part of its thinking."""
    asked = Asked("tiny:Q8_0", lambda: None)
    sinks = [asked.sink(index) for index in range(2)]
    for _ in sinks:
        asked.add(lambda: None, ["!"])
    scores = [score(piece, is_thinking=True) for piece in "aba"]
    for place, each in enumerate(scores, 1):
        sinks[0]([each, Thinking(each.piece.decode(), place)])
    sinks[1]([Thought(0), Answer("two!", 1), DONE])
    end = score("</think>", is_thinking=True)
    one = score("one", is_thinking=False)
    sinks[0]([Rewound("a", 1, 2), end, Thought(2), one, Answer("one", 1), DONE])
    return await collect(asked)


def test_replies_are_in_their_order_with_their_texts_and_the_scores_that_count() -> None:
    first, second = asyncio.run(collected())
    assert (first.reply.thinking, first.reply.answer, first.stop_text) == ("a", "one", None)
    assert [each.piece for each in first.scores] == [b"a", b"</think>", b"one"]
    assert (second.reply.thinking, second.reply.answer, second.stop_text) == ("", "two", "!")
