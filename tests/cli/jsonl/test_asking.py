"""`r1.jsonl.asking`: the options of a line before those of the command line, checked by the same rules."""

from __future__ import annotations

from typing import Any

import pytest

from r1.engine.thinking import ThinkingParams
from r1.forms.form import Form
from r1.interrupt import AnswerNow
from r1.jsonl import asking as module
from r1.jsonl.asking import Asked, Asking
from r1.prompt_input import PromptLine
from r1.settings import Settings
from r1_quantize.errors import UsageError

COMMAND_LINE = Settings(temp=0.5, seed=3, effort="low", reserve=9)


def asked(options: dict[str, Any], settings: Settings = COMMAND_LINE, form: Form | None = None) -> Asked:
    return Asking(settings, form, AnswerNow()).of(PromptLine(1, "hi", options=options))


class TestSettings:
    """Sampling and thinking."""

    def test_without_options_a_line_has_those_of_the_command_line(self) -> None:
        assert asked({}).settings is COMMAND_LINE

    def test_each_takes_the_place_of_the_command_lines(self) -> None:
        found = asked({"seed": 0, "temp": 1, "top_p": 0.5, "max_tokens": 100}).settings
        assert found == Settings(temp=1.0, seed=0, top_p=0.5, max_tokens=100, effort="low", reserve=9)

    @pytest.mark.parametrize(
        ("settings", "options", "budget"),
        [
            (Settings(effort="low"), {"think_budget": 5}, 5),
            (Settings(think_budget=5), {"effort": "low"}, 1024),
            (Settings(think_budget=5), {"effort": "max"}, None),
            (Settings(think_budget=5), {"think_budget": "off"}, None),
            (Settings(effort="low"), {"temp": 1}, 1024),
        ],
    )
    def test_a_budget_beats_the_effort_of_the_command_line_and_the_other_way_round(
        self, settings: Settings, options: dict[str, Any], budget: int | None
    ) -> None:
        assert asked(options, settings).settings.thinking_params() == ThinkingParams(budget=budget)

    @pytest.mark.parametrize(
        ("key", "value", "says"),
        [
            ("seed", 1.5, "1.5 is not a whole number"),
            ("seed", -1, "-1 is not a whole number"),
            ("temp", "hot", "'hot' is not a number"),
            ("temp", True, "True is not a number"),
            ("top_p", 0, "0 is not a number above 0"),
            ("max_tokens", 0, "0 is not a whole number from 1"),
            ("max_tokens", [1], "[1] is not a whole number"),
            ("think_budget", -1, "-1 is not a whole number from 0"),
            ("think_budget", {}, "{} is not a whole number from 0"),
            ("effort", "huge", "'huge' is not one of none, low, medium, high, max"),
            ("effort", 1, "1 is not one of"),
            *[("schema", value, "") for value in ("{", 7, [], {"type": "nothing"})],
            *[("choices", value, "") for value in ([], "", 7, ["a", 1])],
            *[("regex", value, "") for value in ("(", 7)],
            *[("grammar", value, "") for value in ("x ::= 1", 7, "")],
        ],
    )
    def test_a_wrong_one_is_named(self, key: str, value: object, says: str) -> None:
        with pytest.raises(UsageError) as caught:
            asked({key: value})
        assert str(caught.value).startswith(f'"{key}": {says}')
        assert "\n" not in str(caught.value)

    @pytest.mark.parametrize(
        ("options", "says"),
        [
            ({"effort": "low", "think_budget": 5}, '"think_budget" and "effort" both set how long to think'),
            ({"regex": "a", "choices": ["a"]}, "an answer has one form, but choices and regex are given"),
        ],
    )
    def test_two_that_exclude_each_other_are_named(self, options: dict[str, Any], says: str) -> None:
        with pytest.raises(UsageError, match=f"^{says}; "):
            asked(options)


class TestForm:
    """The form of the answer."""

    def test_that_of_a_line_takes_the_place_of_the_command_lines(self) -> None:
        of_command_line = asked({"choices": "yes,no"}).form
        assert of_command_line is not None
        assert asked({}, form=of_command_line).form is of_command_line
        of_line = asked({"regex": "[0-9]+"}, form=of_command_line).form
        assert of_line is not None
        assert (of_line.kind, of_line.problem("17")) == ("regex", None)

    def test_the_same_one_is_compiled_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        module._compiled.cache_clear()
        forms = [asked({"schema": {"type": "integer"}, "seed": number}).form for number in range(20)]
        assert len({id(form) for form in forms}) == 1
        assert module._compiled.cache_info().misses == 1

    def test_the_order_of_properties_matters(self) -> None:
        """The answer has them in this order."""
        a, b = {"a": {"type": "null"}}, {"b": {"type": "null"}}
        first, second = (
            asked({"schema": {"type": "object", "properties": properties, "required": ["a", "b"]}}).form
            for properties in (a | b, b | a)
        )
        assert first is not None
        assert second is not None
        assert first.gbnf != second.gbnf


class TestOnlyThinking:
    """`--thinking only`."""

    @pytest.mark.parametrize(
        ("options", "reason"),
        [
            ({"think_budget": 0}, "a budget of 0 leaves none"),
            ({"effort": "none"}, "a budget of 0 leaves none"),
            ({"choices": "a,b"}, "a form is for the answer"),
        ],
    )
    def test_goes_neither_without_thinking_nor_with_a_form(self, options: dict[str, Any], reason: str) -> None:
        with pytest.raises(UsageError, match=reason):
            asked(options, Settings(thinking="only"))
        assert asked({"think_budget": 1}, Settings(thinking="only")).only_thinking
