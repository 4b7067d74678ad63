"""What a request to generate asks."""

from __future__ import annotations

from typing import Any

import pytest

from r1.serve.errors import ApiError
from r1.serve.fields import Fields
from r1.serve.messages import Dialogue
from r1.serve.ollama.generate import question_of
from r1.serve.question import Question
from r1.settings import Settings


def asked(**body: Any) -> Question:
    return question_of(Fields({"prompt": "17+25?", **body}), Settings())


def test_a_prompt() -> None:
    assert asked(model="tiny", think=False) == Question("tiny", Dialogue((), "17+25?"), changed={"effort": "none"})


def test_a_system_prompt_is_put_in_front() -> None:
    assert asked(system="Be brief.").dialogue == Dialogue((), "Be brief.\n\n17+25?", has_instructions=True)


def test_a_raw_text_is_continued_as_it_stands() -> None:
    assert asked(prompt=" 17 +", raw=True) == Question(None, None, " 17 +")


def test_empty_fields_are_none() -> None:
    body = {"suffix": "", "template": "", "context": [], "images": [], "system": "", "format": ""}
    assert asked(**body) == asked()


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ({"suffix": "}"}, "^suffix is not supported"),
        ({"template": "{{ .Prompt }}"}, "^template is not supported"),
        ({"context": [1, 2]}, "^context is not supported"),
        ({"images": ["aGVsbG8="]}, "^images are not supported"),
        ({"raw": True, "system": "Be brief."}, "^raw is for a text to go on with"),
        ({"raw": True, "format": "json"}, "^raw is for a text to go on with"),
        ({"raw": "yes"}, "^raw must be true or false"),
        ({"prompt": "half a \ud83d"}, "^prompt has half of a character"),
        ({"prompt": "  "}, "no text to answer"),
    ],
)
def test_what_cannot_be_asked(body: dict[str, Any], problem: str) -> None:
    with pytest.raises(ApiError, match=problem) as caught:
        asked(**body)
    assert caught.value.status == 400
