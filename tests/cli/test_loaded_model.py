"""`r1.loaded_model`: a model with a context of the right length, reconfigured and reloaded as needed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from r1 import loaded_model
from r1.engine.context import PromptTooLong
from r1.engine.events import Finished
from r1.engine.model import Model
from r1.loaded_model import LoadedModel
from r1.render.plain import PlainView, follow
from r1.settings import Settings
from r1_quantize.errors import UsageError
from tests.fakes.consoles import console

BRIEF = Settings(temp=0, max_tokens=20, threads=1)


def ask(loaded: LoadedModel, prompt: str) -> Finished:
    return follow(loaded.ask(prompt).events, PlainView(console(), "nowhere", show_answer=False)).finished


class TestContextLength:
    """The context is as long as prompt and reply can become, and no longer."""

    def test_follows_the_prompt_and_the_limit(self, endless_path: Path) -> None:
        with LoadedModel(endless_path, BRIEF) as loaded:
            ask(loaded, "hi")
            assert loaded.context_length == 256  # llama.cpp's smallest step

    def test_grows_when_a_prompt_needs_more(self, endless_path: Path) -> None:
        with LoadedModel(endless_path, BRIEF) as loaded:
            ask(loaded, "hi")
            assert ask(loaded, "word " * 100).reason == "length"
            assert loaded.context_length == 768

    def test_has_room_for_everything_r1_may_generate(self, endless_path: Path) -> None:
        with LoadedModel(endless_path, Settings(temp=0, threads=1)) as loaded:
            loaded.ask("hi")
            assert loaded.context_length == 32_768 + 256

    def test_is_at_most_what_the_model_was_trained_for(self, tiny_path: Path) -> None:
        with LoadedModel(tiny_path, Settings(temp=0, threads=1)) as loaded:
            loaded.ask("hi")
            assert loaded.context_length == loaded.model.context_length

    def test_is_what_the_user_chose(self, endless_path: Path) -> None:
        with LoadedModel(endless_path, Settings(temp=0, threads=1, ctx=1024, max_tokens=5)) as loaded:
            ask(loaded, "hi")
            assert loaded.context_length == 1024

    def test_longer_than_the_model_was_trained_for_is_refused(self, tiny_path: Path) -> None:
        with pytest.raises(UsageError, match="--ctx 99999 is too long: the model was trained for"):
            LoadedModel(tiny_path, Settings(ctx=99_999))


class TestPromptTooLong:
    """A prompt far longer than any context is refused before it is tokenized as a whole."""

    @pytest.mark.parametrize(("ctx", "longest"), [(None, 2048), (512, 512)])
    def test_is_refused_without_a_context(self, tiny_path: Path, ctx: int | None, longest: int) -> None:
        with LoadedModel(tiny_path, Settings(ctx=ctx, threads=1)) as loaded:
            with pytest.raises(PromptTooLong) as caught:
                loaded.ask("word " * 100_000)
            assert caught.value.length == longest
            assert caught.value.tokens == pytest.approx(len(loaded.model.tokenize("word " * 100_000)), rel=0.05)
            assert f"the prompt has about {caught.value.tokens:,} tokens" in str(caught.value)
            assert loaded.context_length == 0


class TestConfigure:
    """New settings take effect at once; the context is kept where it suits them."""

    def test_a_context_of_the_same_length_is_kept(self, tiny_path: Path) -> None:
        with LoadedModel(tiny_path, replace(BRIEF, ctx=512)) as loaded:
            before = loaded.context
            loaded.configure(replace(BRIEF, ctx=512, temp=1.0))
            assert loaded.context is before
            assert loaded.settings.temp == 1.0

    def test_another_length_or_type_makes_a_new_context(self, tiny_path: Path) -> None:
        with LoadedModel(tiny_path, replace(BRIEF, ctx=512)) as loaded:
            loaded.configure(replace(BRIEF, ctx=1024, kv_type="q8_0"))
            assert (loaded.context_length, loaded.context.kv_type) == (1024, "q8_0")
            assert (loaded.plan.context, loaded.plan.kv_type) == (1024, "q8_0")

    def test_the_number_of_prompts_at_once(self, tiny_path: Path) -> None:
        settings = replace(BRIEF, ctx=256, parallel=3)
        with LoadedModel(tiny_path, settings) as loaded:
            loaded.configure(settings)
            assert (loaded.sequences, len(loaded.context.sequences)) == (1, 1)
            loaded.configure(settings, 2)
            assert (loaded.sequences, len(loaded.context.sequences)) == (2, 2)
            loaded.configure(settings)  # as many as before
            assert loaded.sequences == 2
            assert loaded.context_length == 256

    def test_a_context_that_is_too_long_is_refused(self, tiny_path: Path) -> None:
        with LoadedModel(tiny_path, BRIEF) as loaded, pytest.raises(UsageError, match="--ctx 99999 is too long"):
            loaded.configure(replace(BRIEF, ctx=99_999))


class TestTurns:
    """Each prompt is answered independently."""

    @pytest.mark.parametrize("before", ["hi", "What is 17 + 26?", "What is 17 + 25? " * 20])
    def test_earlier_prompts_change_nothing(self, tiny_path: Path, before: str) -> None:
        view = PlainView(console(), "nowhere", show_answer=False)
        wild = Settings(temp=3, top_p=1, seed=5, max_tokens=60, threads=1)
        prompt = "What is 17 + 25? " * 12
        with LoadedModel(tiny_path, wild) as loaded:
            alone = follow(loaded.ask(prompt).events, view)
        with LoadedModel(tiny_path, wild) as loaded:
            follow(loaded.ask(before).events, view)
            after = follow(loaded.ask(prompt).events, view)
        assert (alone.thinking, alone.answer) == (after.thinking, after.answer)

    def test_loading_counts_for_the_first_reply_only(self, tiny_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Time passes only while the weights are loaded."""
        now = [0.0]

        def load(*arguments: Any, **options: Any) -> Model:
            now[0] += 100
            return Model(*arguments, **options)

        monkeypatch.setattr(loaded_model, "perf_counter", lambda: now[0])
        monkeypatch.setattr("r1.fit.fitted_model.Model", load)
        with LoadedModel(tiny_path, BRIEF) as loaded:
            assert [loaded.ask("hi").load_s, loaded.ask("hi").load_s] == [100, 0]

    def test_a_random_seed_is_reported(self, tiny_path: Path) -> None:
        with LoadedModel(tiny_path, Settings(threads=1)) as loaded:
            assert loaded.ask("hi").seed != loaded.ask("hi").seed
        with LoadedModel(tiny_path, Settings(threads=1, seed=9)) as loaded:
            assert loaded.ask("hi").seed == 9
