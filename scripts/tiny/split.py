"""Which words, number pairs and texts are for training, for development and for the held-out test.

The checksum of the thing itself decides, so that the parts cannot overlap, whatever the seed.
"""

import zlib
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Literal

Part = Literal["train", "dev", "held out"]

ALWAYS_HELD_OUT = {"strawberry", "mississippi", "9.11 9.9", "9.11 9.8", "17 25"}


def part(key: str) -> Part:
    """10% held out, 5% for development, the rest for training."""
    if key in ALWAYS_HELD_OUT:
        return "held out"
    bucket = zlib.crc32(key.encode()) % 100
    return "held out" if bucket < 10 else "dev" if bucket < 15 else "train"


def part_of_pair(a: int | str, b: int | str) -> Part:
    """Neither the order of the two numbers nor zeros at an end make another pair."""
    low, high = sorted((Decimal(a), Decimal(b)))
    return part(f"{low.normalize():f} {high.normalize():f}")


def is_held_out(text: str) -> bool:
    """For a word, and for the whole text of a question that has neither a word nor a pair."""
    return part(text.lower().strip()) == "held out"


def is_held_out_pair(a: int | str, b: int | str) -> bool:
    return part_of_pair(a, b) == "held out"


@cache
def words_of(which: Part) -> tuple[str, ...]:
    lines = (Path(__file__).parent / "words.txt").read_text("utf-8").splitlines()
    return tuple(word for word in lines if not word.startswith("#") and part(word) == which)
