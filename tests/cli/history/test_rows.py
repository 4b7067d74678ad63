"""`r1.history.rows`: every column comes back in its own field."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from r1.engine.events import Finished, Timings, Usage
from r1.engine.prompt import Attachment
from r1.history.history import History, Question
from r1.history.rows import clean, first_title

QUESTION = Question(
    question="why?",
    files=(Attachment("a.txt", "x"), Attachment("b.txt", "y")),
    model="qwen-7b:Q4_K_M",
    system="be kind",
    seed=11,
    temp=0.12,
    top_p=0.13,
    max_tokens=14,
    ctx=15,
    form="choices yes, no",
)
FINISHED = Finished(
    "length",
    Usage(prompt_tokens=21, thinking_tokens=22, answer_tokens=23),
    Timings(ttft_s=31.5, prefill_tps=32.5, decode_tps=33.5, total_s=34.5),
    thinking_end="budget",
)


class TestColumns:
    """No two columns are mixed up: each has a value of its own."""

    def test_a_turn(self, tmp_path: Path) -> None:
        with History.open(tmp_path / "history.db") as history:
            session, id_ = history.begin(None, QUESTION)
            history.add(id_, "Hm.", "Because.")
            history.finish(id_, FINISHED, 41.5, 42.5)
            (turn,) = history.turns(session)
        assert turn.asked == QUESTION
        assert (turn.thinking, turn.answer) == ("Hm.", "Because.")
        assert (turn.finish_reason, turn.usage, turn.timings) == ("length", FINISHED.usage, FINISHED.timings)
        assert (turn.thinking_s, turn.load_s, turn.trimmed, turn.thinking_end) == (41.5, 42.5, False, "budget")

    def test_the_view_for_people_has_the_form_and_how_the_thinking_ended(self, tmp_path: Path) -> None:
        with History.open(tmp_path / "history.db") as history:
            _, id_ = history.begin(None, QUESTION)
            history.finish(id_, FINISHED, 41.5, 42.5)
        with closing(sqlite3.connect(tmp_path / "history.db")) as plain:
            row = plain.execute("SELECT finish_reason, thinking_end, form FROM transcript").fetchone()
        assert row == ("length", "budget", "choices yes, no")

    def test_a_hit(self, tmp_path: Path) -> None:
        with History.open(tmp_path / "history.db") as history:
            history.begin(None, QUESTION)
            history.title(1, "Causes")
            (hit,) = history.search("why")
        assert (hit.session, hit.title, hit.number, hit.where, hit.excerpt) == (1, "Causes", 1, "question", "why?")
        assert (hit.spans, hit.withdrawn) == (((0, 3),), False)


class TestText:
    """Titles, and characters that cannot be stored."""

    @pytest.mark.parametrize("text", ["a\0b", "a\udc80b"])
    def test_characters_that_cannot_be_stored_are_replaced(self, text: str) -> None:
        assert clean(text) == "a\ufffdb"

    def test_a_question_without_text_or_files_is_untitled(self) -> None:
        empty = Question(question=" \n", files=(), model="", system=None, seed=0, temp=0, top_p=1, max_tokens=1, ctx=1)
        assert first_title(empty) == "untitled"
