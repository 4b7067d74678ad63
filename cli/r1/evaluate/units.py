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
    "nm": "nanometer nanometers nanometre nanometres",
    "ms": "millisecond milliseconds",
    "gal": "gallon gallons",
    "N": "newton newtons",
    "kN": "kilonewton kilonewtons",
    "J": "joule joules",
    "kJ": "kilojoule kilojoules",
    "MJ": "megajoule megajoules",
    "cal": "calorie calories",
    "kcal": "kilocalorie kilocalories",
    "eV": "",
    "W": "watt watts",
    "mW": "milliwatt milliwatts",
    "kW": "kilowatt kilowatts",
    "MW": "megawatt megawatts",
    "kWh": "kilowatt-hour kilowatt-hours",
    "V": "volt volts",
    "mV": "millivolt millivolts",
    "kV": "kilovolt kilovolts",
    "mA": "milliampere milliamperes milliamp milliamps",
    "MA": "megaampere megaamperes",
    "ampere": "amperes amp amps",
    "kelvin": "kelvins",
    "ohm": "ohms",
    "Pa": "pascal pascals",
    "kPa": "kilopascal kilopascals",
    "MPa": "megapascal megapascals",
    "atm": "atmosphere atmospheres",
    "mol": "mole moles",
    "Hz": "hertz",
    "kHz": "kilohertz",
    "MHz": "megahertz",
    "GHz": "gigahertz",
    "unit": "units",
    "degree C": "Celsius celsius",
    "degree F": "Fahrenheit fahrenheit",
    "am": "a.m a.m. AM",
    "pm": "p.m p.m. PM",
}
_NAMES = {spelling: name for name, more in _SPELLINGS.items() for spelling in (name, *more.split())}
_PHRASES = {
    **{"mph": "mi/h", "kph": "km/h", "kmh": "km/h"},
    **{
        f"{degrees} {more}": f"degree {more[0]}"
        for degrees in ("degree", "degrees")
        for more in ("C", "Celsius", "F", "Fahrenheit")
    },
}
_POWERS = {"square": "^2", "sq": "^2", "cubic": "^3", "cu": "^3"}
_PART = re.compile(r"(?:(square|sq|cubic|cu)\.? )?([^\s^²³]+?)(?: ?(?:\^ ?\{?([23])\}?|([²³])))?")

MULTIPLIERS = {
    **{"dozen": 12, "hundred": 100, "thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12},
    **{"quadrillion": 10**15, "lakh": 10**5, "crore": 10**7},
}

_NOT_UNITS = re.compile(
    r"\b(?:mod|sin|cos|tan|cot|sec|csc|log|exp|sqrt|root|max|min|gcd|lcm|det|dim|deg|ker|sum|squared|cubed|factorial"
    r"|divided|times|plus|minus|over|choose|through|between|percent|and|for|when|where|unless|not"
    r"|less|more|than|because|since|is|are|was|if|which|that|but|to|so|as|with"
    r"|half|halves|third|thirds|quarters?|(?:four|fif|six|seven|eigh|nin|ten|eleven|twelf|hundred|thousand)ths?"
    r"|base|binary|ternary|octal|decimal|hex|hexadecimal|negative|positive|below|under|zero|score|gross|googol"
    r"|alpha|beta|gamma|delta|epsilon|zeta|eta|theta|iota|kappa|lambda|rho|sigma|tau|phi|chi|psi|omega)\b"
)
_MOST_WORDS = 3  # of a unit that is not known
_UNIT_WORD = re.compile(r"[A-Za-z./]+(?:\^\{?[23]\}?|[²³])?|\^\{?[23]\}?")
_WORDS = re.compile(r"[A-Za-z][A-Za-z .'\-/]*")


def unit_name(text: str) -> str | None:
    """One name for all spellings of a unit: `km/h` for `kilometers per hour`; None for one that is not known."""
    if text in _PHRASES:
        return _PHRASES[text]
    parts = [_part_name(part.strip()) for part in re.split(r" ?/ ?| per ", text)]
    return None if None in parts else "/".join(part for part in parts if part)


def unit_of(text: str) -> str:
    """The name of a unit; one that is not known is its own, in lower case and singular."""
    return unit_name(text) or re.sub(r"(?<=[a-z]{2})s$", "", " ".join(text.casefold().split()))


def is_known(unit: str) -> bool:
    """Whether it is the name of a unit of measurement."""
    return all(re.sub(r"\^\d$", "", part) in _SPELLINGS for part in unit.split("/"))


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


def split_unit(formula: str) -> tuple[str, str | None]:
    r"""A formula, and the unit at its end: 3\pi cm^2. A single letter is none there, but a variable."""
    words = formula.split(" ")
    first = len(words)
    while first > max(1, len(words) - _MOST_WORDS - 1) and _UNIT_WORD.fullmatch(words[first - 1]):
        first -= 1
    for start in range(first, len(words)):
        unit = " ".join(words[start:])
        if _measures(unit):
            return " ".join(words[:start]), unit_of(unit)
    return formula, None


def _measures(text: str) -> bool:
    """Whether words behind a formula are a unit: one that is known, or things in the plural, that are counted."""
    if unit_name(text) is not None:
        return len(text) > 1
    return re.fullmatch(r"[a-z ]*[a-z]{2}s", text) is not None and looks_like_unit(text, True)


def _part_name(part: str) -> str | None:
    match = _PART.fullmatch(part)
    if match is None or match[2] not in _NAMES:
        return None
    before, name, digit, superscript = match.groups()
    exponent = {"²": "2", "³": "3"}.get(superscript or "", digit)
    return _NAMES[name] + (_POWERS[before] if before else f"^{exponent}" if exponent else "")
