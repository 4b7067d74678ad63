"""The built-in model on 400 questions that it was not trained on: words and number pairs held out of the training."""

from __future__ import annotations

import json
from collections import Counter

from scripts.tiny.questions import held_out, is_held_out, is_held_out_pair, is_right
from tests.conftest import Run


class TestHeldOut:
    """Greedy decoding of tiny:Q8_0, through `r1 run`."""

    def test_at_least_95_in_100_are_right(self, r1: Run) -> None:
        questions = held_out()
        assert len({question.text for question in questions}) == 400
        stdin = "".join(json.dumps(question.text) + "\n" for question in questions)
        command = ("run", "-m", "tiny:Q8_0", "--jsonl", "--temp", "0", "--max-tokens", "600", "--parallel", "8")
        done = r1(*command, stdin=stdin.encode())
        answers = [json.loads(line)["answer"] for line in done.stdout.splitlines()]
        asked: Counter[str] = Counter()
        right: Counter[str] = Counter()
        for question, answer in zip(questions, answers, strict=True):
            asked[question.task] += 1
            right[question.task] += is_right(question, answer)
        print({task: f"{right[task]}/{count}" for task, count in asked.items()})
        assert right.total() >= 0.95 * asked.total(), {task: f"{right[task]}/{asked[task]}" for task in asked}

    def test_the_two_most_common_questions_are_among_them(self) -> None:
        texts = [question.text for question in held_out()]
        assert "How many r's are in strawberry?" in texts
        assert "which is larger, 9.11 or 9.9" in texts
        assert is_held_out("strawberry")
        assert is_held_out_pair("9.11", "9.9")
        assert is_held_out_pair("9.90", "9.11")
