"""Reads phrasings.txt: the ways people ask, by task."""

import random
from collections.abc import Sequence
from functools import cache
from pathlib import Path

NAMES = ("Tom", "Anna", "Ali", "Mary", "John", "Li", "Sara", "Ben")


@cache
def sections() -> dict[str, tuple[str, ...]]:
    by_section: dict[str, list[str]] = {}
    forms: list[str] = []
    for line in (Path(__file__).parent / "phrasings.txt").read_text("utf-8").splitlines():
        if line.startswith("[") and line.endswith("]"):
            forms = by_section.setdefault(line[1:-1], [])
        elif line and not line.startswith("# "):
            forms.append(line.replace("\\n", "\n"))
    return {name: tuple(forms) for name, forms in by_section.items()}


def phrasing(rng: random.Random, section: str) -> str:
    return rng.choice(sections()[section])


def filled(rng: random.Random, section: str, words: Sequence[str]) -> str:
    """A phrasing with every placeholder filled at random; each `{w}` gets its own word."""
    template = phrasing(rng, section)
    while "{w}" in template:
        template = template.replace("{w}", rng.choice(words), 1)
    return template.format(
        w2=rng.choice(words),
        l=rng.choice("abcdefghijklmnopqrstuvwxyz"),
        a=rng.randrange(10 ** rng.randint(1, 4)),
        b=rng.randrange(1, 10 ** rng.randint(1, 4)),
        c=rng.randrange(10 ** rng.randint(1, 4)),
        big=rng.randrange(10_000, 10 ** rng.randint(5, 9)),
        name=rng.choice(NAMES),
        name2=rng.choice(NAMES),
    )
