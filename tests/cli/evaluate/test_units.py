"""Which words behind a number are units, and which units are the same."""

from __future__ import annotations

import pytest

from r1.evaluate.units import looks_like_unit, unit_name, without_unit


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("cm", "centimeters"),
        ("square meters", "m^2"),
        ("sq. m", "m²"),
        ("m^{3}", "cubic metres"),
        ("miles per hour", "mph"),
        ("km/h", "kilometers per hour"),
        ("km / hr", "kph"),
        ("feet per second", "ft/s"),
    ],
)
def test_spellings_of_one_unit_have_one_name(one: str, other: str) -> None:
    assert unit_name(one) == unit_name(other) is not None


def test_other_units_have_other_names() -> None:
    units = [
        "cm",
        "m",
        "m^2",
        "m^3",
        "km/h",
        "mi/h",
        "m/s",
        "s",
        "min",
        "dollars",
        "cents",
        "degrees",
        "radians",
        "am",
        "pm",
    ]
    assert len({unit_name(unit) for unit in units}) == len(units)
    assert unit_name("apples") is None


@pytest.mark.parametrize(
    ("text", "is_apart", "expected"),
    [
        ("cm", False, True),
        ("m", True, True),
        ("m", False, False),  # 5m is five times m
        ("x", True, False),
        ("x", False, False),
        ("apples", True, True),
        ("apples", False, False),
        ("square units", True, True),
        ("mod", True, False),
        ("times as many", True, False),
        ("because I say so", True, False),
        ("of the five red apples", True, False),
    ],
)
def test_a_variable_is_no_unit(text: str, is_apart: bool, expected: bool) -> None:
    assert looks_like_unit(text, is_apart) is expected


@pytest.mark.parametrize(
    ("formula", "expected"),
    [
        (r"3\pi square units", r"3\pi"),
        (r"\sqrt{2} cm", r"\sqrt{2}"),
        (r"\sqrt{2} x", r"\sqrt{2} x"),
        ("x^2 is even", "x^2 is even"),
        ("square units", "square units"),
    ],
)
def test_a_unit_at_the_end_of_a_formula_is_taken_off(formula: str, expected: str) -> None:
    assert without_unit(formula) == expected
