"""`r1.render.outcome`: the exit status of a reply, and why it is incomplete."""

from __future__ import annotations

import pytest

from r1.engine.events import FinishReason
from r1.render.outcome import Remedies, exit_status, why_incomplete
from r1_quantize.errors import ExitStatus

REMEDIES = Remedies(no_answer="ask again", length="raise the limit", context="make room")


class TestExitStatus:
    """0 only for a reply that ended by itself and has text."""

    @pytest.mark.parametrize(
        ("reason", "text", "status"),
        [
            ("stop", "42", 0),
            ("stop", "", 3),
            ("length", "4", 3),
            ("context", "4", 3),
            (None, "4", 3),
            ("interrupted", "4", 130),
            ("interrupted", "", 130),
        ],
    )
    def test_follows_from_reason_and_text(self, reason: FinishReason | None, text: str, status: ExitStatus) -> None:
        assert exit_status(reason, text) == status


class TestWhyIncomplete:
    """One line: the problem, the number that caused it, and the remedy."""

    @pytest.mark.parametrize(
        ("reason", "answered", "line"),
        [
            ("stop", False, "the model stopped without answering; ask again"),
            ("length", True, "the answer is incomplete: the limit of 32,768 tokens was reached; raise the limit"),
            (
                "length",
                False,
                "no answer yet, the model was still thinking: the limit of 32,768 tokens was reached; raise the limit",
            ),
            ("context", True, "the answer is incomplete: the context of 4,096 tokens is full; make room"),
        ],
    )
    def test_names_the_limit_and_what_to_do(self, reason: FinishReason, answered: bool, line: str) -> None:
        found = why_incomplete(reason, answered=answered, max_tokens=32_768, context=4096, remedies=REMEDIES)
        assert found == line
