"""`r1.render.reply_text`: the text and the counts of a reply, from its events."""

from __future__ import annotations

from r1.engine.events import Answer, Finished, Prefill, Rewound, Thinking, Thought, Timings, Usage
from r1.render.reply_text import Reply, ReplyText

ANSWERED = [
    *(Prefill(0, 9), Prefill(9, 9), Thinking("Let me ", 2), Thinking("see.", 4)),
    *(Thought(5), Answer("It is ", 2), Answer("**42**.", 4)),
]
END = Finished("stop", Usage(9, 5, 4), Timings(0.1, 90.0, 30.0, 1.0))


def test_the_pieces_and_counts_of_a_turn() -> None:
    text = ReplyText()
    for event in ANSWERED:
        assert text.add(event) is None
    assert ("".join(text.thinking), "".join(text.answer)) == ("Let me see.", "It is **42**.")
    assert (text.prompt_tokens, text.thinking_tokens, text.answer_tokens, text.tokens) == (9, 5, 4, 18)
    assert text.add(END) == Reply(END, thinking="Let me see.", answer="It is **42**.")


def test_what_was_taken_back_is_not_in_the_text_but_was_generated() -> None:
    text = ReplyText()
    for event in [Prefill(9, 9), Thinking("It is. It is.", 6), Rewound("It is.", 3, 3), Thinking(" So", 4), Thought(5)]:
        text.add(event)
    assert "".join(text.thinking) == "It is. So"
    assert (text.times_back, text.discarded_tokens, text.tokens, text.generated_tokens) == (1, 3, 14, 8)
