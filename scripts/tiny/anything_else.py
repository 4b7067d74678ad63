"""Questions outside the four tasks, so that the model learns to decline them.

Questions that resemble a task (products, three terms, five digits, the letters of two words) matter most: there the
model must say that it cannot answer rather than give a wrong answer.
"""

import random
from collections.abc import Sequence

from scripts.tiny.phrasings import filled

FILE_QUESTIONS = (
    "Summarize this file.",
    "What is in this file?",
    "Explain it",
    "Find the bug.",
    "Translate it.",
)
PUNCTUATION = ("", ".", "?", "!", ",", ";", ":", "...")
ASCII, LATIN, GREEK_TO_HEBREW, HAN, PICTURES = (
    (0x21, 0x7E),
    (0xA1, 0x24F),
    (0x370, 0x5FF),
    (0x4E00, 0x9FFF),
    (0x1F300, 0x1F6FF),
)
MAX_BYTES = 400
"""Longer texts would fill the batches and teach little more."""

SHARES = {
    "about words": 0.27,
    "sums too hard": 0.25,
    "everyday": 0.10,
    "scripts": 0.09,
    "code": 0.04,
    "prose": 0.15,
    "noise": 0.06,
    "file": 0.04,
}


def prose(rng: random.Random, words: Sequence[str]) -> str:
    """Random words as a sentence or a long text, sometimes with numbers."""
    picked: list[str] = []
    for _ in range(rng.randint(2, rng.choice((6, 12, 60)))):
        word = rng.choice(words) if rng.random() < 0.95 else str(rng.randrange(10_000))
        picked.append(word + (rng.choice(PUNCTUATION) if rng.random() < 0.15 else ""))
    text = " ".join(picked)
    return (text.capitalize() if rng.random() < 0.6 else text) + rng.choice(("", ".", "?", "!"))


def noise(rng: random.Random) -> str:
    """Random keystrokes, or random Unicode characters."""
    low, high = rng.choice((ASCII, ASCII, ASCII, LATIN, GREEK_TO_HEBREW, HAN, PICTURES))
    length = rng.randint(1, rng.choice((3, 12, 40)))
    return "".join(chr(rng.randint(low, high)) for _ in range(length))


def attached_file(rng: random.Random, words: Sequence[str]) -> str:
    """A question about a file, in DeepSeek's template for files."""
    content = "\n".join(prose(rng, words) for _ in range(rng.randint(1, 3)))
    name = f"{rng.choice(words)}.{rng.choice(('txt', 'md', 'py', 'csv'))}"
    return f"[file name]: {name}\n[file content begin]\n{content}\n[file content end]\n{rng.choice(FILE_QUESTIONS)}"


def anything_else(rng: random.Random, words: Sequence[str]) -> str:
    """A text outside the four tasks."""
    (kind,) = rng.choices(list(SHARES), list(SHARES.values()))
    if kind == "prose":
        text = prose(rng, words)
    elif kind == "noise":
        text = noise(rng)
    elif kind == "file":
        text = attached_file(rng, words)
    else:
        text = filled(rng, kind, words)
    if rng.random() < 0.2:
        text = text.lower()
    return text.encode()[:MAX_BYTES].decode(errors="ignore")
