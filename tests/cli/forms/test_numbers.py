"""Numbers between two bounds: what the grammar writes is between them, and what is between them is accepted."""

from __future__ import annotations

import json
import random
from typing import Any

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from r1.forms.form import form_in
from r1_quantize.errors import UsageError
from tests.fakes.gbnf import TextGrammar

VALUES = [0, 1, -1, 2, 3, 9, 10, 11, 99, 100, 101, -99, 1000, 999_999, 0.5, -0.5, 0.01, 0.1, 0.25, 1.5, 123.456, -7.25]
BOUNDS = st.dictionaries(
    st.sampled_from(["minimum", "exclusiveMinimum", "maximum", "exclusiveMaximum"]), st.sampled_from(VALUES)
)


def is_within(value: float, bounds: dict[str, float]) -> bool:
    """As the specification says, section 6.2."""
    return (
        value >= bounds.get("minimum", value)
        and value <= bounds.get("maximum", value)
        and (value > bounds["exclusiveMinimum"] if "exclusiveMinimum" in bounds else True)
        and (value < bounds["exclusiveMaximum"] if "exclusiveMaximum" in bounds else True)
    )


@settings(max_examples=100)
@given(st.sampled_from(["integer", "number"]), BOUNDS, st.randoms(use_true_random=False))
def test_just_the_numbers_between_the_bounds(kind: str, bounds: dict[str, Any], rng: random.Random) -> None:
    near = [value + step for value in VALUES for step in (0, -1, 1, 0.001, -0.001)]
    candidates = [round(value, 6) for value in near if kind == "number" or value == int(value)]
    try:
        form = form_in({"schema": {"type": kind, **bounds}})
    except UsageError as exc:
        is_nothing = "no value is allowed" in str(exc)
        assert is_nothing
        assert not any(is_within(value, bounds) for value in candidates)
        return
    assume(form is not None)
    grammar = TextGrammar(form.gbnf)
    for _ in range(5):
        text = grammar.sample(rng)
        assert is_within(json.loads(text), bounds)
        assert form.problem(text) is None
    for value in candidates:
        text = json.dumps(int(value)) if value == int(value) else json.dumps(value)
        spellings = {text, *((text if "." in text else f"{text}.") + "0" * zeros for zeros in (1, 2, 3))}
        assert any(map(grammar.matches, spellings)) == is_within(value, bounds), (value, form.gbnf)
