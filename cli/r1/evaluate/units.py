"""Units of measurement: which spellings mean the same one."""

from __future__ import annotations

import re

_SPELLINGS = {
    "mm": "millimeter millimeters millimetre millimetres",
    "cm": "centimeter centimeters centimetre centimetres",
    "m": "meter meters metre metres",
    "km": "kilometer kilometers kilometre kilometres",
    "in": "inch inches",
    "ft": "foot feet",
    "yd": "yard yards",
    "mi": "mile miles",
    "mg": "milligram milligrams",
    "g": "gram grams",
    "kg": "kilogram kilograms kgs",
    "lb": "lbs pound pounds £",
    "oz": "ounce ounces",
    "s": "sec secs second seconds",
    "min": "mins minute minutes",
    "h": "hr hrs hour hours",
    "day": "days",
    "week": "weeks",
    "month": "months",
    "year": "years yr yrs",
    "ml": "mL milliliter milliliters millilitre millilitres",
    "L": "l liter liters litre litres",
    "degree": "degrees deg",
    "radian": "radians rad",
    "dollar": "dollars USD \x01",
    "cent": "cents ¢",
    "euro": "euros EUR €",
    "rupee": "rupees ₹",
    "yen": "¥",
    "N": "newton newtons",
    "J": "joule joules",
    "W": "watt watts",
    "V": "volt volts",
    "Hz": "hertz",
    "am": "a.m a.m. AM",
    "pm": "p.m p.m. PM",
}
_NAMES = {spelling: name for name, more in _SPELLINGS.items() for spelling in (name, *more.split())}
_SPEEDS = {"mph": "mi/h", "kph": "km/h", "kmh": "km/h"}
_POWERS = {"square": "^2", "sq": "^2", "cubic": "^3", "cu": "^3"}
_PART = re.compile(r"(?:(square|sq|cubic|cu)\.? )?([^\s^²³]+?)(?: ?(?:\^ ?\{?([23])\}?|([²³])))?")

MULTIPLIERS = {"dozen": 12, "hundred": 100, "thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12}

_NOT_UNITS = re.compile(
    r"\b(?:mod|sin|cos|tan|cot|sec|csc|log|exp|sqrt|root|max|min|gcd|lcm|det|dim|deg|ker|sum|squared|cubed|factorial"
    r"|divided|times|plus|minus|over|choose|halves|thirds|quarters|through|between|percent|and|for|when|where|unless|not"
    r"|less|more|than|because|since|is|are|was|if|which|that|but|to|so|as|with)\b"
)
_MOST_WORDS = 3  # of a unit that is not known
_WORDS = re.compile(r"[A-Za-z][A-Za-z .'\-/]*")


def unit_name(text: str) -> str | None:
    """One name for all spellings of a unit: `km/h` for `kilometers per hour`; None for one that is not known."""
    if text in _SPEEDS:
        return _SPEEDS[text]
    parts = [_part_name(part.strip()) for part in re.split(r" ?/ ?| per ", text)]
    return None if None in parts else "/".join(part for part in parts if part)


def looks_like_unit(text: str, is_apart: bool) -> bool:
    """Whether words behind a number count or measure something; `is_apart`: there is a space between.

    A letter directly behind a number is a variable, and so is a single letter that is no unit.
    """
    if unit_name(text) is not None:
        return is_apart or len(text) > 1 or not text.isalpha()
    words = text.replace("-", " ").split()
    if not is_apart or len(words) > _MOST_WORDS or _WORDS.fullmatch(text) is None:
        return False
    return len(max(words, key=len)) > 2 and _NOT_UNITS.search(text) is None


def without_unit(formula: str) -> str:
    r"""A formula without the words at its end, if they are a unit: 3\pi cm."""
    words = formula.split(" ")
    first = len(words)
    while first > 0 and words[first - 1].isalpha():
        first -= 1
    unit = " ".join(words[first:])
    return " ".join(words[:first]) if first and unit and looks_like_unit(unit, True) else formula


def _part_name(part: str) -> str | None:
    match = _PART.fullmatch(part)
    if match is None or match[2] not in _NAMES:
        return None
    before, name, digit, superscript = match.groups()
    exponent = {"²": "2", "³": "3"}.get(superscript or "", digit)
    return _NAMES[name] + (_POWERS[before] if before else f"^{exponent}" if exponent else "")
