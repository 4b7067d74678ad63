"""Measures what watching for loops costs: nanoseconds of processor time per token, at several lengths of a reply.

    python -m scripts.bench.policy [--lengths 1024 8192 32768] [--runs 3]

The inputs are the worst for a detector of repetition: one token without an end, two in turn or at random, blocks of
many lengths, text in which nothing or everything comes again. Each figure is the mean over the last 1,024 tokens up to
that length, the best of several runs; the cost per token must not grow with the length. A loop that is found is ignored
here, so that the same input goes on; in a reply it would end.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Callable, Sequence
from itertools import chain
from time import process_time_ns

from r1.engine.repetition import LoopDetector

PART = 1024
"""Tokens that are measured together."""
VOCABULARY = 152_064
DIGITS = 10
"""Ids below this stand for digits."""


def main() -> None:
    """Prints a line per input and mode."""
    parser = argparse.ArgumentParser(description="The cost of watching for loops.")
    parser.add_argument("--lengths", type=int, nargs="+", default=[1024, 8192, 32_768])
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    lengths = sorted(options.lengths)
    print("ns per token, over the last 1,024 tokens up to " + ", ".join(f"{length:,}" for length in lengths))
    for lenient in (False, True):
        for name, tokens in inputs(lengths[-1]).items():
            runs = [costs(tokens, lengths, lenient=lenient) for _ in range(options.runs)]
            best = [min(figures) for figures in zip(*runs, strict=True)]
            print(f"{'answer' if lenient else 'thinking':8}  {name:28}" + "".join(f"{figure:9,.0f}" for figure in best))


def inputs(length: int) -> dict[str, list[int]]:
    """Name → token ids."""
    rng = random.Random(1)
    sentences = [[rng.randrange(DIGITS, VOCABULARY) for _ in range(25)] for _ in range(20)]
    made: dict[str, Callable[[int], int]] = {
        "one token": lambda _: 77,
        "two in turn": lambda place: 77 + place % 2,
        "two at random": lambda _: 77 + rng.randrange(2),
        "a block of 64": lambda place: 1000 + place % 64,
        "a block of 511": lambda place: 1000 + place % 511,
        "a block of 900": lambda place: 1000 + place % 900,
        "digits": lambda _: rng.randrange(DIGITS),
        "a number in each line": lambda place: 1000 + place % 7 if place % 7 else rng.randrange(DIGITS),
        "nothing comes again": lambda place: DIGITS + place,
        "words as frequent as in a text": lambda _: DIGITS + int(rng.paretovariate(0.6)) % VOCABULARY,
    }
    shuffled = list(chain.from_iterable(rng.choice(sentences) for _ in range(length // 25 + 1)))
    return {name: [token(place) for place in range(length)] for name, token in made.items()} | {
        "sentences in any order": shuffled[:length]
    }


def costs(tokens: Sequence[int], lengths: Sequence[int], *, lenient: bool) -> list[float]:
    """Nanoseconds per token at each length."""
    detector = LoopDetector(lambda token: token < DIGITS, lenient)
    found: dict[int, float] = {}
    for start in range(0, len(tokens), PART):
        part = tokens[start : start + PART]
        began = process_time_ns()
        for token in part:
            detector.add(token)
        found[start + len(part)] = (process_time_ns() - began) / len(part)
    return [found[length] for length in lengths]


if __name__ == "__main__":
    main()
