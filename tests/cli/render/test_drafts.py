"""`r1.render.drafts`: what came of drafts."""

from __future__ import annotations

import pytest

from r1.engine.events import Drafted
from r1.render.drafts import drafts_in_words, drafts_object

DRAFTED = Drafted(proposed=1400, accepted=1050, passes=700, speedup=1.84321)


@pytest.mark.parametrize(
    ("drafted", "words"),
    [
        (DRAFTED, "1,050 of 1,400 tokens accepted, 2.5 a pass, 1.8 × as fast"),
        (Drafted(1, 0, 30), "0 of 1 token accepted, 1.0 a pass"),
        (Drafted(0, 0, 30), "none"),
    ],
)
def test_in_words(drafted: Drafted, words: str) -> None:
    assert drafts_in_words(drafted) == words


def test_as_an_object() -> None:
    assert drafts_object(DRAFTED) == {"proposed": 1400, "accepted": 1050, "tokens_per_pass": 2.5, "speedup": 1.8432}
    assert drafts_object(Drafted()) == {"proposed": 0, "accepted": 0, "tokens_per_pass": 1.0, "speedup": None}
    assert drafts_object(None) is None
