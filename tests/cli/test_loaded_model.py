"""`r1.loaded_model`: a model with a context of the right length, reconfigured and reloaded as needed."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from r1 import loaded_model
from r1.engine.context import PromptTooLong
from r1.engine.events import Answer, Event, Finished, Prefill, Scored, Thinking, Thought
from r1.engine.kv_types import CPU_CUT
from r1.engine.model import Model
from r1.engine.prompt import Beginning, Turn
from r1.engine.request import Request
from r1.fit.fitted_model import Listener, Workload
from r1.fit.planner import DraftFile, Note
from r1.forms.form import choices_form
from r1.kv_store.kv_folder import KvFolder
from r1.loaded_model import LoadedModel
from r1.render.plain import PlainView, follow
from r1.settings import Settings
from r1_quantize.errors import UsageError
from tests.fakes.consoles import console

BRIEF = Settings(temp=0, max_tokens=20, threads=1)


def ask(loaded: LoadedModel, prompt: str) -> Finished:
    return follow(loaded.ask(prompt).events, PlainView(console(), "nowhere", show_answer=False)).finished


QUESTION = "What is 17 + 25?"
LONG = replace(BRIEF, max_tokens=200)


def run(loaded: LoadedModel, request: Request) -> list[Event]:
    """The events of a request that is alone."""
    loaded.submit(request)
    events: list[Event] = []
    while not (events and isinstance(events[-1], Finished)):
        events += [event for _, event in loaded.step()]
    return events


def texts(events: list[Event]) -> tuple[str, str]:
    """The thinking and the answer."""
    thinking, answer = (
        "".join(event.text for event in events if isinstance(event, kind)) for kind in (Thinking, Answer)
    )
    return thinking, answer


def finished(events: list[Event]) -> Finished:
    assert isinstance(events[-1], Finished)
    return events[-1]


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
            assert loaded.occupancy == (0, 0, 0, 0)

    def test_the_conversation_counts(self, tiny_path: Path) -> None:
        turns = [Turn("word " * 20_000, "", "word " * 20_000)] * 2
        with LoadedModel(tiny_path, BRIEF) as loaded, pytest.raises(PromptTooLong, match="has about"):
            loaded.request("hi", turns)


class TestBeginning:
    """A reply goes on from what is given of it, as it would have gone on by itself."""

    @pytest.fixture
    def loaded(self, tiny_path: Path) -> Iterator[LoadedModel]:
        with LoadedModel(tiny_path, LONG) as made:
            yield made

    @pytest.fixture
    def pieces(self, loaded: LoadedModel) -> tuple[list[str], list[str]]:
        """The tokens of the thinking without its end, and of the answer, with all white space."""
        request = loaded.request(QUESTION)
        request.top_logprobs = 0
        scores = [event for event in run(loaded, request) if isinstance(event, Scored)]
        thinking = [each.piece.decode() for each in scores if each.is_thinking]
        answer = [each.piece.decode() for each in scores if not each.is_thinking]
        assert thinking.pop() == "</think>"
        return thinking, answer

    def test_inside_the_thinking(self, loaded: LoadedModel, pieces: tuple[list[str], list[str]]) -> None:
        whole, answer = map("".join, pieces)
        for count in (1, 4, 7, len(pieces[0]) - 1):
            begun = "".join(pieces[0][:count])
            events = run(loaded, loaded.request(QUESTION, beginning=Beginning(begun)))
            assert texts(events) == (whole.removeprefix(begun).rstrip(), answer.strip())
            assert finished(events).thinking_end == "natural"

    def test_inside_the_answer(self, loaded: LoadedModel, pieces: tuple[list[str], list[str]]) -> None:
        thinking, answer = map("".join, pieces)
        spaces = answer.lstrip().split(" ")
        for count in range(1, len(spaces)):
            begun = " ".join(spaces[:count])  # what is new begins with white space
            events = run(loaded, loaded.request(QUESTION, beginning=Beginning(thinking, begun)))
            assert texts(events) == ("", answer.strip().removeprefix(begun))
            assert not any(isinstance(event, Thought) for event in events)
            assert finished(events).thinking_end is None

    def test_an_answer_that_is_complete_may_end(self, loaded: LoadedModel, pieces: tuple[list[str], list[str]]) -> None:
        thinking, answer = map("".join, pieces)
        events = run(loaded, loaded.request(QUESTION, beginning=Beginning(thinking, answer.strip())))
        assert texts(events) == ("", "")
        assert (finished(events).reason, finished(events).usage.answer_tokens) == ("stop", 0)

    def test_without_a_budget_the_thinking_that_is_given_is_all(self, loaded: LoadedModel) -> None:
        settings = replace(LONG, think_budget=0)
        request = loaded.request(QUESTION, settings=settings, beginning=Beginning("17 + 25 = 42"))
        control, model = loaded.model.control, loaded.model
        thinking = [control.think, *model.tokenize("\n17 + 25 = 42\n"), control.end_think, *model.tokenize("\n\n")]
        assert request.prompt[-1][-len(thinking) :] == thinking
        events = run(loaded, request)
        assert [event for event in events if isinstance(event, Thought)] == [Thought(0, "budget")]

    def test_a_form_is_for_the_complete_answer(self, loaded: LoadedModel) -> None:
        form = choices_form(["yes", "no"])
        with pytest.raises(UsageError, match="a form is for the complete answer"):
            loaded.request(QUESTION, form=form, beginning=Beginning(answer="ye"))
        for beginning in (Beginning("17 is odd"), Beginning("17 is odd", "")):
            events = run(loaded, loaded.request("Is 17 odd?", form=form, beginning=beginning))
            assert texts(events)[1] in {"yes", "no"}

    @pytest.mark.parametrize("beginning", [Beginning("word " * 100_000), Beginning(answer="word " * 100_000)])
    def test_one_that_is_far_too_long_is_refused(self, tiny_path: Path, beginning: Beginning) -> None:
        with LoadedModel(tiny_path, BRIEF) as loaded, pytest.raises(PromptTooLong, match="has about"):
            loaded.request("hi", beginning=beginning)


class TestContinuation:
    """What follows a text, without turns and thinking."""

    @pytest.mark.parametrize("budget", [None, 0])
    def test_is_what_the_model_writes(self, tiny_path: Path, budget: int | None) -> None:
        """All of its bytes, white space included."""
        settings = replace(BRIEF, think_budget=budget)
        with LoadedModel(tiny_path, BRIEF) as loaded:
            for text in ("What is 17 + ", "\\(17 + 25 =", ""):
                request = loaded.continuation(text, settings=settings)
                request.top_logprobs = 0
                assert request.prompt == [[loaded.model.control.bos, *loaded.model.tokenize(text)]]
                events = run(loaded, request)
                written = b"".join(event.piece for event in events if isinstance(event, Scored))
                assert texts(events) == ("", written.decode())
                assert finished(events).usage.answer_tokens == 20
                assert (finished(events).reason, finished(events).thinking_end) == ("length", None)

    def test_a_text_that_is_far_too_long_is_refused(self, tiny_path: Path) -> None:
        with LoadedModel(tiny_path, BRIEF) as loaded, pytest.raises(PromptTooLong, match="has about"):
            loaded.continuation("word " * 100_000)


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
        monkeypatch.setattr("r1.fit.weights.Model", load)
        with LoadedModel(tiny_path, BRIEF) as loaded:
            assert [loaded.ask("hi").load_s, loaded.ask("hi").load_s] == [100, 0]

    def test_a_random_seed_is_reported(self, tiny_path: Path) -> None:
        with LoadedModel(tiny_path, Settings(threads=1)) as loaded:
            assert loaded.ask("hi").seed != loaded.ask("hi").seed
        with LoadedModel(tiny_path, Settings(threads=1, seed=9)) as loaded:
            assert loaded.ask("hi").seed == 9


WORDS = "How many words are in this line? " * 30
ROOMY = replace(BRIEF, ctx=2048)
SLOW = 100.0
"""Tokens a second of a prefill, so that reading pays."""


class TestKept:
    """What is on disk of a prompt is read instead of prefilled, and nothing else is different."""

    @pytest.fixture
    def folder(self, tmp_path: Path) -> KvFolder:
        return KvFolder(tmp_path / "kv-cache", 10**9, min_free=0)

    def read(self, loaded: LoadedModel, prompt: str, turns: list[Turn]) -> tuple[int, tuple[str, str]]:
        """Tokens of the prompt that need no prefill, and the reply."""
        events = list(loaded.ask(prompt, turns).events)
        first = next(event for event in events if isinstance(event, Prefill))
        return first.done, texts(events)

    def test_a_conversation_goes_on_without_a_prefill(self, tiny_path: Path, folder: KvFolder) -> None:
        turns = [Turn(WORDS, "", "Seven."), Turn(QUESTION, "", "42")]
        with LoadedModel(tiny_path, ROOMY, kv_folder=folder) as loaded:
            list(loaded.warm(turns))
            assert loaded.keep(loaded.segments(turns), "chat 1", SLOW) == ""
        with LoadedModel(tiny_path, ROOMY, kv_folder=folder) as loaded:
            total = sum(map(len, loaded.segments(turns)))
            assert list(loaded.warm(turns)) == [total]
            done, reply = self.read(loaded, "And 1 + 1?", turns)
        assert done == total
        with LoadedModel(tiny_path, ROOMY) as fresh:
            assert self.read(fresh, "And 1 + 1?", turns) == (0, reply)

    def test_a_prompt_that_is_asked_again_is_prefilled_only_at_its_end(self, tiny_path: Path, folder: KvFolder) -> None:
        with LoadedModel(tiny_path, ROOMY, kv_folder=folder) as loaded:
            pending = loaded.ask(WORDS)
            first = texts(list(pending.events))
            assert loaded.keep(pending.prompt, prefill_tps=SLOW) == ""
            length = sum(map(len, pending.prompt))
        with LoadedModel(tiny_path, ROOMY, kv_folder=folder) as loaded:
            done, again = self.read(loaded, WORDS, [])
        assert length - (CPU_CUT.size + CPU_CUT.least) < done < length
        assert again == first

    def test_a_chat_that_ends_before_it_was_warmed_keeps_its_earlier_turns(
        self, tiny_path: Path, folder: KvFolder
    ) -> None:
        turns = [Turn(WORDS, "", "Seven.")]
        with LoadedModel(tiny_path, ROOMY, kv_folder=folder) as loaded:
            list(loaded.ask(QUESTION, turns).events)
            loaded.keep(loaded.segments([*turns, Turn(QUESTION, "", "42")]), "chat 1", SLOW)
        with LoadedModel(tiny_path, ROOMY, kv_folder=folder) as loaded:
            assert next(iter(loaded.warm(turns))) == len(loaded.segments(turns)[0])

    def test_only_what_belongs_to_the_conversation_is_kept(self, tiny_path: Path, folder: KvFolder) -> None:
        """The cache still holds another chat's."""
        with LoadedModel(tiny_path, ROOMY, kv_folder=folder) as loaded:
            list(loaded.warm([Turn(WORDS, "", "Seven.")]))
            loaded.keep(loaded.segments([Turn("Hello", "", "Hi.")]), "chat 2", SLOW)
        assert folder.files() == []

    def test_nothing_is_kept_without_a_folder_and_before_the_first_prompt(
        self, tiny_path: Path, folder: KvFolder
    ) -> None:
        turns = [Turn(WORDS, "", "Seven.")]
        for kv_folder, warms in ((None, True), (folder, False)):
            with LoadedModel(tiny_path, ROOMY, kv_folder=kv_folder) as loaded:
                list(loaded.warm(turns) if warms else ())
                assert loaded.keep(loaded.segments(turns), "chat 1", SLOW) == ""
        assert folder.files() == []

    def test_several_sequences_keep_and_read_too(self, tiny_path: Path, folder: KvFolder) -> None:
        turns = [Turn(WORDS, "", "Seven.")]
        workload = Workload(is_parallel=True, most=2)
        for expected in (0, 1):
            with LoadedModel(tiny_path, ROOMY, kv_folder=folder, workload=workload) as loaded:
                total = sum(map(len, loaded.segments(turns)))
                assert next(iter(loaded.warm(turns))) == expected * total
                list(loaded.warm(turns))
                loaded.keep(loaded.segments(turns), "chat 1", SLOW)

    def test_another_model_under_the_same_name_is_another_model(
        self, tiny_path: Path, endless_path: Path, folder: KvFolder, tmp_path: Path
    ) -> None:
        turns, path = [Turn(WORDS, "", "Seven.")], tmp_path / "model.gguf"
        for source in (tiny_path, endless_path):
            path.unlink(missing_ok=True)
            shutil.copy(source, path)
            with LoadedModel(path, ROOMY, kv_folder=folder) as loaded:
                assert next(iter(loaded.warm(turns))) == 0
                list(loaded.warm(turns))
                loaded.keep(loaded.segments(turns), "chat 1", SLOW)
        assert len(folder.files()) == 2


class TestDraftModel:
    """One that drafts for the model."""

    SEEDED = Settings(temp=0.6, seed=5, threads=1, max_tokens=200)

    def reply(self, path: Path, settings: Settings, draft: DraftFile | None) -> list[Event]:
        with LoadedModel(path, settings, draft=draft) as loaded:
            return list(loaded.ask(QUESTION).events)

    def test_the_text_is_that_without_it(self, large_path: Path, tiny_path: Path) -> None:
        plain = self.reply(large_path, replace(self.SEEDED, speculate="off"), None)
        drafted = self.reply(large_path, self.SEEDED, DraftFile(tiny_path, "tiny"))
        assert texts(drafted) == texts(plain)
        assert finished(plain).drafted is None
        found = finished(drafted).drafted
        assert found is not None
        assert found.accepted > 10

    def test_a_reply_can_do_without_it(self, large_path: Path, tiny_path: Path) -> None:
        with LoadedModel(large_path, self.SEEDED, draft=DraftFile(tiny_path, "tiny")) as loaded:
            events = list(loaded.ask(QUESTION, settings=replace(self.SEEDED, speculate="off")).events)
            assert finished(events).drafted is None

    def test_it_drafts_on_after_a_new_context(self, large_path: Path, tiny_path: Path) -> None:
        with LoadedModel(large_path, self.SEEDED, draft=DraftFile(tiny_path, "tiny")) as loaded:
            first = list(loaded.ask(QUESTION).events)
            loaded.configure(replace(self.SEEDED, ctx=1024))
            again = list(loaded.ask(QUESTION).events)
        assert texts(again) == texts(first)
        one, other = finished(first).drafted, finished(again).drafted
        assert one is not None
        assert other is not None
        assert 0 < one.accepted <= one.proposed
        assert (one.proposed, one.accepted, one.passes) == (other.proposed, other.accepted, other.passes)

    def test_several_replies_at_once_have_one_each(self, large_path: Path, tiny_path: Path) -> None:
        settings = replace(self.SEEDED, parallel=3, speculate="draft")
        workload, draft = Workload(is_parallel=True), DraftFile(tiny_path, "tiny")
        with LoadedModel(large_path, settings, workload=workload, draft=draft) as loaded:
            requests = [loaded.request(prompt) for prompt in (QUESTION, "What is 9 - 4?", "What is 20 + 22?")]
            for request in requests:
                loaded.submit(request)
            ended: list[Finished] = []
            while len(ended) < len(requests):
                ended += [event for _, event in loaded.step() if isinstance(event, Finished)]
            model = loaded._fitted.draft_model
            assert model is not None
            assert len(model.context.sequences) == len(loaded.context.sequences) == 3
            assert model.context.cells == loaded.context.cells
        assert [each.reason for each in ended] == ["stop"] * 3

    def test_one_that_cannot_draft_is_an_error_or_left_out(self, large_path: Path, endless_path: Path) -> None:
        notes: list[Note] = []
        listener = Listener(note=notes.append)
        with pytest.raises(UsageError, match="endless cannot draft for big"):
            LoadedModel(large_path, BRIEF, name="big", draft=DraftFile(endless_path, "endless"))
        optional = DraftFile(endless_path, "endless", is_required=False)
        with LoadedModel(large_path, BRIEF, listener=listener, name="big", draft=optional) as loaded:
            assert ask(loaded, QUESTION).reason == "length"
        (note,) = notes
        assert note.text.endswith("; answering without a draft model")
