"""Makes one question of each task, phrased as people ask, with the working and the answer to learn."""

import random
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from scripts.tiny import workings
from scripts.tiny.anything_else import anything_else
from scripts.tiny.phrasings import phrasing
from scripts.tiny.split import Part, part, part_of_pair, words_of
from scripts.tiny.workings import Lesson

Task = Literal["add", "subtract", "letters", "decimals", "greeting", "identity", "anything else"]

BOX = re.compile(r"\\boxed\{([^{}]*)\}")
ALPHABET = "abcdefghijklmnopqrstuvwxyz"


@dataclass(frozen=True, slots=True)
class Question:
    """A question with the working and the answer to learn; `expected` is the result that an answer is checked for."""

    text: str
    task: Task
    expected: str
    working: str
    answer: str


Maker = Callable[[random.Random, Part, int], Question]
"""Makes one question from words and numbers of one part; the last argument is the maximum word length."""


def as_typed(rng: random.Random, text: str) -> str:
    """Varies case and punctuation, as people in a hurry do."""
    roll = rng.random()
    if roll < 0.15:
        text = text[0].lower() + text[1:]
    elif roll < 0.2:
        text = text.replace("?", "").rstrip(".")
    elif roll < 0.3:
        text = (text[0].lower() + text[1:]).rstrip("?.")
    elif roll < 0.33:
        text = text.rstrip("?.") + rng.choice(("?", ".", " ?", "??", "!"))
    return text + "\n" if rng.random() < 0.02 else text


# ── one question of each task, with words and numbers of one part only ─────────────────────────


def number(rng: random.Random) -> int:
    """One to four digits, with more carries than chance would give."""
    digits = rng.choice((1, 2, 2, 3, 3, 4, 4))
    if rng.random() < 0.1:
        return int("".join(rng.choice("0199") for _ in range(digits)))
    return rng.randrange(10**digits)


def arithmetic(task: Task, solve: Callable[[int, int], Lesson]) -> Maker:
    def make(rng: random.Random, which: Part, _longest: int) -> Question:
        a, b = number(rng), number(rng)
        while part_of_pair(a, b) != which:
            a, b = number(rng), number(rng)
        working, answer = solve(a, b)
        text = as_typed(rng, phrasing(rng, task).format(a=a, b=b))
        return Question(text, task, str(a + b if task == "add" else a - b), working, answer)

    return make


def decimal_pair(rng: random.Random) -> tuple[str, str]:
    """Often the same integer part, often of unequal length, as in 9.11 and 9.9; sometimes equal."""

    def fraction(max_digits: int) -> str:
        return "".join(rng.choice("0123456789") for _ in range(rng.randint(1, max_digits)))

    def integer() -> str:
        return str(rng.randrange(10 ** rng.choice((1, 1, 2, 3))))

    left = integer()
    right = left if rng.random() < 0.6 else integer()
    roll = rng.random()
    if roll < 0.12:
        return left, integer()
    if roll < 0.2:
        return (left, f"{right}.{fraction(3)}")[:: rng.choice((1, -1))]
    first, second = fraction(3), fraction(3)
    if rng.random() < 0.2:
        second = first + rng.choice(("0", "1", fraction(1)))
    pair = (f"{left}.{first}", f"{right}.{second}")
    return pair[:: rng.choice((1, -1))]


def decimals(rng: random.Random, which: Part, _longest: int) -> Question:
    a, b = decimal_pair(rng)
    while part_of_pair(a, b) != which:
        a, b = decimal_pair(rng)
    direction, names = ("larger", ("larger", "bigger", "greater"))
    if rng.random() < 0.25:
        direction, names = "smaller", ("smaller", "less", "lower")
    roll = rng.random()
    if roll < 0.12:
        form, direction = "neutral", "larger"
    else:
        form = "yes or no" if roll < 0.3 else "compare"
    text = as_typed(rng, phrasing(rng, form).format(a=a, b=b, m=rng.choice(names)))
    working, answer = workings.comparison(a, b, direction, yes_or_no=form == "yes or no")
    return Question(text, "decimals", BOX.findall(answer)[-1], working, answer)


def invented_word(rng: random.Random, length: int) -> str:
    """Random letters, from a small set or in repeated groups, so that the model really learns to copy."""
    roll = rng.random()
    pool = ALPHABET if roll < 0.4 else rng.sample(ALPHABET, rng.randint(3, 6))
    if roll < 0.8:
        return "".join(rng.choice(pool) for _ in range(length))
    groups = ["".join(rng.choice(pool) for _ in range(rng.randint(1, 3))) for _ in range(3)]
    text = ""
    while len(text) < length:
        text += rng.choice(groups)
    return text[:length]


def word_for(rng: random.Random, which: Part, longest: int) -> str:
    while True:
        if which != "train" or rng.random() < 0.6:
            word = rng.choice(words_of(which))
        else:
            word = invented_word(rng, rng.randint(3, 14 if rng.random() < 0.9 else 20))
        if len(word) <= longest and part(word) == which:
            return word


def letters(rng: random.Random, which: Part, longest: int) -> Question:
    word = word_for(rng, which, longest)
    letter = rng.choice(word if rng.random() < 0.8 else ALPHABET)
    if rng.random() < 0.3:
        letter = max(word, key=word.count)
    working, answer = workings.letter_count(letter, word)
    shown_word, shown_letter = word, letter
    if rng.random() < 0.12:
        shown_word = rng.choice((word.upper(), word.capitalize(), word.capitalize()))
    if rng.random() < 0.1:
        shown_letter = letter.upper()
    if rng.random() < 0.2:
        shown_word = rng.choice(('"{}"', "'{}'", "`{}`", "**{}**", "“{}”")).format(shown_word)
    if rng.random() < 0.2:
        shown_letter = rng.choice(('"{}"', "'{}'", "`{}`")).format(shown_letter)
    text = as_typed(rng, phrasing(rng, "letters").format(l=shown_letter, w=shown_word))
    return Question(text, "letters", str(word.count(letter)), working, answer)


def small_talk(task: Task, talk: Mapping[str, tuple[float, Lesson]]) -> Maker:
    def make(rng: random.Random, which: Part, _longest: int) -> Question:
        while True:
            (form,) = rng.choices(list(talk), [share for share, _ in talk.values()])
            text = phrasing(rng, form)
            roll = rng.random()
            text = text if roll < 0.4 else text.upper() if roll < 0.45 else text[0].upper() + text[1:]
            text += rng.choice(("", "", "!", "?", ".", "!!", " :)", "...", " 🙂"))
            if part(text.lower().strip()) == which:
                working, answer = talk[form][1]
                return Question(text, task, answer, working, answer)

    return make


def other(rng: random.Random, which: Part, _longest: int) -> Question:
    working, answer = workings.ANYTHING_ELSE
    while True:
        text = anything_else(rng, words_of(which))
        if text.strip() and part(text.lower().strip()) == which:
            return Question(text, "anything else", answer, working, answer)


MAKERS: dict[Task, Maker] = {
    "add": arithmetic("add", workings.addition),
    "subtract": arithmetic("subtract", workings.subtraction),
    "letters": letters,
    "decimals": decimals,
    "greeting": small_talk(
        "greeting",
        {
            "hello": (0.7, workings.GREETING),
            "thanks": (0.15, workings.THANKS),
            "bye": (0.15, workings.FAREWELL),
        },
    ),
    "identity": small_talk("identity", {"who": (1.0, workings.IDENTITY)}),
    "anything else": other,
}
