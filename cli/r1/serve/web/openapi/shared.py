"""Parts of requests and answers that several APIs have."""

from __future__ import annotations

from r1.serve.question import MOST_STOP_TEXTS
from r1.serve.web.openapi.schemas import (
    AMOUNT,
    COUNT,
    FLAG,
    INTEGER,
    STRING,
    flag,
    made,
    made_list,
    number,
    optional,
    or_null,
    text,
    texts,
    whole,
    word,
)

MESSAGE = {"role": "user", "content": "17+25?"}
"""An example."""

MODEL = text("A name as `r1 list` has it; without one, the default. A server of one model ignores it.")
STREAMED = flag("Whether the answer comes as a stream.")
STOP_TEXTS = texts(MOST_STOP_TEXTS, "The answer ends before the first of them.")

_INT64 = 1 << 63
_MOST_VOTES = 1024

SAMPLING = {
    "temperature": number(0, 10, "0 gives the likeliest tokens."),
    "top_p": number(0, 1),
    "seed": whole(-_INT64, 2 * _INT64 - 1, "The same seed gives the same text; -1 is a random one."),
}
_NOT_EMPTY = optional("string", "", minLength=1)
OWN_FORMS = {
    "choices": {
        "anyOf": [_NOT_EMPTY, {"type": "array", "items": _NOT_EMPTY, "minItems": 1}],
        "description": "r1's own: the answer is one of these texts; a string has commas between them.",
    },
    "regex": {**_NOT_EMPTY, "description": "r1's own: a regular expression that the answer matches as a whole."},
    "grammar": {**_NOT_EMPTY, "description": "r1's own: a grammar in GBNF for the answer."},
}
"""At most one form of the answer may be given."""

VOTING = {
    "votes": whole(1, _MOST_VOTES, "r1's own: so many samples are drawn; the answer is one that most of them have."),
    "first": whole(1, _MOST_VOTES, "r1's own: only the first so many samples that finish have a vote."),
    "confidence": number(0.5, 1, "r1's own: the vote ends when the winner is certain to this degree."),
}

VOTE = {
    "votes": made_list(made({"answer": STRING, "count": COUNT})),
    "agreement": or_null(AMOUNT),
    "stopped_early": FLAG,
    "prose": FLAG,
    "compared_literally": COUNT,
    "samples": made_list(
        made(
            {
                "seed": INTEGER,
                "final": or_null(STRING),
                "answer": STRING,
                "thinking": STRING,
                "finish_reason": word("stop", "length", "context", "loop", "interrupted"),
                "thinking_end": word("natural", "budget", "loop", "user", "eos", "limit", None),
                "thinking_tokens": COUNT,
                "answer_tokens": COUNT,
            }
        )
    ),
}
"""What a vote adds to a reply."""
