"""`r1.render.outcome`: the exit status of a reply, and why it is incomplete."""

from __future__ import annotations

import pytest

from r1.engine.events import Finished, FinishReason, ThinkingEnd, Timings, Usage
from r1.forms.form import FormOptions
from r1.render.outcome import FormCheck, Limits, Remedies, exit_status, how_thinking_ended, why_incomplete
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
            ("loop", "4", 3),
            ("interrupted", "", 130),
        ],
    )
    def test_follows_from_reason_and_text(self, reason: FinishReason | None, text: str, status: ExitStatus) -> None:
        assert exit_status(reason, text) == status

    @pytest.mark.parametrize(
        ("reason", "text", "valid", "status"),
        [
            ("stop", "yes", True, 0),
            ("stop", "", True, 0),  # the form allows it
            ("stop", "maybe", False, 3),
            ("length", "ye", None, 3),
            ("interrupted", "ye", None, 130),
        ],
    )
    def test_and_from_the_form_if_one_was_asked_for(
        self, reason: FinishReason, text: str, valid: bool | None, status: ExitStatus
    ) -> None:
        assert exit_status(reason, text, valid=valid) == status


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
            ("loop", True, "the answer is incomplete: it went round in circles and was stopped; ask again"),
        ],
    )
    def test_names_the_limit_and_what_to_do(self, reason: FinishReason, answered: bool, line: str) -> None:
        found = why_incomplete(reason, Limits(None, 32_768, 4096, REMEDIES), answered=answered)
        assert found == line

    def test_thinking_that_had_ended_was_not_still_going_on(self) -> None:
        found = why_incomplete("length", Limits(None, 1, 4096, REMEDIES), answered=False, thought=True)
        assert found.startswith("no answer yet: the limit of 1 token was reached; ")

    def test_where_no_answer_was_asked_for_none_is_missing(self) -> None:
        found = why_incomplete("length", Limits(None, 500, 4096, REMEDIES), answered=False, only_thinking=True)
        assert found.startswith("the thinking is incomplete: the limit of 500 tokens was reached; ")


@pytest.mark.parametrize(
    ("answer", "reason", "has_form", "valid"),
    [
        ("yes", "stop", True, True),
        ("perhaps", "stop", True, False),
        ("ye", "length", True, None),
        ("ye", "loop", True, None),
        ("perhaps", "stop", False, None),
    ],
)
def test_only_a_finished_answer_can_have_a_form(
    answer: str, reason: FinishReason, has_form: bool, valid: bool | None
) -> None:
    found = FormCheck.of(answer, reason, FormOptions(choices="yes,no").compile() if has_form else None)
    assert found.valid is valid
    assert (found.problem is not None) == (valid is False)


class TestHowThinkingEnded:
    """A line with the figures, where the model did not end it itself."""

    def line(
        self, end: ThinkingEnd | None, *, budget: int | None = None, reason: FinishReason = "stop", tokens: int = 2431
    ) -> str | None:
        finished = Finished(reason, Usage(3, tokens, 1), Timings(0, 0, 0, 0), thinking_end=end)
        return how_thinking_ended(finished, Limits(budget, 4096, 8192, REMEDIES))

    @pytest.mark.parametrize(
        ("end", "budget", "said"),
        [
            ("budget", 2400, "the thinking was ended at the budget of 2,400 tokens"),
            ("loop", None, "the thinking went round in circles, and was ended after 2,431 tokens"),
            ("user", 9000, "the thinking was ended after 2,431 tokens, by the signal to answer now"),
            (
                "eos",
                None,
                "the model ended its turn while it was thinking, after 2,431 tokens, and was made to answer",
            ),
            (
                "limit",
                None,
                "the thinking was ended after 2,431 tokens, "
                "to leave room for the answer in 4,096 tokens; raise the limit",
            ),
        ],
    )
    def test_is_said(self, end: ThinkingEnd, budget: int | None, said: str) -> None:
        assert self.line(end, budget=budget) == said

    @pytest.mark.parametrize("end", ["natural", None])
    def test_needs_no_line_if_it_was_the_model(self, end: ThinkingEnd | None) -> None:
        assert self.line(end, budget=1024) is None

    def test_needs_no_line_if_there_was_none(self) -> None:
        assert self.line("budget", budget=0, tokens=0) is None

    @pytest.mark.parametrize("reason", ["length", "context"])
    def test_a_limit_that_ended_the_answer_too_is_named_once(self, reason: FinishReason) -> None:
        assert self.line("limit", reason=reason) is None
        assert self.line("eos", reason=reason) is not None

    def test_one_token_is_one_token(self) -> None:
        assert self.line("budget", budget=1) == "the thinking was ended at the budget of 1 token"
