"""Splits words, number pairs and texts into training, development and held-out test.

The split depends only on a checksum of the item, so the parts cannot overlap, for any seed.
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
    """The part of a number pair; order and leading or trailing zeros do not matter."""
    low, high = sorted((Decimal(a), Decimal(b)))
    return part(f"{low.normalize():f} {high.normalize():f}")


def is_held_out(text: str) -> bool:
    """For a word, or for the complete text of a question that has neither a word nor a pair."""
    return part(text.lower().strip()) == "held out"


def is_held_out_pair(a: int | str, b: int | str) -> bool:
    return part_of_pair(a, b) == "held out"


@cache
def words_of(which: Part) -> tuple[str, ...]:
    lines = (Path(__file__).parent / "words.txt").read_text("utf-8").splitlines()
    return tuple(word for word in lines if not word.startswith("#") and part(word) == which)
