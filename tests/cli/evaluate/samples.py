"""Problems and samples for the tests of the evaluation."""

from __future__ import annotations

from typing import Any

from r1.evaluate.problems import Problem
from r1.evaluate.sample_log import SampleRecord


def problem(line: int, answer: str | None = "42", **values: Any) -> Problem:
    return Problem(**{"id": str(line), "line": line, "question": f"{line}?", "answer": answer, **values})


def sample(line: int, number: int, final: str | None = "42", **values: Any) -> SampleRecord:
    """A complete sample; `correct` unless it says something else than 42."""
    fields: dict[str, Any] = {
        "line": line,
        "id": str(line),
        "sample": number,
        "seed": 7,
        "final": final,
        "correct": final == "42",
        "how": "number",
        "finish_reason": "stop",
        "thinking_end": "natural",
        "thinking_tokens": 20,
        "answer_tokens": 5,
        "wall_s": 0.5,
    }
    return SampleRecord(**{**fields, **values})
