"""`r1.loaded_model`: settings → a model and a context of the right length."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from r1.engine.context import Context
from r1.engine.events import Finished
from r1.engine.model import Model
from r1.loaded_model import LoadedModel
from r1.render.plain import PlainView, follow
from r1.settings import Settings
from r1_quantize.errors import NotEnoughSpace, UsageError
from tests.fakes.consoles import console

BRIEF = Settings(temp=0, max_tokens=20, threads=1)


def ask(session: LoadedModel, prompt: str) -> Finished:
    return follow(session.ask(prompt).events, PlainView(console(), "nowhere", show_answer=False)).finished


class TestContextLength:
    """As long as prompt and reply can get, and no longer."""

    def test_follows_the_prompt_and_the_limit(self, endless_path: Path) -> None:
        with LoadedModel(endless_path, BRIEF) as session:
            ask(session, "hi")
            assert session.context_length == 256  # llama.cpp's smallest step

    def test_grows_when_a_prompt_needs_more(self, endless_path: Path) -> None:
        with LoadedModel(endless_path, BRIEF) as session:
            ask(session, "hi")
            assert ask(session, "word " * 100).reason == "length"
            assert session.context_length == 768

    def test_has_room_for_all_that_r1_may_generate(self, endless_path: Path) -> None:
        with LoadedModel(endless_path, Settings(temp=0, threads=1)) as session:
            session.ask("hi")
            assert session.context_length == 32_768 + 256

    def test_ends_where_the_models_training_ended(self, tiny_path: Path) -> None:
        with LoadedModel(tiny_path, Settings(temp=0, threads=1)) as session:
            session.ask("hi")
            assert session.context_length == session.model.context_length

    def test_is_what_the_person_says(self, endless_path: Path) -> None:
        with LoadedModel(endless_path, Settings(temp=0, threads=1, ctx=1024, max_tokens=5)) as session:
            ask(session, "hi")
            assert session.context_length == 1024

    def test_beyond_the_models_training_is_refused(self, tiny_path: Path) -> None:
        with pytest.raises(UsageError, match=r"a context of 99999 tokens \(--ctx\): this model was"):
            LoadedModel(tiny_path, Settings(ctx=99_999))


class TestTurns:
    """Each prompt is on its own."""

    @pytest.mark.parametrize("before", ["hi", "What is 17 + 26?", "What is 17 + 25? " * 20])
    def test_what_was_asked_before_changes_nothing(self, tiny_path: Path, before: str) -> None:
        view = PlainView(console(), "nowhere", show_answer=False)
        wild = Settings(temp=3, top_p=1, seed=5, max_tokens=60, threads=1)
        prompt = "What is 17 + 25? " * 12
        with LoadedModel(tiny_path, wild) as session:
            alone = follow(session.ask(prompt).events, view)
        with LoadedModel(tiny_path, wild) as session:
            follow(session.ask(before).events, view)
            after = follow(session.ask(prompt).events, view)
        assert (alone.thinking, alone.answer) == (after.thinking, after.answer)

    def test_loading_is_counted_once(self, tiny_path: Path) -> None:
        with LoadedModel(tiny_path, BRIEF) as session:
            first, second = session.ask("hi"), session.ask("hi")
        assert first.load_s > 10 * second.load_s

    def test_the_seed_is_reported_when_nobody_chose_one(self, tiny_path: Path) -> None:
        with LoadedModel(tiny_path, Settings(threads=1)) as session:
            assert session.ask("hi").seed != session.ask("hi").seed
        with LoadedModel(tiny_path, Settings(threads=1, seed=9)) as session:
            assert session.ask("hi").seed == 9


class TestRefusal:
    """llama.cpp does not get what the plan thought there was."""

    def test_a_model_that_was_given_up_is_loaded_again_when_it_is_wanted(
        self, tiny_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        refusals = iter([NotEnoughSpace("the GPU is full"), NotEnoughSpace("and so is the memory")])

        def refusing(real: Callable[..., Any]) -> Callable[..., Any]:
            def made(*arguments: Any, **options: Any) -> Any:
                for refusal in refusals:
                    raise refusal
                return real(*arguments, **options)

            return made

        with LoadedModel(tiny_path, BRIEF) as session:
            session.plan = replace(session.plan, gpu_layers=1)  # as if a layer was on a GPU
            monkeypatch.setattr("r1.loaded_model.Context", refusing(Context))
            monkeypatch.setattr("r1.loaded_model.Model", refusing(Model))
            with pytest.raises(NotEnoughSpace, match="and so is the memory"):
                session.ask("hi")
            assert ask(session, "hi").usage.answer_tokens + ask(session, "hi").usage.thinking_tokens > 0
            assert session.model.placement.gpu_layers == 0
