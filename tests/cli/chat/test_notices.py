"""`r1.chat.notices`: the lines about limits and errors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import pytest

from r1.chat.notices import Notices, explain, nearly_full, what_is_wrong, why_it_ended
from r1.chat.worker import Ready
from r1.engine.context import PromptTooLong
from r1.engine.events import Finished, FinishReason, Usage
from r1.settings import Settings
from r1_quantize.errors import R1Error
from tests.fakes.chats import TIMINGS
from tests.fakes.views import FakeView

if TYPE_CHECKING:
    from r1.forms.form import Form

READY = Ready("tiny:Q8_0", ctx=1024, trained=131_072)
LONGEST = Ready("tiny:Q8_0", ctx=2048, trained=2048)


def ended(reason: FinishReason, answer_tokens: int = 7) -> Finished:
    return Finished(reason, Usage(prompt_tokens=9, thinking_tokens=5, answer_tokens=answer_tokens), TIMINGS)


class TestWhyItEnded:
    """An incomplete reply names its limit and the command that raises it."""

    def test_a_reply_without_an_answer(self) -> None:
        said = why_it_ended(ended("stop", 0), Settings(), READY)
        assert said == "the model stopped without answering; /retry to try again"

    def test_the_token_limit(self) -> None:
        said = why_it_ended(ended("length"), Settings(max_tokens=5000), READY)
        assert "the limit of 5,000 tokens was reached; /set max-tokens N" in said
        assert said.startswith("the answer is incomplete")

    def test_a_full_context_offers_a_longer_one_only_up_to_the_models_length(self) -> None:
        assert "/set ctx 2048, /trim" in why_it_ended(ended("context"), Settings(), READY)
        assert "/set ctx" not in why_it_ended(ended("context"), Settings(), LONGEST)

    def test_an_answer_that_went_round_in_circles(self) -> None:
        said = why_it_ended(ended("loop"), Settings(), READY)
        assert said == "the answer is incomplete: it went round in circles and was stopped; /retry to try again"

    def test_an_interruption_says_that_the_text_is_saved(self) -> None:
        assert "saved" in why_it_ended(ended("interrupted"), Settings(), READY)


@dataclass(frozen=True, slots=True)
class Digits:
    """A form: digits, or nothing at all."""

    def problem(self, answer: str) -> str | None:
        return f"the answer is not a number: {answer}" if answer and not answer.isdecimal() else None


DIGITS = cast("Form", Digits())


class TestWhatIsWrong:
    """Nothing, with a whole answer of the form that was asked for."""

    def test_a_whole_answer(self) -> None:
        assert what_is_wrong(ended("stop"), "42", None, Settings(), READY) is None
        assert what_is_wrong(ended("stop"), "42", DIGITS, Settings(), READY) is None

    def test_an_answer_of_another_form(self) -> None:
        said = what_is_wrong(ended("stop"), "many", DIGITS, Settings(), READY)
        assert said == "the answer is not a number: many; /retry to ask again"

    def test_an_answer_that_was_cut_off_is_not_checked(self) -> None:
        said = what_is_wrong(ended("length"), "man", DIGITS, Settings(max_tokens=5), READY)
        assert said == "the answer is incomplete: the limit of 5 tokens was reached; /set max-tokens N, then /retry"

    def test_no_answer_is_one_only_where_the_form_allows_it(self) -> None:
        assert what_is_wrong(ended("stop", 0), "", DIGITS, Settings(), READY) is None
        said = what_is_wrong(ended("stop", 0), "", None, Settings(), READY)
        assert said == "the model stopped without answering; /retry to try again"


class TestNearlyFull:
    """The tokens left, and a context that would be twice as long, in steps of 256."""

    @pytest.mark.parametrize(("used", "ctx"), [(900, 2048), (1024, 2048), (1025, 2304)])
    def test_it_counts_what_is_left_and_offers_twice_the_need(self, used: int, ctx: int) -> None:
        said = nearly_full(used, READY)
        assert f"{max(1024 - used, 0)} of 1,024 tokens left" in said
        assert f"/set ctx {ctx}," in said


class TestExplain:
    """Errors of ours are their own message; others are named."""

    def test_an_error_of_ours(self) -> None:
        assert explain(R1Error("no such file"), READY) == "no such file"

    def test_any_other_error_is_named(self) -> None:
        assert explain(KeyError("x"), READY).startswith("unexpected error: KeyError: 'x'")

    def test_a_prompt_that_was_not_counted_to_the_end(self) -> None:
        said = explain(PromptTooLong(300_000, 1024, 131_072, is_estimate=True), READY)
        assert said.startswith("the prompt is too long: about 300,000 tokens, and the context holds 1,024; press Up")

    def test_a_prompt_that_is_too_long(self) -> None:
        said = explain(PromptTooLong(3000, 1024, 131_072), READY)
        assert said.startswith("the prompt is too long: 3,000 tokens, and the context holds 1,024; press Up")
        assert "/set ctx 6144," in said


def test_the_lines_after_a_reply_are_remarks_and_then_warnings() -> None:
    notices = Notices(FakeView())
    assert notices.ending(()) == notices.ending((), None, "") == ""
    assert notices.ending(("5 votes", "1 pair"), None, "stopped") == "5 votes\n1 pair\n\nstopped\n\n"
