"""`r1.chat.reply_settings`: what /set, /budget and /format accept, and how they show it."""

from __future__ import annotations

import pytest

from r1.chat.reply_settings import budget, setting, with_budget, with_setting
from r1.chat.worker import Ready
from r1.engine.thinking import EFFORTS
from r1.settings import Settings
from r1_quantize.errors import UsageError

READY = Ready("tiny:Q8_0", ctx=1024, trained=2048)


class TestBudget:
    """A number of tokens, a level of effort, or off; the last one counts."""

    @pytest.mark.parametrize(
        ("word", "tokens", "shown"),
        [
            ("2000", 2000, "budget 2,000 tokens"),
            ("0", 0, "budget 0: the model answers without thinking"),
            ("none", 0, "budget 0: the model answers without thinking"),
            ("2,000", 2000, "budget 2,000 tokens"),
            ("1", 1, "budget 1 token"),
            ("low", 1024, "budget 1,024 tokens (low)"),
            ("medium", 4096, "budget 4,096 tokens (medium)"),
            ("HIGH", 16_384, "budget 16,384 tokens (high)"),
            ("max", None, "no budget: the model thinks as long as it needs"),
            ("off", None, "no budget: the model thinks as long as it needs"),
        ],
    )
    def test_each_word(self, word: str, tokens: int | None, shown: str) -> None:
        for before in (Settings(), Settings(effort="low"), Settings(think_budget=7)):
            settings = with_budget(before, word)
            assert settings.thinking_params().budget == tokens
            assert budget(settings) == shown

    @pytest.mark.parametrize("word", ["lots", "1.5", "-5", "low medium", "1e3", "²"])
    def test_another_word_is_refused_with_all_that_are_accepted(self, word: str) -> None:
        with pytest.raises(
            UsageError, match="usage: /budget N, for example /budget 2000; or /budget none, low"
        ) as said:
            with_budget(Settings(), word)
        assert all(level in str(said.value) for level in (*EFFORTS, "off"))

    def test_a_number_that_is_too_large_is_refused(self) -> None:
        with pytest.raises(UsageError, match=r"^budget: '99999999999' is not a whole number from 0 to"):
            with_budget(Settings(), "99999999999")


class TestSettings:
    """Words for a default are accepted, and a value is shown as it is typed."""

    @pytest.mark.parametrize(
        ("name", "value", "shown"),
        [
            ("reserve", "300", "300"),
            ("reserve", "auto", "auto"),
            ("loop-guard", "off", "off"),
            ("loop-guard", "default", "on"),
            ("seed", "random", "random"),
            ("ctx", "auto", "auto (1,024)"),
            ("temp", "default", "0.6"),
        ],
    )
    def test_each_setting(self, name: str, value: str, shown: str) -> None:
        before = Settings(reserve=5, seed=3, ctx=512, temp=0.1)
        assert setting(with_setting(before, name, value, READY), name, READY) == shown

    def test_a_context_may_not_be_longer_than_the_model_was_trained_for(self) -> None:
        with pytest.raises(UsageError, match="ctx: 4,096 is too long; the model was trained for 2,048 tokens"):
            with_setting(Settings(), "ctx", "4096", READY)
        assert with_setting(Settings(), "ctx", "4096", None).ctx == 4096
