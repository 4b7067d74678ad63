"""`r1.chat.model`: loading, going back to the previous model, and warnings about a full context."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import cast

import pytest

from r1.chat.model import ChatModel
from r1.chat.notices import Notices
from r1.chat.view import Opening
from r1.chat.worker import Loading, Noted, Ready, Warmed, Worker
from r1.engine.prompt import Turn
from r1.render.reply_text import ReplyText
from r1.settings import Settings
from tests.fakes.chats import finished
from tests.fakes.views import FakeView


class FakeWorker:
    """Records the models it is asked to load."""

    def __init__(self) -> None:
        self.opened: list[str] = []

    def open(self, find: Callable[[], tuple[str, Path]], settings: Settings) -> None:
        self.opened.append(find()[0])

    def warm(self, turns: Sequence[Turn], settings: Settings, owner: str) -> None:
        pass


@pytest.fixture
def worker() -> FakeWorker:
    return FakeWorker()


@pytest.fixture
def view() -> FakeView:
    return FakeView()


@pytest.fixture
def model(worker: FakeWorker, view: FakeView) -> ChatModel:
    opening = Opening(
        reference="a:Q8_0",
        check=lambda name: name,
        find=lambda name: (name, Path(name)),
        models=lambda: ["a:Q8_0", "b:Q8_0"],
    )
    return ChatModel(cast(Worker, worker), opening, Notices(view))


def ready(name: str = "a:Q8_0", ctx: int = 1000) -> Ready:
    return Ready(name, ctx=ctx, trained=8192)


class TestLoading:
    """A model replaces the one before, which comes back if the new one fails."""

    def test_progress_and_result(self, model: ChatModel) -> None:
        model.load("a:Q8_0", [], Settings(), "")
        model.handle(Loading(0.5))
        assert (model.loading, model.ready) == (0.5, None)
        model.handle(ready())
        assert (model.loading, model.ready) == (None, ready())

    def test_another_model_is_announced_the_first_is_not(self, model: ChatModel, view: FakeView) -> None:
        model.load("a:Q8_0", [], Settings(), "")
        model.handle(ready())
        assert view.printed == ""
        model.load("b:Q8_0", [], Settings(), "")
        model.handle(ready("b:Q8_0"))
        assert view.printed == "the model is now b:Q8_0, with a context of 1,000 tokens\n\n"

    def test_a_failed_load_goes_back_to_the_previous_model(self, model: ChatModel, worker: FakeWorker) -> None:
        model.load("a:Q8_0", [], Settings(), "")
        model.handle(ready())
        model.load("b:Q8_0", [], Settings(), "")
        model.load_previous([], Settings(), "")
        assert worker.opened == ["a:Q8_0", "b:Q8_0", "a:Q8_0"]

    def test_a_failed_first_load_goes_nowhere(self, model: ChatModel, worker: FakeWorker) -> None:
        model.load("a:Q8_0", [], Settings(), "")
        model.load_previous([], Settings(), "")
        assert worker.opened == ["a:Q8_0"]

    def test_notes_of_the_worker_are_printed(self, model: ChatModel, view: FakeView) -> None:
        model.handle(Noted("half of it is on the GPU"))
        assert view.printed == "half of it is on the GPU\n\n"


class TestNearlyFull:
    """The warning comes once for each time the context fills up."""

    @pytest.fixture(autouse=True)
    def _loaded(self, model: ChatModel) -> None:
        model.handle(ready())

    def warnings(self, view: FakeView) -> int:
        return view.printed.count("the context is nearly full")

    def test_it_comes_once_while_the_context_stays_full(self, model: ChatModel, view: FakeView) -> None:
        for tokens in (849, 850, 900):
            model.handle(Warmed(0, (tokens,)))
        assert (self.warnings(view), model.used) == (1, 900)

    def test_it_comes_again_after_there_was_room(self, model: ChatModel, view: FakeView) -> None:
        for tokens in (900, 100, 900):
            model.handle(Warmed(0, (tokens,)))
        assert self.warnings(view) == 2

    def test_it_does_not_repeat_a_report_that_the_context_is_full(self, model: ChatModel, view: FakeView) -> None:
        model.begin_turn(ReplyText(prompt_tokens=400, answer_tokens=600))
        assert (model.used, model.left, model.is_nearly_full) == (1000, 0, True)
        model.end_turn(finished("context"))
        model.handle(Warmed(0, (990,)))
        assert self.warnings(view) == 0

    def test_another_conversation_is_warned_about_again(self, model: ChatModel, view: FakeView) -> None:
        model.handle(Warmed(0, (900,)))
        model.warn_again()
        model.handle(Warmed(0, (900,)))
        assert self.warnings(view) == 2

    def test_a_reply_that_failed_leaves_the_count_as_it_was(self, model: ChatModel) -> None:
        model.handle(Warmed(0, (100,)))
        model.begin_turn(ReplyText(prompt_tokens=400))
        model.end_turn(None)
        assert (model.used, model.left) == (100, 900)
