"""Writes the held-out questions as problems for `r1 eval --builtin tiny`: `python -m scripts.tiny.problems`."""

import json
import re

from r1.evaluate.problems import builtin_file
from scripts.tiny.questions import Question, held_out


def line(number: int, question: Question) -> str:
    """A problem. What has no result in a box is checked for its whole sentence."""
    has_box = "\\boxed" in question.answer
    sentence = re.sub(r"\\([ -])", r"\1", re.escape(question.expected))  # a space needs no backslash
    right = {"answer": question.expected} if has_box else {"check": sentence}
    name = f"{question.task.replace(' ', '-')}-{number}"
    return json.dumps({"id": name, "question": question.text, **right}, ensure_ascii=False)


def text() -> str:
    """The content of the file."""
    return "".join(f"{line(number, question)}\n" for number, question in enumerate(held_out(), start=1))


if __name__ == "__main__":
    builtin_file("tiny").write_text(text(), encoding="utf-8", newline="\n")
