"""Which words behind a number are units, and which units are the same."""

from __future__ import annotations

import pytest

from r1.evaluate.units import is_known, looks_like_unit, split_unit, unit_name, unit_of


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
    ("formula", "rest", "unit"),
    [
        (r"3\pi square units", r"3\pi", "unit^2"),
        (r"\sqrt{2} cm", r"\sqrt{2}", "cm"),
        (r"25\pi cm ^2", r"25\pi", "cm^2"),
        (r"2\pi m/s", r"2\pi", "m/s"),
        (r"x + y cm", "x + y", "cm"),
        (r"\sqrt{2} apples", r"\sqrt{2}", "apple"),
        (r"\sqrt{2} x", r"\sqrt{2} x", None),
        (r"\pi h", r"\pi h", None),  # a height
        (r"\triangle ABC", r"\triangle ABC", None),
        (r"\sin theta", r"\sin theta", None),
        ("x^2 is even", "x^2 is even", None),
        ("square units", "square", "unit"),
    ],
)
def test_a_unit_at_the_end_of_a_formula_is_taken_off(formula: str, rest: str, unit: str | None) -> None:
    assert split_unit(formula) == (rest, unit)


def test_an_unknown_unit_is_its_own_name() -> None:
    assert unit_of("Apples") == unit_of("apple") == "apple"
    assert unit_of("boys") != unit_of("girls")
    assert unit_of("kilometers per hour") == "km/h"
    assert is_known("km/h")
    assert is_known("cm^2")
    assert not is_known("apple")
