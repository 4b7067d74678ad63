"""`r1.session`: settings → a model and a context of the right length."""

from __future__ import annotations

from pathlib import Path

import pytest

from r1.engine.events import Finished
from r1.render.plain import PlainView, follow
from r1.session import LONGEST_CONTEXT, Session
from r1.settings import Settings
from r1_quantize.errors import UsageError
from tests.fakes.consoles import console

BRIEF = Settings(temp=0, max_tokens=20, threads=1)


def ask(session: Session, prompt: str) -> Finished:
    return follow(session.ask(prompt).events, PlainView(console(), "nowhere", show_answer=False)).finished


class TestContextLength:
    """As long as prompt and reply can get, and no longer."""

    def test_follows_the_prompt_and_the_limit(self, endless_path: Path) -> None:
        with Session(endless_path, BRIEF) as session:
            ask(session, "hi")
            assert session.context_length == 256  # llama.cpp's smallest step

    def test_grows_when_a_prompt_needs_more(self, endless_path: Path) -> None:
        with Session(endless_path, BRIEF) as session:
            ask(session, "hi")
            assert ask(session, "word " * 100).reason == "length"
            assert session.context_length == 768

    def test_is_capped_at_what_r1_was_made_to_generate(self, endless_path: Path) -> None:
        with Session(endless_path, Settings(temp=0, threads=1)) as session:
            turn = session.ask("hi")
            assert session.context_length == LONGEST_CONTEXT
            turn.events.close()  # type: ignore[attr-defined]

    def test_is_what_the_person_says(self, endless_path: Path) -> None:
        with Session(endless_path, Settings(temp=0, threads=1, ctx=1024, max_tokens=5)) as session:
            ask(session, "hi")
            assert session.context_length == 1024

    def test_beyond_the_models_training_is_refused(self, tiny_path: Path) -> None:
        with pytest.raises(UsageError, match="--ctx 99999: this model was trained for at most"):
            Session(tiny_path, Settings(ctx=99_999))


class TestTurns:
    """Each prompt is on its own."""

    def test_what_was_asked_before_changes_nothing(self, tiny_path: Path) -> None:
        view = PlainView(console(), "nowhere", show_answer=False)
        wild = Settings(temp=2, seed=5, max_tokens=60, threads=1)
        with Session(tiny_path, wild) as session:
            first = follow(session.ask("What is 17 + 25?").events, view)
            follow(session.ask("What is 17 + 26?").events, view)
            again = follow(session.ask("What is 17 + 25?").events, view)
        assert (first.thinking, first.answer) == (again.thinking, again.answer)

    def test_loading_is_counted_once(self, tiny_path: Path) -> None:
        with Session(tiny_path, BRIEF) as session:
            first, second = session.ask("hi"), session.ask("hi")
        assert first.load_s > 0
        assert second.load_s == 0

    def test_the_seed_is_reported_when_nobody_chose_one(self, tiny_path: Path) -> None:
        with Session(tiny_path, Settings(threads=1)) as session:
            assert session.ask("hi").seed != session.ask("hi").seed
        with Session(tiny_path, Settings(threads=1, seed=9)) as session:
            assert session.ask("hi").seed == 9
