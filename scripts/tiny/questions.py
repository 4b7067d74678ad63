"""The questions `tiny` is trained and tested on. Needs only the standard library.

The tests ask the questions of `held_out()` and check the answers with `is_right()`. No word, number pair or text of
those questions is used in training (see split.py).
"""

import random
from functools import cache

from scripts.tiny import workings
from scripts.tiny.split import Part, is_held_out, is_held_out_pair
from scripts.tiny.tasks import BOX, MAKERS, Question, Task

__all__ = [
    "Question",
    "Task",
    "held_out",
    "is_held_out",
    "is_held_out_pair",
    "is_right",
    "question",
    "sample",
]

HELD_OUT_COUNTS: dict[Task, int] = {
    "add": 80,
    "subtract": 80,
    "letters": 120,
    "decimals": 80,
    "greeting": 8,
    "identity": 8,
    "anything else": 24,
}


def is_right(question: Question, answer_text: str) -> bool:
    """Whether `answer_text` (the text after `</think>`) ends in the right box, or is the right sentence."""
    boxes = BOX.findall(answer_text)
    if "\\boxed" in question.answer:
        return bool(boxes) and boxes[-1].strip() == question.expected
    return answer_text.strip() == question.expected


def question(rng: random.Random, task: Task, which: Part, longest_word: int = 14) -> Question:
    return MAKERS[task](rng, which, longest_word)


def sample(which: Part, seed: int, counts: dict[Task, int]) -> list[Question]:
    """`counts` different questions of each task; the same seed gives the same questions."""
    rng = random.Random(seed)
    by_text: dict[str, Question] = {}
    for task, count in counts.items():
        goal = len(by_text) + count
        while len(by_text) < goal:
            drawn = question(rng, task, which)
            by_text.setdefault(drawn.text, drawn)
    return list(by_text.values())


@cache
def held_out() -> list[Question]:
    """The 400 questions of the test, including the two that most people ask first."""
    strawberry = workings.letter_count("r", "strawberry")
    nines = workings.comparison("9.11", "9.9", "larger", yes_or_no=False)
    asked_first = [
        Question("How many r's are in strawberry?", "letters", "3", *strawberry),
        Question("which is larger, 9.11 or 9.9", "decimals", "9.9", *nines),
    ]
    counts = HELD_OUT_COUNTS | {first.task: HELD_OUT_COUNTS[first.task] - 1 for first in asked_first}
    return asked_first + sample("held out", 911, counts)
